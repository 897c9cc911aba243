//! What is ranked and what is asked for, through the real binary.

use std::path::PathBuf;

use serde_json::Value;

use crate::lab::Lab;

/// The rows of an artifact.
fn rows(lab: &Lab, instance: &str, artifact: &str) -> Vec<Value> {
    let shown = lab.call(&["show", instance, "--artifact", artifact, "--format", "json", "--rows", "100000"]).code(0);
    shown.json()
}

/// The value of the row called `name`.
fn value(rows: &[Value], name: &str) -> f64 {
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row `{name}`"));
    row["value"].as_f64().expect("a number")
}

/// The value of a measure over all users, at whatever cut-off.
fn metric(lab: &Lab, instance: &str, metric: &str) -> f64 {
    let rows = rows(lab, instance, "summary");
    let row = rows.iter().find(|row| row["metric"] == metric && row["group"] == "all");
    row.unwrap_or_else(|| panic!("no {metric}"))["value"].as_f64().expect("a number")
}

/// User `u0` has `i0` and `i5` in the test, and `i5` in validation.
const SHARED_PAIR: &str = "\
pipeline: shared
axes: { mask: [train_valid, train] }
stages:
  raw:
    kind: ingest
    with:
      files: [{ part: train, source: train.txt }, { part: valid, source: valid.txt }, { part: test, source: test.txt }]
  split: { kind: split, needs: { data: raw }, with: { scenario: { given: { train: train, valid: valid, iid: test } } } }
  model:
    kind: train
    over: [mask]
    needs: { split: split }
    with: { backbone: mf, dim: 4, seed: 3, epochs: 2, select: last, mask: \"{{ mask }}\", device: cpu }
  score: { kind: evaluate, needs: { split: split, model: model }, with: { set: iid, metrics: [recall], k: [5] } }
  table:
    kind: report
    collapse: [mask]
    needs: { scores: score*, models: model* }
    with: { rows: mask }
";

fn shared_pair() -> Lab {
    let lab = Lab::with(SHARED_PAIR);
    let train = [("u0", "1234"), ("u1", "2468"), ("u2", "360"), ("u3", "4837"), ("u4", "5162"), ("u5", "630")];
    let lines = train.map(|(user, items)| items.chars().map(|item| format!("{user} i{item} 1\n")).collect::<String>());
    lab.write("train.txt", &lines.concat());
    lab.write("valid.txt", "u0 i5 1\nu2 i5 1\n");
    lab.write("test.txt", "u0 i5 1\nu0 i0 1\nu1 i7 1\n");
    lab
}

#[test]
fn a_test_pair_hidden_by_the_mask_is_not_asked_for_and_the_caption_says_so() {
    let lab = shared_pair();
    lab.run(&[]);
    let of_user = |mask: &str| {
        let rows = rows(&lab, &format!("score[mask={mask}]"), "per_user");
        rows.iter().find(|row| row["user"] == 0).expect("user 0")["value"].as_f64().expect("a number")
    };
    // Five items are left to recommend to u0, or six with the one in validation.
    assert_eq!(of_user("train_valid"), 1.0);
    let counts = rows(&lab, "score[mask=train_valid]", "counts");
    assert_eq!((value(&counts, "pairs"), value(&counts, "in_valid")), (2.0, 1.0));
    assert_eq!(value(&rows(&lab, "score[mask=train]", "counts"), "in_valid"), 0.0);
    let table = lab.read("reports/shared/table.txt").split_whitespace().collect::<Vec<_>>().join(" ");
    let told = "not asked for: at most 1 of 3 (1 in the user's validation).";
    assert!(table.contains(told), "{table}");
    assert!(table.contains("validation items; for train: against all items but the user's training items."), "{table}");
}

#[test]
fn the_key_of_a_training_on_the_processor_names_no_environment() {
    let lab = shared_pair();
    lab.run(&["--until", "model"]);
    lab.edit("pipeline.yaml", "device: cpu", "device: auto");
    let told = lab.call(&["explain", "model[mask=train]"]).code(0).stdout;
    // What is new in the key of one that may run on a GPU, even where there is none.
    assert!(told.contains("with.device") && told.contains("environment.device"), "{told}");
    assert!(!told.contains("environment.libtorch"), "{told}");
}

/// The public data sets: `CNSDIFF_MIRROR`, or `../shared/data` beside the repository.
fn public_data() -> PathBuf {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data"));
    std::env::var_os("CNSDIFF_MIRROR").map_or(beside, PathBuf::from)
}

/// Amazon Toy and Game in both directions, as RealHNS publishes and ranks them. The values are an independent
/// recomputation with the target domain's items, and with what the mask hides among what is asked for; with all items they
/// are .00552 and .00195, .03931 and .01614.
#[test]
#[ignore = "needs the public data"]
fn cross_domain_rankings_have_the_items_of_the_target_domain() {
    let data = public_data().join("amazon-toy-game");
    let lab = Lab::with(&format!(
        "\
pipeline: domains
axes:
  scenario:
    game_to_toy: {{ cross_domain: {{ target: toy, mixed: mixed }} }}
    toy_to_game: {{ cross_domain: {{ source: toy, mixed: mixed }} }}
stages:
  raw:
    kind: ingest
    with:
      format: pickle
      steps: []
      files:
        - {{ part: toy, source: {data}/toy_log_file_final.pkl }}
        - {{ part: mixed, source: {data}/mix_log_file_final.pkl }}
  split: {{ kind: split, over: [scenario], needs: {{ data: raw }}, with: {{ scenario: \"{{{{ scenario }}}}\", seed: 1 }} }}
  model:
    kind: train
    needs: {{ split: split }}
    with: {{ backbone: {{ lightgcn: {{ layers: 2 }} }}, seed: 1, epochs: 8, optimizer: {{ lr: 0.005 }}, select: last }}
  score:
    kind: evaluate
    needs: {{ split: split, model: model }}
    with: {{ set: iid, metrics: [recall, ndcg], k: [20], unreachable: keep }}
",
        data = data.display()
    ));
    lab.run(&[]);
    for (scenario, items, masked, recall, ndcg) in
        [("game_to_toy", 37_868.0, 104.0, 0.0197, 0.00741), ("toy_to_game", 11_735.0, 90.0, 0.04636, 0.01884)]
    {
        let (model, score) = (format!("model[scenario={scenario}]"), format!("score[scenario={scenario}]"));
        let facts = rows(&lab, &model, "summary");
        assert_eq!(value(&facts, "candidates_target"), 1.0, "{scenario}");
        assert!(value(&facts, "candidates") <= items, "{scenario}: {}", value(&facts, "candidates"));
        assert_eq!(value(&rows(&lab, &score, "counts"), "in_valid"), masked, "{scenario}");
        for (name, expected) in [("recall", recall), ("ndcg", ndcg)] {
            let found = metric(&lab, &score, name);
            assert!((found / expected - 1.0).abs() < 0.03, "{scenario}: {name} {found} is not {expected}");
        }
    }
}

/// KuaiRec: the published evaluation leaves 7,401 of 10,728 items out. Two made-up users know all of them.
#[test]
#[ignore = "needs the public data"]
fn kuairec_ranks_the_items_that_its_list_leaves() {
    let data = public_data().join("kuairec2");
    let lab = Lab::with(&format!(
        "\
pipeline: kuairec
stages:
  raw:
    kind: ingest
    with:
      format: adjacency
      files:
        - {{ part: train, source: {data}/valid.txt }}
        - {{ part: train, source: all.txt }}
        - {{ part: ood, source: {data}/test_ood.txt }}
  split: {{ kind: split, needs: {{ data: raw }}, with: {{ scenario: {{ given: {{ train: train, ood: ood }} }} }} }}
  model:
    kind: train
    needs: {{ split: split }}
    with:
      backbone: mf
      dim: 8
      seed: 1
      epochs: 1
      select: last
      candidates: {{ except: {{ source: {data}/not_candidate.txt }} }}
  score: {{ kind: evaluate, needs: {{ split: split, model: model }}, with: {{ set: ood }} }}
",
        data = data.display()
    ));
    let every_other = |first: usize| (first..10_728).step_by(2).map(|item| format!(" {item}")).collect::<String>();
    lab.write("all.txt", &format!("even{}\nodd{}\n", every_other(0), every_other(1)));
    lab.run(&[]);
    let facts = rows(&lab, "model", "summary");
    let fact = |name: &str| value(&facts, name);
    assert_eq!((fact("items"), fact("candidates"), fact("candidates_listed")), (10_728.0, 3_327.0, 1.0));
    assert_eq!(rows(&lab, "model", "candidates").len(), 3_327);
    assert_eq!(value(&rows(&lab, "score", "counts"), "no_candidate"), 0.0);
}
