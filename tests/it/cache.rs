//! What is computed again, and what is not.

use crate::lab::{Lab, set};

/// Two literals over an axis, gathered, and copied; and one that nothing needs.
pub const COLORS: &str = "\
pipeline: colors
axes:
  color: [red, blue]
stages:
  base:
    kind: literal
    over: [color]
    with: { rows: [{ name: \"{{ color }}\", size: 1 }, { name: other, size: 2 }] }
  all: { kind: concat, collapse: [color], needs: { tables: base } }
  top: { kind: concat, needs: { tables: all } }
  side: { kind: literal, with: { rows: [{ x: 1 }] } }
";

#[test]
fn a_second_run_does_nothing() {
    let lab = Lab::with(COLORS);
    let every = set(["base[color=red]", "base[color=blue]", "all", "top", "side"]);
    assert_eq!(lab.run(&[]).executed(), every);
    let lock = lab.read("pipeline.lock");
    let objects = lab.files("cache/objects");
    let again = lab.run(&[]);
    assert_eq!((again.executed(), again.ended("cached")), (set([]), every));
    assert_eq!(lab.files("cache/objects"), objects);
    assert_eq!(lab.read("pipeline.lock"), lock);
}

#[test]
fn a_changed_parameter_reruns_only_what_depends_on_it() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    lab.edit("pipeline.yaml", "x: 1", "x: 2");
    assert_eq!(lab.run(&[]).executed(), set(["side"]));
    lab.edit("pipeline.yaml", "size: 2", "size: 3");
    assert_eq!(lab.run(&[]).executed(), set(["base[color=red]", "base[color=blue]", "all", "top"]));
}

#[test]
fn a_new_label_runs_its_own_cells_and_what_gathers_them() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    lab.edit("pipeline.yaml", "[red, blue]", "[red, blue, green]");
    assert_eq!(lab.run(&[]).executed(), set(["base[color=green]", "all", "top"]));
    lab.edit("pipeline.yaml", "[red, blue, green]", "[red, blue]");
    assert_eq!(lab.run(&[]).executed(), set([]));
}

#[test]
fn an_equal_output_stops_the_rerun() {
    let rows = "rows: [{ a: 1, b: 2 }, { a: 3 }]";
    let lab = Lab::with(&format!(
        "pipeline: cut\nstages:\n  base: {{ kind: literal, with: {{ {rows} }} }}\n  top: {{ kind: concat, needs: {{ tables: base }} }}\n"
    ));
    lab.run(&[]);
    // Another parameter, the same table.
    lab.edit("pipeline.yaml", rows, "rows: [{ a: 1, b: 2 }, { a: 3, b: null }]");
    let again = lab.run(&[]);
    assert_eq!((again.executed(), again.ended("cached")), (set(["base"]), set(["top"])));
}

#[test]
fn renaming_a_stage_reruns_nothing() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let text = lab.read("pipeline.yaml").replace("side:", "aside:").replace("pipeline: colors", "pipeline: other");
    lab.write("pipeline.yaml", &text);
    assert_eq!(lab.run(&[]).executed(), set([]));
}

#[test]
fn comments_and_layout_rerun_nothing() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    lab.edit("pipeline.yaml", "stages:", "# what is done\nstages:\n");
    assert_eq!(lab.run(&[]).executed(), set([]));
}

#[test]
fn force_reruns_a_stage_and_its_equal_output_stops_there() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    assert_eq!(lab.run(&["--force", "all"]).executed(), set(["all"]));
    assert_eq!(lab.run(&["--force", "base[color=red]"]).executed(), set(["base[color=red]"]));
    lab.call(&["run", "--force", "nothing"]).code(2);
}

#[test]
fn until_runs_a_stage_and_what_it_needs() {
    let lab = Lab::with(COLORS);
    let part = lab.run(&["--until", "all"]);
    assert_eq!(part.executed(), set(["base[color=red]", "base[color=blue]", "all"]));
    assert!(part.ended("cancelled").is_empty());
    assert_eq!(lab.run(&[]).executed(), set(["top", "side"]));
}

#[test]
fn only_keeps_the_labels_named() {
    let lab = Lab::with(COLORS);
    assert_eq!(lab.run(&["--only", "color=red"]).executed(), set(["base[color=red]", "all", "top", "side"]));
    assert_eq!(lab.run(&[]).executed(), set(["base[color=blue]", "all", "top"]));
}

#[test]
fn the_order_of_execution_changes_no_byte() {
    let lab = Lab::with(COLORS);
    lab.run(&["--jobs", "1"]);
    let expected = lab.files("cache/objects");
    for seed in ["1", "2", "3"] {
        lab.run(&["--shuffle", seed, "--jobs", "2", "--cache", seed]);
        assert_eq!(lab.files(&format!("{seed}/objects")), expected);
    }
}

#[test]
fn a_lost_object_is_made_anew() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let expected = lab.files("cache/objects");
    let victim = lab.path("cache/objects").join(&expected[0].0);
    std::fs::remove_file(victim).unwrap();
    assert!(!lab.run(&[]).executed().is_empty());
    assert_eq!(lab.files("cache/objects"), expected);
}

#[test]
fn a_damaged_object_is_found_and_repaired() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    lab.call(&["cache", "verify"]).code(0);
    let expected = lab.files("cache/objects");
    let (name, mut bytes) = expected[0].clone();
    bytes[10] ^= 1;
    std::fs::write(lab.path("cache/objects").join(name), bytes).unwrap();
    let found = lab.call(&["cache", "verify"]).code(4);
    assert!(found.stderr.contains("--repair"), "{}", found.stderr);
    lab.call(&["cache", "verify", "--repair"]).code(0);
    lab.run(&[]);
    assert_eq!(lab.files("cache/objects"), expected);
}

#[test]
fn clean_forgets_a_stage_and_gc_keeps_what_runs_refer_to() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let would = lab.call(&["clean", "--stage", "side", "--dry-run"]).code(0);
    assert!(would.stdout.starts_with("would remove 1 result and 1 object"), "{}", would.stdout);
    assert_eq!(lab.run(&[]).executed(), set([]));
    lab.call(&["clean", "--stage", "side"]).code(0);
    assert_eq!(lab.run(&[]).executed(), set(["side"]));
    lab.call(&["cache", "gc", "--days", "0"]).code(0);
    assert_eq!(lab.run(&[]).executed(), set([]));
    lab.call(&["clean", "--everything"]).code(0);
    assert!(!lab.exists("cache"));
}

#[test]
fn gc_removes_what_no_run_refers_to() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    lab.edit("pipeline.yaml", "x: 1", "x: 2");
    lab.run(&[]);
    let before = lab.files("cache/objects").len();
    lab.call(&["cache", "gc"]).code(0);
    assert_eq!(lab.files("cache/objects").len(), before);
    lab.call(&["cache", "gc", "--days", "0"]).code(0);
    assert_eq!(lab.files("cache/objects").len(), before - 1);
    assert_eq!(lab.run(&[]).executed(), set([]));
}

#[test]
fn two_runs_at_once_share_one_cache_and_compute_nothing_twice() {
    let labels: Vec<String> = (0..40).map(|label| format!("l{label}")).collect();
    let lab = Lab::with(&COLORS.replace("red, blue", &labels.join(", ")));
    let start = || {
        let mut command = lab.command(&["run", "--json"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start(), start());
    let count = |child: std::process::Child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).matches("\"outcome\":\"executed\"").count()
    };
    // 40 cells, `all`, `top` and `side`.
    assert_eq!(count(one) + count(two), 43);
    lab.call(&["cache", "verify"]).code(0);
}
