//! Stages in worker processes: equal results, and every way in which a worker can die.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cnsdiff_pipe::engine::Outcome;
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
    for (script, limit) in [("exec sleep 600", 2), ("trap '' TERM; while :; do sleep 0.05; done", 7)] {
        let mut lab = tables();
        lab.fake_worker(script);
        let interrupt = lab.options.interrupt.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            interrupt.store(true, Ordering::Relaxed);
        });
        let started = Instant::now();
        let ran = lab.run();
        timer.join().unwrap();
        assert!(started.elapsed() < Duration::from_secs(limit), "{script}: {:?}", started.elapsed());
        assert!(ran.outcomes.values().all(|&outcome| outcome == Outcome::Cancelled), "{:?}", ran.outcomes);
    }
}
