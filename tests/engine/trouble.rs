//! Failed stages: what stops, what goes on, what is said.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cnsdiff_pipe::engine::{self, EngineError, Event, Interrupt, Outcome, State};
use serde_json::json;

use crate::lab::{Lab, registry};

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

fn interrupt_after(lab: &Lab, milliseconds: u64) -> JoinHandle<()> {
    let interrupt = lab.options.interrupt.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(milliseconds));
        interrupt.raise();
    })
}

#[test]
fn interrupted_run_keeps_what_is_finished() {
    let mut lab =
        Lab::new().sum("a", 1, &[]).sum_with("b", json!({ "value": 2, "sleep_ms": 300 }), &["a"]).sum("c", 3, &["b"]);
    let timer = interrupt_after(&lab, 150);
    let ran = lab.run();
    timer.join().unwrap();
    assert_eq!((ran.outcome("a"), ran.outcome("c")), (Outcome::Executed, Outcome::Cancelled));
    let told = ran.events.iter().filter(|event| matches!(event, Event::Interrupted { running: 1 }));
    assert_eq!(told.count(), 1, "{:?}", ran.events);
    lab.options.interrupt = Interrupt::default();
    let ran = lab.run();
    assert_eq!((ran.outcome("a"), ran.outcome("b")), (Outcome::Cached, Outcome::Cached));
}

/// Runs a lab, and answers how long it took until the engine told the end, and whether something was still running then.
fn end_of(lab: &Lab, sink: &mut dyn FnMut(&Event)) -> (Duration, Result<Vec<State>, EngineError>, bool) {
    let clock = Instant::now();
    let end = |result, running| (clock.elapsed(), result, running);
    engine::run_then(&lab.plan(), &registry(), &lab.store(), &lab.options, sink, end)
}

#[test]
fn interrupted_run_does_not_wait_for_a_stage_in_this_process() {
    let lab = Lab::new().sum("a", 1, &[]).sum_with("b", json!({ "value": 2, "sleep_ms": 2500 }), &["a"]);
    let timer = interrupt_after(&lab, 200);
    let mut events = Vec::new();
    let (time, states, running) = end_of(&lab, &mut |event| events.push(event.clone()));
    timer.join().unwrap();
    assert!(time < Duration::from_millis(1500), "{time:?}");
    assert!(running);
    let states = states.unwrap();
    assert!(matches!((&states[0], &states[1]), (State::Executed { .. }, State::Cancelled { .. })), "{states:?}");
    assert!(matches!(events.last(), Some(Event::RunFinished(summary)) if summary.cancelled == 1), "{events:?}");
}

#[test]
fn panic_of_who_watches_ends_the_run_with_its_words() {
    let lab = Lab::new().sum("a", 1, &[]).sum("b", 2, &["a"]);
    let mut sink = |event: &Event| assert!(!matches!(event, Event::StageFinished(_)), "nobody looks");
    let (time, result, _) = end_of(&lab, &mut sink);
    assert!(time < Duration::from_secs(5), "{time:?}");
    let Err(EngineError::Panicked(text)) = result else { panic!("{result:?}") };
    assert_eq!(text, "nobody looks");
    // What it had begun is no obstacle to the next run.
    assert!(lab.run().states.values().all(|state| state.entry().is_some()));
}

#[test]
fn panic_of_a_kind_in_the_loop_ends_the_run_and_its_workers() {
    let mut lab =
        Lab::new().stage("a", "literal", json!({ "rows": [{ "x": 1 }] }), &[]).stage("b", "odd", json!({}), &[]);
    lab.fake_worker("exec sleep 600");
    let (time, result, running) = end_of(&lab, &mut |_| ());
    assert!(time < Duration::from_secs(5), "{time:?}");
    assert!(matches!(&result, Err(EngineError::Panicked(text)) if text == "no such resources"), "{result:?}");
    assert!(running, "the worker of `a` was running");
}
