//! Stages and instances are named by people: what is named wrongly is refused, and two names of one thing are told.

use crate::cache::COLORS;
use crate::lab::Lab;

/// Every command that takes the name of a stage, with the arguments before the name.
const COMMANDS: [&[&str]; 8] = [
    &["clean", "--stage"],
    &["clean", "--dry-run", "--stage"],
    &["run", "--force"],
    &["run", "--until"],
    &["run", "--dry-run", "--force"],
    &["show"],
    &["show", "--log"],
    &["explain"],
];

#[test]
fn a_wrong_name_is_refused_by_every_command_and_removes_nothing() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let before = lab.files("cache/index");
    for (name, message, help) in [
        ("base[1]", "does not say which axis `1` is of", "write axis and label, as in `base[color=red]`"),
        ("base[", "does not end with `]`", "as in `base[color=red]`"),
        ("base[colour=red]", "the stage `base` has no axis `colour`", "did you mean `color`?"),
        ("base[color=rad]", "has the label `rad` on `color`", "did you mean `red`?"),
        ("bsae", "there is no stage `bsae`", "did you mean `base`?"),
    ] {
        for command in COMMANDS {
            let outcome = lab.call(&[command, &[name]].concat()).code(2);
            assert!(outcome.stderr.contains(message) && outcome.stderr.contains(help), "{name}: {}", outcome.stderr);
        }
    }
    assert_eq!(lab.files("cache/index"), before);
}

const TWINS: &str = "
pipeline: twins
axes:
  data: { one: { seed: 1 }, again: { seed: 1 }, other: { seed: 2 } }
stages:
  raw: { kind: synthetic, over: [data], with: { users: 60, items: 50, interactions: 250, seed: \"{{ data.seed }}\" } }
  split: { kind: split, needs: { data: raw }, with: { scenario: { random: {} } } }
";

#[test]
fn two_names_of_one_computation_are_pointed_out_once() {
    let lab = Lab::with(TWINS);
    // Not the splits, which follow from it.
    let warning = "`raw[data=one]` and `raw[data=again]` are the same computation under two names";
    for command in [&["plan"] as &[&str], &["run"], &["run"], &["status"], &["plan"]] {
        let outcome = lab.call(command).code(0);
        assert_eq!(outcome.stderr.matches("under two names").count(), 1, "{command:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(warning), "{command:?}: {}", outcome.stderr);
    }
    lab.edit("pipeline.yaml", "again: { seed: 1 }", "again: { seed: 3 }");
    assert!(!lab.call(&["run"]).code(0).stderr.contains("under two names"));
}

#[test]
fn a_training_that_does_not_fit_the_machine_is_told_by_plan() {
    let train = |batch: &str| {
        format!(
            "pipeline: p\nstages:\n  raw: {{ kind: synthetic }}\n  split: {{ kind: split, needs: {{ data: raw }}, with: \
             {{ scenario: {{ random: {{}} }} }} }}\n  model: {{ kind: train, needs: {{ split: split }}, with: {{ backbone: mf, \
             sampler: cnsdiff, seed: 1, batch_size: {batch} }} }}\n"
        )
    };
    let lab = Lab::with(&train("1048576"));
    let plan = lab.call(&["plan"]).code(0);
    assert!(
        plan.stderr.contains("`model` may need 32.") && plan.stderr.contains("this machine has"),
        "{}",
        plan.stderr
    );
    lab.write("pipeline.yaml", &train("64"));
    assert!(!lab.call(&["plan"]).code(0).stderr.contains("may need"));
    for (parameter, value) in
        [("dim", "100000000"), ("batch_size", "1000000000000000000"), ("top_k", "18446744073709551615")]
    {
        lab.write("pipeline.yaml", &train("64").replace("batch_size: 64", &format!("{parameter}: {value}")));
        let refused = lab.call(&["plan"]).code(2);
        assert!(refused.stderr.contains("at most"), "{}", refused.stderr);
    }
}
