//! What is left after an end that nobody wanted: a killed worker, a killed program, Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::training::TINY;

/// One model that trains for some seconds: long enough for a checkpoint, and for being killed.
fn long() -> String {
    TINY.replace("[1, 2, 3, 4, 5]", "[1]")
        .replace("{ rns: uniform, cnsdiff: cnsdiff }", "{ rns: uniform }")
        .replace("reference: cnsdiff", "reference: rns")
        .replace("users: 60, items: 80, interactions: 480", "users: 1000, items: 1000, interactions: 40000")
        .replace("epochs: 3", "epochs: 500, select: last")
}

const MODEL: &str = "model[method=rns,seed=1]";

fn start(lab: &Lab) -> Child {
    let mut command = lab.command(&["run", "--json", "--until", "model"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads events until the model has come `epochs` far.
pub fn await_epoch(child: &mut Child, epochs: u64) {
    let lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    for line in lines {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "stage_progress" && event["done"].as_u64() >= Some(epochs) {
            return;
        }
        assert_ne!(event["event"], "run_finished", "the training ended too soon");
    }
    panic!("no progress");
}

/// Processes started by `parent`, from /proc.
pub fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|value| value.trim() == parent.to_string()))
    };
    ids.filter(is_child).collect()
}

pub fn signal(name: &str, id: u32) {
    assert!(Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
}

pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let clock = Instant::now();
    while !condition() {
        assert!(clock.elapsed() < Duration::from_secs(30), "{what}");
        sleep(Duration::from_millis(20));
    }
}

fn objects(lab: &Lab) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    lab.files("cache/objects")
}

#[test]
fn a_killed_worker_is_a_failed_stage_and_its_training_goes_on_from_the_checkpoint() {
    let lab = Lab::with(&long());
    let mut child = start(&lab);
    await_epoch(&mut child, 1);
    let checkpoint = || lab.files("cache/scratch").iter().any(|(path, _)| path.ends_with("training.checkpoint"));
    eventually("a checkpoint", || checkpoint() || child_ended(&lab));
    let workers = children(child.id());
    assert_eq!(workers.len(), 1, "one worker trains");
    signal("-KILL", workers[0]);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("SIGKILL"), "{stdout}");
    let resumed = lab.run(&["--until", "model"]);
    assert!(resumed.executed().contains(MODEL));
    let first = resumed.json().into_iter().find(|event| event["event"] == "stage_progress").expect("progress");
    assert!(first["done"].as_u64() > Some(1), "it started anew: {first}");

    let whole = Lab::with(&long());
    whole.run(&["--until", "model"]);
    assert!(objects(&lab) == objects(&whole), "a resumed training gives other bytes");
}

/// Whether the model is already in the cache: too fast a machine for this test's data.
fn child_ended(lab: &Lab) -> bool {
    lab.call(&["status", "--json"]).json().iter().any(|stage| stage["stage"] == "model" && stage["done"] == 1)
}

#[test]
fn a_killed_program_leaves_no_worker_and_a_cache_that_the_next_run_uses() {
    let lab = Lab::with(&long().replace("epochs: 500", "epochs: 100"));
    let mut child = start(&lab);
    await_epoch(&mut child, 2);
    let workers = children(child.id());
    assert_eq!(workers.len(), 1);
    signal("-KILL", child.id());
    child.wait().unwrap();
    eventually("the worker ends with the program", || {
        !std::fs::read_to_string(format!("/proc/{}/cmdline", workers[0])).is_ok_and(|line| line.contains("worker"))
    });
    let again = lab.run(&["--until", "model"]);
    assert!(again.ended("cached").contains("split") && again.executed().contains(MODEL));
    lab.call(&["cache", "verify"]).code(0);
}

/// Five hundred tables, each gathered by a stage of its own: enough for a kill to hit every step of putting results into the
/// cache.
fn many() -> String {
    let cells: Vec<String> = (0..500).map(|cell| cell.to_string()).collect();
    format!(
        "pipeline: many\naxes:\n  cell: [{}]\nstages:\n  \
         made: {{ kind: literal, over: [cell], with: {{ rows: [{{ x: \"{{{{ cell }}}}\" }}] }} }}\n  \
         copied: {{ kind: concat, needs: {{ tables: made }} }}\n",
        cells.join(", ")
    )
}

#[test]
fn a_run_killed_again_and_again_goes_on_from_whole_results_only() {
    let lab = Lab::with(&many());
    for finished in [1, 60, 200] {
        let mut child = lab.command(&["run", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let executed = |line: &String| line.contains("\"executed\"");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert_eq!(lines.filter(executed).take(finished).count(), finished);
        signal("-KILL", child.id());
        child.wait().unwrap();
        // Every entry that is there names objects that are there, with the bytes that it promises.
        lab.call(&["cache", "verify"]).code(0);
    }
    let last = lab.run(&[]);
    // Some thirty that were executed may wait for the disk when the kill comes.
    assert!(last.ended("cached").len() >= 160 && !last.executed().is_empty());
    assert_eq!((lab.files("cache/staging"), lab.files("cache/scratch")), (vec![], vec![]));
    let whole = Lab::with(&many());
    whole.run(&[]);
    assert!(objects(&lab) == objects(&whole), "a resumed run gives other bytes");
}

#[test]
fn ctrl_c_keeps_what_is_finished_and_says_how_to_go_on() {
    let lab = Lab::with(&long());
    let mut child = start(&lab);
    await_epoch(&mut child, 2);
    let workers = children(child.id());
    signal("-INT", child.id());
    let clock = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("what is finished is kept"), "{stderr}");
    assert!(workers.iter().all(|id| !std::path::Path::new(&format!("/proc/{id}")).exists()), "a worker lives on");
    assert_eq!(lab.call(&["runs", "--json"]).code(0).value()["outcome"], "interrupted");
    let plan = lab.call(&["plan", "--json"]).json();
    assert!(plan.iter().any(|line| line["id"] == "split" && line["state"] == "cached"), "{plan:?}");
}
