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

/// A line that would change the title of a window, and one that is malformed in the same way.
const HOSTILE: &str = "\
pipeline: hostile
stages:
  raw:
    kind: ingest
    with: { files: [{ part: all, source: f }], max_malformed: 0.5 }
";

fn hostile() -> Lab {
    let lab = Lab::with(HOSTILE);
    lab.write("f", "a\x1b[31mred x 1\nb\u{9b}2J\u{202e} y 1\nz \x1b]0;title\x07\n");
    lab
}

#[test]
fn control_characters_of_data_are_spelled_out() {
    let lab = hostile();
    let ran = lab.call(&["run"]).code(0);
    let table = lab.call(&["show", "raw", "--artifact", "users"]).code(0);
    let malformed = lab.call(&["show", "raw", "--artifact", "malformed"]).code(0);
    let log = lab.call(&["show", "raw", "--log"]).code(0);
    lab.edit("pipeline.yaml", "0.5", "0.1");
    let refused = lab.call(&["run", "--color", "always"]).code(3);
    for shown in [&ran, &table, &malformed, &log] {
        let all = format!("{}{}", shown.stdout, shown.stderr);
        assert!(!all.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}']), "{all:?}");
    }
    assert!(table.stdout.contains(r"a\x1b[31mred") && table.stdout.contains(r"b\x9b2J\u{202e}"), "{}", table.stdout);
    assert!(log.stdout.contains(r"\x1b]0;title\x07"), "{}", log.stdout);
    // With colours of its own, but none of the data's.
    assert!(refused.stderr.contains("\x1b[1;31mfailed\x1b[0m"), "{:?}", refused.stderr);
    assert!(refused.stderr.contains(r"\x1b]0;title\x07"), "{:?}", refused.stderr);
}

#[test]
fn csv_and_json_lose_no_character() {
    let lab = hostile();
    lab.run(&[]);
    let show = |format: &str| lab.call(&["show", "raw", "--artifact", "users", "--format", format]).code(0);
    assert!(show("csv").stdout.contains("a\x1b[31mred"));
    let json = show("json");
    assert!(!json.stdout.contains(['\x1b', '\u{9b}', '\u{202e}']), "{:?}", json.stdout);
    let keys: Vec<_> = json.json().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["a\x1b[31mred", "b\u{9b}2J\u{202e}"]);
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let all: [&[&str]; 7] =
        [&["run", "--json"], &["plan"], &["status"], &["show", "side"], &["cache", "verify"], &["schema"], &["--help"]];
    for args in all {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = lab.command(args).stdout(full).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?} > /dev/full: {told}");
        assert!(told.contains("cannot write results to standard output: No space left"), "{args:?}: {told}");
    }
    // Without a standard output at all.
    for args in ["status", "--help", "--version"] {
        let closed = format!("exec {} {args} >&-", env!("CARGO_BIN_EXE_cnsdiff-pipe"));
        let output =
            std::process::Command::new("sh").args(["-c", &closed]).current_dir(lab.path(".")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args}: {told}");
        assert!(told.contains("cannot write results to standard output"), "{args}: {told}");
    }
    // What has nothing to write loses nothing.
    let run = format!("exec {} run --quiet >&-", env!("CARGO_BIN_EXE_cnsdiff-pipe"));
    let output = std::process::Command::new("sh").args(["-c", &run]).current_dir(lab.path(".")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the program writes to a terminal of 20 columns.
fn on_a_terminal(lab: &Lab, args: &[&str], environment: &[(&str, &str)]) -> String {
    use std::io::Read;
    use std::os::fd::FromRawFd;

    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 10, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the two numbers and the size are there for as long as the call; names and modes may be left out.
    let made = unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(made, 0);
    // SAFETY: both descriptors are new and owned by nobody else.
    let (mut ours, theirs) = unsafe { (std::fs::File::from_raw_fd(ours), std::fs::File::from_raw_fd(theirs)) };
    let mut command = lab.command(args);
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs).env("TERM", "xterm").envs(environment.iter().copied());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut bytes = Vec::new();
    // Ends with an error once nobody has the other side open.
    let _ = ours.read_to_end(&mut bytes);
    assert!(child.wait().unwrap().success());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn terminals_of_services_and_those_without_a_type_get_plain_lines() {
    for environment in [("CI", "true"), ("TERM", ""), ("TERM", "dumb")] {
        let lab = Lab::with(COLORS);
        let shown = on_a_terminal(&lab, &["run"], &[environment]);
        assert!(shown.contains("done: 5 executed, in "), "{environment:?}: {shown:?}");
        assert!(!shown.replace("\r\n", "\n").contains(['\x1b', '\r']), "{environment:?}: {shown:?}");
    }
}

#[test]
fn the_sum_of_a_run_fits_a_narrow_terminal() {
    let lab = Lab::with(COLORS);
    let shown = on_a_terminal(&lab, &["run"], &[]);
    let (_, after) = shown.rsplit_once("executed,").expect("the last line");
    let (broken, rest) = after.split_once("\r\n").expect("a line break");
    assert_eq!(broken, " in", "{shown:?}");
    assert!(rest.contains(" ms\r\n") || rest.contains(" s\r\n"), "{shown:?}");
}

#[test]
fn data_in_csv_do_not_act_on_a_terminal() {
    let lab = hostile();
    lab.run(&[]);
    let shown = on_a_terminal(&lab, &["show", "raw", "--artifact", "users", "--format", "csv"], &[]);
    assert!(shown.contains(r"a\x1b[31mred") && !shown.contains("\x1b[31m"), "{shown:?}");
}
