//! The lock file: what two people compare.

use crate::cache::COLORS;
use crate::lab::Lab;

#[test]
fn a_complete_run_writes_a_sorted_line_per_instance() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let lock = lab.read("pipeline.lock");
    let ids: Vec<&str> = lock.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids, ["all", "base[color=blue]", "base[color=red]", "side", "top"]);
    lab.call(&["run", "--locked"]).code(0);
}

#[test]
fn the_lock_file_of_another_machine_is_the_same() {
    let (here, there) = (Lab::with(COLORS), Lab::with(COLORS));
    here.run(&["--jobs", "1"]);
    there.run(&["--jobs", "2", "--shuffle", "7"]);
    assert_eq!(here.read("pipeline.lock"), there.read("pipeline.lock"));
}

#[test]
fn a_partial_or_changed_run_leaves_the_lock_file_alone() {
    let lab = Lab::with(COLORS);
    for part in [["--only", "color=red"], ["--until", "base"], ["--set", "stages.side.with.rows=[{ x: 5 }]"]] {
        let outcome = lab.run(&part);
        assert!(outcome.stderr.contains("--update-lock"), "{}", outcome.stderr);
        assert!(!lab.exists("pipeline.lock"));
    }
    lab.run(&["--only", "color=red", "--update-lock"]);
    assert_eq!(lab.read("pipeline.lock").lines().count(), 1 + 4);
}

#[test]
fn a_locked_run_names_stage_and_column_that_differ() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let lock = lab.read("pipeline.lock");
    lab.edit("pipeline.yaml", "size: 2", "size: 3");
    let differs = lab.call(&["run", "--locked"]).code(3);
    let message =
        "`base[color=red]` differs from pipeline.lock: its artifact `table` differs in column `size`, first in row 2";
    assert!(differs.stderr.contains(message), "{}", differs.stderr);
    assert!(differs.stderr.contains("its key differs as well"), "{}", differs.stderr);
    assert_eq!(lab.read("pipeline.lock"), lock);
    // Back as it was: nothing to complain of.
    lab.edit("pipeline.yaml", "size: 3", "size: 2");
    lab.call(&["run", "--locked"]).code(0);
}

#[test]
fn a_locked_run_needs_a_readable_lock_file() {
    let lab = Lab::with(COLORS);
    lab.call(&["run", "--locked"]).code(2);
    lab.write("pipeline.lock", "<<<<<<< HEAD\n");
    let broken = lab.call(&["run"]).code(2);
    assert!(broken.stderr.contains("line 1"), "{}", broken.stderr);
}
