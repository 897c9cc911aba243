//! Stages in worker processes: equal results, and every way in which a worker can die.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use cnsdiff_pipe::engine::{Event, Outcome};
use serde_json::json;

use crate::lab::Lab;

fn tables() -> Lab {
    Lab::new()
        .stage("a", "literal", json!({ "rows": [{ "x": 0.1, "y": "p" }] }), &[])
        .stage("b", "literal", json!({ "rows": [{ "x": 1e-300, "y": "q" }] }), &[])
        .stage("both", "concat", json!({}), &["a", "b"])
}

#[test]
fn worker_gives_the_same_bytes_as_this_process() {
    let mut lab = tables();
    let here = lab.run();
    lab.options.isolate = true;
    let there = lab.run_in(&lab.dir.path().join("other"));
    assert_eq!(there.executed().len(), 3);
    assert_eq!(there.digests(), here.digests());
    let entry = there.states["both"].entry().unwrap();
    assert!(entry.peak_memory_bytes.unwrap() > 1 << 20, "{entry:?}");
    assert_eq!(entry.outputs[0].rows, 2);
    let columns = &entry.outputs[0].columns;
    assert_eq!(columns, &here.states["both"].entry().unwrap().outputs[0].columns);
    assert_eq!(columns.len(), 3, "a column of labels, and two of the tables");
}

#[test]
fn killed_worker_is_a_failed_stage_with_its_last_words() {
    let mut lab = tables();
    lab.options.jobs = 1;
    lab.fake_worker("read job; echo 'not a message'; echo 'last words' >&2; kill -9 $$");
    let ran = lab.run();
    let failure = ran.failure("a");
    assert_eq!(failure.error.message, "the worker process ended before the stage did: killed by SIGKILL");
    assert!(failure.error.help.as_ref().unwrap().contains("memory"));
    // Two streams, so the order between them is anybody's.
    let log = fs::read_to_string(failure.log_path.as_ref().unwrap()).unwrap();
    assert_eq!(failure.log_tail, log.lines().collect::<Vec<_>>());
    let lines = BTreeSet::from_iter(log.lines());
    assert_eq!(lines, BTreeSet::from(["last words", "not a message"]));
    assert_eq!(ran.outcome("both"), Outcome::Skipped);
}

#[test]
fn worker_that_exits_or_is_missing_is_a_failed_stage() {
    let mut lab = tables();
    lab.fake_worker("exit 7");
    assert!(lab.run().failure("a").error.message.ends_with("exit status 7"));
    lab.options.worker = lab.dir.path().join("nowhere");
    let ran = lab.run();
    let error = &ran.failure("a").error;
    assert!(error.message.starts_with("cannot start the worker"), "{error}");
}

#[test]
fn kind_unknown_to_the_worker_is_a_failed_stage() {
    let mut lab = Lab::new().sum("a", 1, &[]);
    lab.options.isolate = true;
    assert_eq!(lab.run().failure("a").error.message, "the worker was built without stage kind `sum`");
}

#[test]
fn interrupt_ends_workers_even_stubborn_ones() {
    for script in ["exec sleep 600", "trap '' TERM; while :; do sleep 0.05; done", "kill -STOP $$"] {
        let mut lab = tables();
        lab.fake_worker(script);
        let interrupt = lab.options.interrupt.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            interrupt.raise();
        });
        let started = Instant::now();
        let ran = lab.run();
        timer.join().unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "{script}: {:?}", started.elapsed());
        assert!(ran.outcomes.values().all(|&outcome| outcome == Outcome::Cancelled), "{:?}", ran.outcomes);
    }
}

/// What a worker answers when its job is done.
const DONE: &str = r#"{"done":{"error":null,"usage":{"cpu_seconds":0.0,"peak_memory_bytes":null}}}"#;

#[test]
fn worker_that_died_while_idle_is_replaced() {
    let mut lab = tables();
    lab.options.jobs = 1;
    let (real, dead) = (env!("CARGO_BIN_EXE_cnsdiff-pipe-worker"), lab.dir.path().join("dead"));
    // The first worker dies after its first job, the others are real.
    lab.fake_worker(&format!(
        "if [ -e {dead} ]; then exec {real}; fi
         read -r job; touch {dead}
         (printf '%s\\n' \"$job\"; exec sleep 1) | {real} | while read -r line; do
           printf '%s\\n' \"$line\"
           case \"$line\" in '{{\"done\"'*) kill -9 $$ ;; esac
         done",
        dead = dead.display()
    ));
    let ran = lab.run();
    assert_eq!(ran.executed().len(), 3, "{:?}", ran.outcomes);
    let line = |event: &Event| matches!(event, Event::StageLog { line, .. } if line.contains("killed by SIGKILL"));
    assert_eq!(ran.events.iter().filter(|event| line(event)).count(), 1, "{:?}", ran.events);
}

#[test]
fn job_that_a_worker_has_begun_is_not_begun_again() {
    let mut lab = tables();
    lab.options.jobs = 1;
    lab.fake_worker(&format!(
        "echo x >> {}; read job; echo '\"started\"'; exit 9",
        lab.dir.path().join("tries").display()
    ));
    assert!(lab.run().failure("a").error.message.ends_with("exit status 9"));
    assert_eq!(fs::read_to_string(lab.dir.path().join("tries")).unwrap(), "x\n");
}

#[test]
fn worker_out_of_memory_says_so_with_advice() {
    let mut lab = tables();
    lab.fake_worker("read job; echo 'memory allocation of 7000 bytes failed' >&2; kill -ABRT $$");
    let ran = lab.run();
    let error = &ran.failure("a").error;
    assert_eq!(error.message, "the worker process ran out of memory: memory allocation of 7000 bytes failed");
    assert!(error.help.as_ref().unwrap().contains("--jobs"));
}

#[test]
fn job_with_a_path_that_is_not_utf_8_is_refused_with_that_reason() {
    use std::os::unix::ffi::OsStrExt;

    let mut lab = tables();
    lab.options.isolate = true;
    let cache = lab.dir.path().join(std::ffi::OsStr::from_bytes(b"n\xff"));
    let ran = lab.run_in(&cache);
    let error = &ran.failure("a").error;
    assert!(error.message.contains("cannot be handed to a worker") && error.message.contains("UTF-8"), "{error}");
}

#[test]
fn result_of_another_device_than_the_key_names_is_refused() {
    let params = json!({ "backbone": "mf", "sampler": "uniform", "seed": 1 });
    let run = |used: &str| {
        let mut lab = Lab::new().stage("model", "train", params.clone(), &[]);
        let done = DONE.replace("null}}", &format!("null,\"device\":\"{used}\"}}}}"));
        lab.fake_worker(&format!(
            "if [ \"$1\" = --facets ]; then echo '{{\"libtorch\":\"2\",\"device\":\"cuda\",\"gpus\":1}}'; exit; fi
             read job; echo '{done}'; read job"
        ));
        lab.run().failure("model").error.clone()
    };
    let error = run("cpu");
    assert_eq!(error.message, "it computed on `cpu`, but its key is that of a computation on \"cuda\"");
    assert!(error.help.unwrap().contains("device: cpu"));
    // Nothing was written, so that the same device fails only later.
    assert!(!run("cuda").message.contains("computed on"));
}
