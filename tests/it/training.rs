//! The main job on data small enough for a test: generated interactions, trained models, scores, tests, a table.

use std::collections::BTreeSet;

use crate::lab::Lab;

/// Two methods and five seeds on a few hundred interactions.
pub const TINY: &str = "\
pipeline: tiny
axes:
  method: { rns: uniform, cnsdiff: cnsdiff }
  seed: [1, 2, 3, 4, 5]
stages:
  raw: { kind: synthetic, with: { users: 60, items: 80, interactions: 480, seed: 3 } }
  split: { kind: split, needs: { data: raw }, with: { scenario: { random: {} } } }
  model:
    kind: train
    over: [method, seed]
    needs: { split: split }
    with: { backbone: lightgcn, sampler: \"{{ method }}\", seed: \"{{ seed }}\", dim: 8, batch_size: 512, epochs: 3 }
  score: { kind: evaluate, needs: { split: split, model: model }, with: { set: iid } }
  tests: { kind: compare, collapse: [method, seed], needs: { scores: score }, with: { reference: cnsdiff, resamples: 200 } }
  table: { kind: report, needs: { scores: score*, tests: tests }, with: { over: seed, ours: [cnsdiff] } }
";

/// Three seeds are enough where the number does not matter.
fn three_seeds() -> Lab {
    Lab::with(&TINY.replace("[1, 2, 3, 4, 5]", "[1, 2, 3]"))
}

fn stage_names(ids: &BTreeSet<String>) -> BTreeSet<&str> {
    ids.iter().map(|id| id.split('[').next().unwrap_or(id)).collect()
}

#[test]
fn a_sixth_seed_trains_one_model_per_cell_and_updates_the_table() {
    let lab = Lab::with(TINY);
    assert_eq!(lab.run(&[]).executed().len(), 2 + 10 + 10 + 2);
    let seeds_compared = || {
        let csv = lab.call(&["show", "tests", "--artifact", "tests", "--format", "json", "--rows", "1000"]).code(0);
        let by_seed = csv.json().into_iter().filter(|row| row["unit"] == "seed");
        by_seed.map(|row| row["n"].as_u64().expect("n")).max()
    };
    let table = lab.read("reports/tiny/table.md");
    assert_eq!(seeds_compared(), Some(5));
    lab.edit("pipeline.yaml", "[1, 2, 3, 4, 5]", "[1, 2, 3, 4, 5, 6]");
    let executed = lab.run(&[]).executed();
    let expected = ["model[method=rns,seed=6]", "model[method=cnsdiff,seed=6]", "score[method=rns,seed=6]"];
    assert!(expected.iter().all(|id| executed.contains(*id)), "{executed:?}");
    assert_eq!((executed.len(), stage_names(&executed).len()), (6, 4), "{executed:?}");
    assert_eq!(seeds_compared(), Some(6));
    assert_ne!(lab.read("reports/tiny/table.md"), table);
}

#[test]
fn another_metric_trains_nothing() {
    let lab = three_seeds();
    lab.run(&[]);
    lab.edit("pipeline.yaml", "set: iid", "set: iid, k: [5]");
    let executed = lab.run(&[]).executed();
    assert_eq!(stage_names(&executed), BTreeSet::from(["score", "tests", "table"]));
}

#[test]
fn reports_are_published_and_the_table_is_printed() {
    let lab = three_seeds();
    let first = lab.call(&["run"]).code(0);
    for name in ["table.md", "table.tex", "table.csv", "table.txt"] {
        assert!(lab.exists(&format!("reports/tiny/{name}")), "{name}");
    }
    assert_eq!(first.stdout.trim_end(), lab.read("reports/tiny/table.txt").trim_end());
    assert!(first.stdout.contains("cnsdiff") && first.stderr.contains("reports: reports/tiny/"), "{}", first.stderr);
    let written = lab.path("reports/tiny/table.md").metadata().unwrap().modified().unwrap();
    let again = lab.call(&["run"]).code(0);
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(lab.path("reports/tiny/table.md").metadata().unwrap().modified().unwrap(), written);
    std::fs::remove_file(lab.path("reports/tiny/table.md")).unwrap();
    assert!(lab.call(&["run", "--quiet"]).code(0).stdout.is_empty());
    assert!(lab.exists("reports/tiny/table.md"));
}

#[test]
fn a_table_has_methods_with_and_without_gradient() {
    let lab = Lab::with(
        "\
pipeline: mixed
axes:
  method:
    mf: { backbone: mf, dim: 8, epochs: 2, batch_size: 512 }
    item_knn: { recommender: item_knn }
    most_popular: { recommender: popularity }
  seed: [1, 2]
stages:
  raw: { kind: synthetic, with: { users: 60, items: 80, interactions: 480, seed: 3 } }
  split: { kind: split, needs: { data: raw }, with: { scenario: { random: {} } } }
  model:
    kind: train
    over: [method, seed]
    needs: { split: split }
    with: \"{{ method }}\"
    overrides: [{ when: {}, with: { seed: \"{{ seed }}\" } }]
  score: { kind: evaluate, needs: { split: split, model: model }, with: { set: iid } }
  table: { kind: report, needs: { scores: score*, models: model* }, with: { over: seed } }
",
    );
    let table = lab.call(&["run"]).code(0).stdout;
    for told in ["mf", "item_knn", "most_popular", "Epochs were chosen on validation data."] {
        assert!(table.contains(told), "{told} is not in\n{table}");
    }
}

#[test]
fn threads_and_order_change_no_byte() {
    let lab = three_seeds();
    // One job gets every core, two jobs share them.
    let threads = |args: &[&str]| {
        let events = lab.run(args).json();
        let started = events.iter().filter(|event| event["event"] == "stage_started" && event["kind"] == "train");
        started.map(|event| event["threads"].as_u64().expect("threads")).min().expect("a training")
    };
    let alone = threads(&["--jobs", "1"]);
    let shared = threads(&["--jobs", "2", "--shuffle", "11", "--cache", "other"]);
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => assert_eq!((alone, shared), (1, 1)),
        _ => assert!(alone > shared, "{alone} threads for one job, {shared} for each of two"),
    }
    assert_eq!(lab.files("cache/objects"), lab.files("other/objects"));
    let reports = lab.files("reports");
    lab.run(&["--jobs", "8", "--shuffle", "5", "--cache", "third"]);
    assert_eq!(lab.files("cache/objects"), lab.files("third/objects"));
    assert_eq!(lab.files("reports"), reports);
}

#[test]
fn a_locked_run_names_the_artifact_the_columns_and_the_row_that_differ() {
    let lab = three_seeds();
    lab.run(&["--until", "model", "--update-lock"]);
    lab.edit("pipeline.yaml", "epochs: 3 }", "epochs: 3, optimizer: { lr: 0.01 } }");
    let differs = lab.call(&["run", "--until", "model", "--locked"]).code(3);
    assert!(differs.stderr.contains("`model[method=rns,seed=1]` differs from pipeline.lock"), "{}", differs.stderr);
    let said = differs.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("its artifact `recommendations` differs in columns `item`, `score`, first in row "),
        "{said}"
    );
}
