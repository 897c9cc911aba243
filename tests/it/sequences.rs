//! Recommendation of the next item, through the real binary: a log with times, leave-one-out, a backbone of sequences.

use crate::lab::{Lab, set};

const NEXT: &str = "\
pipeline: next
axes: { mask: [train_valid, train] }
stages:
  raw:
    kind: ingest
    with:
      format: { delimited: { columns: { user: user, item: item, time: time } } }
      files: [{ part: log, source: log.csv }]
  split: { kind: split, needs: { data: raw }, with: { scenario: { leave_one_out: {} } } }
  model:
    kind: train
    over: [mask]
    needs: { split: split }
    with:
      backbone: { sasrec: { length: 10, heads: 2 } }
      dim: 32
      loss: bce
      batch_size: 32
      epochs: 30
      optimizer: { lr: 0.005 }
      seed: 1
      mask: \"{{ mask }}\"
      device: cpu
  score: { kind: evaluate, needs: { split: split, model: model }, with: { set: iid, metrics: [recall], k: [1] } }
";

/// 200 users who walk through 20 items, always seven on, for 6 to 12 steps. Rows are not in the order of time.
fn walks() -> Lab {
    let lab = Lab::with(NEXT);
    let rows = (0..200).flat_map(|user| {
        let steps = (0..6 + user % 7).rev();
        steps.map(move |step| format!("u{user},i{},{}\n", (3 * user + 7 * step) % 20, 1_000 * step + user))
    });
    lab.write("log.csv", &format!("user,item,time\n{}", rows.collect::<String>()));
    lab
}

/// A message without the frame and the line ends that it is wrapped in.
fn said(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

fn recall(lab: &Lab, mask: &str) -> f64 {
    let id = format!("score[mask={mask}]");
    let rows = lab.call(&["show", &id, "--artifact", "summary", "--format", "json"]).code(0).json();
    let row = rows.iter().find(|row| row["metric"] == "recall" && row["group"] == "all").expect("recall");
    row["value"].as_f64().expect("a number")
}

#[test]
#[cfg_attr(not(feature = "torch"), ignore = "needs libtorch")]
fn the_next_item_is_recommended_after_all_that_is_known() {
    let lab = walks();
    lab.run(&[]);
    // Where validation is known, the test is the next item; else it is the one after the next.
    let [both, train] = ["train_valid", "train"].map(|mask| recall(&lab, mask));
    assert!(both > 0.9 && train < 0.1, "{both}, {train}");
    assert_eq!(lab.run(&["--force", "model"]).ended("failed"), set([]));
    assert_eq!([both, train], ["train_valid", "train"].map(|mask| recall(&lab, mask)));
}

#[test]
#[cfg_attr(not(feature = "torch"), ignore = "needs libtorch")]
fn plan_finds_a_width_that_heads_cannot_share() {
    let lab = walks();
    lab.edit("pipeline.yaml", "heads: 2", "heads: 3");
    let wrong = said(&lab.call(&["plan"]).code(2).stderr);
    assert!(wrong.contains("`dim: 32` cannot be divided among 3 heads"), "{wrong}");
}

#[test]
#[cfg_attr(not(feature = "torch"), ignore = "needs libtorch")]
fn a_log_without_times_has_no_sequences() {
    let lab = walks();
    lab.edit("pipeline.yaml", ", time: time", "");
    lab.edit("pipeline.yaml", "leave_one_out: {}", "leave_one_out: { order: rows }");
    let failed = said(&lab.call(&["run"]).code(3).stderr);
    assert!(failed.contains("the training part has no times") && failed.contains("`ingest`"), "{failed}");
}
