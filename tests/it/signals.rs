//! Signals and limits of the system: the program ends soon and with words, or goes on.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::crash::{children, eventually, signal};
use crate::lab::{Lab, set};

/// A stage that computes for some seconds in the program's own process, after one that is done at once.
const LONG: &str = "\
pipeline: long
stages:
  one: { kind: literal, with: { rows: [{ a: 1 }] } }
  raw: { kind: synthetic, with: { users: 200000, items: 50000, interactions: 12000000 } }
";

fn start(lab: &Lab, args: &[&str]) -> Child {
    lab.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads events until this one is told of a stage.
fn await_event(child: &mut Child, event: &str, id: &str) {
    let lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    let found = lines.map_while(Result::ok).any(|line| {
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        told["event"] == event && told["id"] == id
    });
    assert!(found, "no {event} of {id}");
}

/// Asks for the end, and answers it with the seconds that it took.
fn ended(child: Child, name: &str) -> (Output, f64) {
    signal(name, child.id());
    let clock = Instant::now();
    let output = child.wait_with_output().unwrap();
    (output, clock.elapsed().as_secs_f64())
}

#[test]
fn first_signal_ends_a_run_within_a_stage_of_its_own_process() {
    let lab = Lab::with(LONG);
    for name in ["-INT", "-TERM", "-HUP"] {
        let mut child = start(&lab, &["run", "--json", "--jobs", "1"]);
        await_event(&mut child, "stage_started", "raw");
        sleep(Duration::from_millis(200));
        let (output, seconds) = ended(child, name);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{name}: {stderr}");
        assert!(seconds < 1.5, "{name}: {seconds} s");
        assert!(String::from_utf8_lossy(&output.stdout).contains("\"interrupted\""));
        assert!(stderr.contains("what is finished is kept"), "{name}: {stderr}");
    }
    assert_eq!(lab.call(&["runs", "--json"]).code(0).json()[2]["outcome"], "interrupted");
    lab.edit("pipeline.yaml", "12000000", "120000");
    let next = lab.run(&[]);
    assert_eq!((next.ended("cached"), next.executed()), (set(["one"]), set(["raw"])));
    assert!(lab.files("cache/staging").is_empty() && lab.files("cache/tmp").is_empty());
}

#[test]
fn first_signal_is_answered_at_once_on_a_terminal_line() {
    let lab = Lab::with(LONG);
    let mut child = start(&lab, &["run", "--jobs", "1"]);
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "start raw"));
    signal("-INT", child.id());
    let clock = Instant::now();
    assert_eq!(lines.next().as_deref(), Some("interrupted: ending 1 running stage (again: at once)"));
    assert!(clock.elapsed() < Duration::from_millis(500), "{:?}", clock.elapsed());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn first_signal_ends_the_digest_of_a_long_file() {
    let lab =
        Lab::with("pipeline: raw\nstages:\n  raw: { kind: ingest, with: { files: [{ part: a, source: raw.csv }] } }\n");
    // Holes take no space, and are read like anything else.
    std::fs::File::create(lab.path("raw.csv")).unwrap().set_len(1 << 38).unwrap();
    let child = start(&lab, &["run"]);
    sleep(Duration::from_millis(500));
    let (output, seconds) = ended(child, "-TERM");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(seconds < 1.5, "{seconds} s");
    assert!(stderr.contains("interrupted: ending") && stderr.contains("what is finished is kept"), "{stderr}");
}

