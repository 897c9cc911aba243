//! What is executed again, and what is not.

use std::collections::BTreeSet;

use cnsdiff_pipe::engine::{self, Outcome, Resolver, State};
use cnsdiff_pipe::plan::diff;
use serde_json::json;

use crate::lab::{Lab, registry};

fn diamond() -> Lab {
    Lab::new().sum("a", 1, &[]).sum("b", 10, &["a"]).sum("c", 100, &["a"]).sum("d", 1000, &["b", "c"])
}

#[test]
fn second_run_does_nothing() {
    let lab = diamond();
    assert_eq!(lab.run().executed(), ["a", "b", "c", "d"]);
    assert!(lab.run().executed().is_empty());
    assert_eq!(lab.journal().len(), 4);
}

#[test]
fn changed_parameter_reruns_downstream_only() {
    let mut lab = diamond();
    lab.run();
    lab.set("b", "value", json!(11));
    assert_eq!(lab.run().executed(), ["b", "d"]);
    lab.set("b", "value", json!(10));
    assert!(lab.run().executed().is_empty(), "what was computed before is still there");
}

#[test]
fn unchanged_output_stops_the_rerun() {
    let mut lab = Lab::new().sum_with("a", json!({ "value": 10, "granularity": 10 }), &[]).sum("b", 1, &["a"]);
    lab.run();
    lab.set("a", "value", json!(19));
    let states = engine::probe(&lab.plan(), &registry(), &lab.store(), &lab.options).unwrap();
    assert!(matches!(states[0], State::Miss { forced: false, .. }));
    assert!(matches!(&states[1], State::Waits { on } if on == &[0]));
    let ran = lab.run();
    assert_eq!(ran.executed(), ["a"]);
    assert_eq!(ran.outcome("b"), Outcome::Cached);
}

#[test]
fn renamed_stage_is_not_executed_again() {
    let mut lab = Lab::new().sum("a", 1, &[]);
    lab.run();
    lab.rename("a", "z");
    assert_eq!(lab.run().outcome("z"), Outcome::Cached);
}

#[test]
fn equal_stages_are_executed_once() {
    let lab = Lab::new().sum_with("a", json!({ "value": 1, "sleep_ms": 50 }), &[]).sum_with(
        "b",
        json!({ "value": 1, "sleep_ms": 50 }),
        &[],
    );
    let ran = lab.run();
    assert_eq!(lab.journal().len(), 1);
    assert_eq!(ran.digests()["a"], ran.digests()["b"]);
}

#[test]
fn order_and_jobs_change_no_byte() {
    let mut lab = diamond();
    let first = lab.run();
    for (seed, jobs) in [(None, 1), (Some(1), 4), (Some(2), 1), (Some(3), 3)] {
        lab.options.shuffle = seed;
        lab.options.jobs = jobs;
        let again = lab.run_in(&lab.dir.path().join(format!("cache-{seed:?}-{jobs}")));
        assert_eq!(again.executed().len(), 4);
        assert_eq!(again.digests(), first.digests());
        let keys = |ran: &crate::lab::Ran| ran.states.values().map(State::key).collect::<Vec<_>>();
        assert_eq!(keys(&again), keys(&first));
    }
}

#[test]
fn force_executes_and_keeps_what_follows_from_equal_results() {
    let mut lab = diamond();
    lab.run();
    lab.options.force = vec!["b".to_owned()];
    assert_eq!(lab.run().executed(), ["b"]);
    lab.options.force = vec!["nothing".to_owned()];
    let error = engine::probe(&lab.plan(), &registry(), &lab.store(), &lab.options).unwrap_err();
    assert_eq!(error.to_string(), "there is no stage `nothing`");
}

#[test]
fn until_runs_a_stage_and_what_it_needs() {
    let mut lab = diamond();
    lab.options.until = vec!["b".to_owned()];
    let ran = lab.run();
    assert_eq!(ran.executed(), ["a", "b"]);
    assert!(matches!(ran.states["c"], State::Excluded) && matches!(ran.states["d"], State::Excluded));
}

#[test]
fn explanation_names_the_changed_field_and_the_changed_input() {
    let mut lab = diamond();
    let before = lab.run();
    let material = |id: &str| lab.store().origin(&before.states[id].key().unwrap()).unwrap().unwrap().material;
    let (old_b, old_d) = (material("b"), material("d"));
    lab.set("b", "value", json!(11));
    lab.run();
    let (plan, kinds, store) = (lab.plan(), registry(), lab.store());
    let resolver = Resolver::new(&plan, &kinds, &store, &lab.options).unwrap();
    let states = resolver.probe();
    let fields = |index| resolver.fields(index, &states).unwrap().unwrap();
    let changed: Vec<_> = diff(&old_b, &fields(1)).into_iter().map(|c| (c.field, c.old, c.new)).collect();
    assert_eq!(changed, [("with.value".to_owned(), Some("10".to_owned()), Some("11".to_owned()))]);
    let changed: BTreeSet<_> = diff(&old_d, &fields(3)).into_iter().map(|c| c.field).collect();
    assert_eq!(changed, BTreeSet::from(["needs.terms[name=b].table".to_owned()]));
}

#[test]
fn estimate_comes_from_the_last_execution() {
    let mut lab = Lab::new().sum_with("a", json!({ "value": 1, "sleep_ms": 60 }), &[]).sum("b", 1, &["a"]);
    lab.run();
    lab.set("a", "value", json!(2));
    let (plan, store) = (lab.plan(), lab.store());
    let states = engine::probe(&plan, &registry(), &store, &lab.options).unwrap();
    let seconds = engine::estimate(&plan, &store, &lab.options, &states);
    assert!(seconds[0].unwrap() >= 0.06 && seconds[1].unwrap() < 0.06, "{seconds:?}");
}
