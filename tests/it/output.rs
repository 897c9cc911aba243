//! What goes where: results to standard output, the rest to standard error.

use crate::cache::COLORS;
use crate::lab::Lab;

#[test]
fn every_line_of_json_is_an_event_and_the_last_one_sums_up() {
    let lab = Lab::with(COLORS);
    let events = lab.run(&[]).json();
    assert_eq!(events[0]["event"], "run_started");
    assert_eq!(events[0]["stages"], 5);
    let last = events.iter().rfind(|event| event["event"] == "run_finished").expect("an end");
    assert_eq!((&last["executed"], &last["failed"]), (&5.into(), &0.into()));
    let started = events.iter().filter(|event| event["event"] == "stage_started").count();
    let finished = events.iter().filter(|event| event["event"] == "stage_finished").count();
    assert_eq!((started, finished), (5, 5));
}

#[test]
fn progress_goes_to_standard_error_in_plain_lines() {
    let lab = Lab::with(COLORS);
    let outcome = lab.call(&["run"]).code(0);
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("done: 5 executed, in "), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
    let again = lab.call(&["run"]).code(0);
    assert_eq!(again.stderr.lines().count(), 2, "{}", again.stderr);
    let quiet = lab.call(&["run", "--quiet", "--force", "side"]).code(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn colours_come_only_when_asked_for() {
    let lab = Lab::with(COLORS);
    let coloured = |args: &[&str], name: &str| {
        let mut command = lab.command(args);
        if !name.is_empty() {
            command.env(name, "1");
        }
        let output = command.output().unwrap();
        output.stdout.contains(&0x1b)
    };
    assert!(!coloured(&["plan"], ""));
    assert!(coloured(&["plan", "--color", "always"], ""));
    assert!(coloured(&["plan"], "CLICOLOR_FORCE"));
    assert!(!coloured(&["plan", "--no-color"], "CLICOLOR_FORCE"));
    assert!(!coloured(&["plan", "--color", "never"], "CLICOLOR_FORCE"));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let lab = Lab::with(COLORS);
    let mut command = lab.command(&["run", "--json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