#[test]
fn ignored_signals_stay_ignored() {
    let lab = Lab::with(&LONG.replace("12000000", "2000000"));
    let mut command = lab.command_after("trap '' HUP INT", &["run", "--json", "--jobs", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    await_event(&mut child, "stage_started", "raw");
    signal("-HUP", child.id());
    signal("-INT", child.id());
    let mut rest = String::new();
    child.stdout.as_mut().expect("piped").read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
}

#[test]
fn worker_killed_while_idle_is_replaced_by_the_next_training() {
    let model = |split: &str| {
        format!(
            "{{ kind: train, needs: {{ split: {split} }}, with: {{ backbone: mf, sampler: uniform, dim: 4, epochs: 2, seed: 1 }} }}"
        )
    };
    let split =
        |raw: &str| format!("{{ kind: split, needs: {{ data: {raw} }}, with: {{ scenario: {{ random: {{}} }} }} }}");
    let raw = |interactions: u32, seed: u32| {
        format!(
            "{{ kind: synthetic, with: {{ users: 20000, items: 2000, interactions: {interactions}, seed: {seed} }} }}"
        )
    };
    let lab = Lab::with(&format!(
        "pipeline: two\nstages:\n  raw: {}\n  split: {}\n  model: {}\n  other: {}\n  wide: {}\n  last: {}\n",
        raw(40_000, 1),
        split("raw"),
        model("split"),
        raw(3_000_000, 2),
        split("other"),
        model("split").replace("epochs: 2", "epochs: 3"),
    ));
    lab.run(&["--until", "split"]);
    let mut child = start(&lab, &["run", "--json", "--jobs", "1"]);
    await_event(&mut child, "stage_started", "other");
    let workers = children(child.id());
    assert_eq!(workers.len(), 1, "the worker of the first training waits");
    signal("-KILL", workers[0]);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("a worker that had nothing to do has ended (killed by SIGKILL)"), "{stdout}");
}

#[test]
fn stopped_worker_ends_with_a_killed_program() {
    let lab = Lab::with(&crate::training::TINY.replace("epochs: 3", "epochs: 5000, select: last"));
    let mut child = start(&lab, &["run", "--json", "--until", "model", "--jobs", "1"]);
    crate::crash::await_epoch(&mut child, 1);
    let workers = children(child.id());
    assert_eq!(workers.len(), 1);
    signal("-STOP", workers[0]);
    signal("-KILL", child.id());
    child.wait().unwrap();
    eventually("the worker ends with the program", || {
        !std::fs::read_to_string(format!("/proc/{}/cmdline", workers[0])).is_ok_and(|line| line.contains("worker"))
    });
}

#[test]
fn limit_of_descriptors_is_an_error_with_advice() {
    let many: Vec<String> = (0..60).map(|cell| cell.to_string()).collect();
    let lab = Lab::with(&format!(
        "pipeline: many\naxes:\n  cell: [{}]\nstages:\n  \
         made: {{ kind: literal, over: [cell], with: {{ rows: [{{ x: \"{{{{ cell }}}}\" }}] }} }}\n",
        many.join(", ")
    ));
    let failed = Lab::end(&mut lab.command_after("ulimit -n 12", &["run", "--jobs", "60"]));
    assert!(failed.stderr.contains("Too many open files"), "{}", failed.stderr);
    assert!(failed.stderr.contains("ulimit -n"), "{}", failed.stderr);
    // A soft limit is raised as far as it may be.
    Lab::end(&mut lab.command_after("ulimit -S -n 12", &["run", "--jobs", "60"])).code(0);
}

#[test]
fn thread_that_cannot_be_started_is_an_error_with_advice() {
    let lab = Lab::with(LONG);
    // No thread gets a stack as large as the address space.
    let failed = Lab::end(lab.command(&["run"]).env("RUST_MIN_STACK", (1u64 << 47).to_string())).code(3);
    assert!(failed.stderr.starts_with("error: cannot start a thread per core"), "{}", failed.stderr);
    assert!(failed.stderr.contains("ulimit -u"), "{}", failed.stderr);
}

#[test]
fn limit_of_file_lengths_is_an_error_with_advice() {
    let lab = Lab::with(&LONG.replace("12000000", "300000"));
    let failed = Lab::end(&mut lab.command_after("ulimit -f 100", &["run"])).code(3);
    assert!(failed.stderr.contains("File too large") && failed.stderr.contains("ulimit -f"), "{}", failed.stderr);
    lab.run(&[]);
}

#[test]
fn closed_standard_streams_are_no_files_of_the_cache() {
    let lab = Lab::with(&LONG.replace("12000000", "3000"));
    let status = lab.command_after("exec <&- >&- 2>&-", &["run"]).status().unwrap();
    assert_eq!(status.code(), Some(0));
    lab.call(&["cache", "verify"]).code(0);
    assert_eq!(lab.run(&[]).ended("cached"), set(["one", "raw"]));
}
