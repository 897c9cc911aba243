//! Failed stages: what stops, what goes on, what is said.

use std::sync::atomic::Ordering;

use cnsdiff_pipe::engine::{Event, Outcome};
use serde_json::json;

use crate::lab::Lab;

fn broken(mode: &str) -> Lab {
    Lab::new()
        .sum_with("bad", json!({ "value": 1, "mode": mode }), &[])
        .sum("after", 1, &["bad"])
        .sum("last", 1, &["after"])
        .sum("other", 5, &[])
}

#[test]
fn failure_skips_what_needs_it_and_keep_going_runs_the_rest() {
    let mut lab = broken("fail");
    lab.options.jobs = 1;
    let ran = lab.run();
    assert_eq!(ran.outcome("bad"), Outcome::Failed);
    assert_eq!((ran.outcome("after"), ran.outcome("last")), (Outcome::Skipped, Outcome::Skipped));
    assert_eq!(ran.outcome("other"), Outcome::Cancelled);

    lab.options.keep_going = true;
    let ran = lab.run();
    assert_eq!((ran.outcome("bad"), ran.outcome("other")), (Outcome::Failed, Outcome::Executed));
    let Some(Event::RunFinished(summary)) = ran.events.last() else { panic!("no end") };
    assert_eq!((summary.failed, summary.skipped, summary.executed), (1, 2, 1));
}

#[test]
fn failure_shows_reason_help_and_log() {
    let ran = broken("fail").run();
    let failure = ran.failure("bad");
    assert_eq!((failure.error.message.as_str(), failure.error.help.as_deref()), ("told to fail", Some("do not")));
    assert_eq!(failure.log_tail, ["value 1"]);
}

#[test]
fn panic_is_a_failed_stage() {
    let ran = broken("panic").run();
    assert_eq!(ran.failure("bad").error.message, "stage kind `sum` panicked: told to panic");
}

#[test]
fn retry_finds_the_scratch_of_the_first_attempt() {
    let mut lab = Lab::new().sum_with("a", json!({ "value": 1, "mode": "fail_once" }), &[]);
    assert_eq!(lab.run().outcome("a"), Outcome::Failed);
    lab.set("a", "value", json!(2));
    lab.options.retry = 1;
    let ran = lab.run();
    assert_eq!(ran.outcome("a"), Outcome::Executed);
    assert_eq!(lab.journal().len(), 3);
    let scratch = lab.store().scratch_dir(&ran.states["a"].key().unwrap());
    assert!(!scratch.exists(), "removed after success");
}

#[test]
fn interrupted_run_keeps_what_is_finished() {
    let lab =
        Lab::new().sum("a", 1, &[]).sum_with("b", json!({ "value": 2, "sleep_ms": 300 }), &["a"]).sum("c", 3, &["b"]);
    let interrupt = lab.options.interrupt.clone();
    let timer = std::thread::spawn({
        let interrupt = interrupt.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(150));
            interrupt.store(true, Ordering::Relaxed);
        }
    });
    let ran = lab.run();
    timer.join().unwrap();
    assert_eq!((ran.outcome("a"), ran.outcome("c")), (Outcome::Executed, Outcome::Cancelled));
    interrupt.store(false, Ordering::Relaxed);
    let ran = lab.run();
    assert_eq!((ran.outcome("a"), ran.outcome("b")), (Outcome::Cached, Outcome::Cached));
}
