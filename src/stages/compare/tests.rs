//! Tests of `compare` on made-up scores.

use super::super::columns::{f64s, texts, u32s};
use super::super::testing::{Bench, input};
use super::*;
use serde_json::json;

const USERS: u32 = 60;

/// An evaluation of `users`, whose ids are their places.
fn evaluation(bench: &Bench, method: &str, seed: &str, users: &[(String, f64)]) -> Input {
    let n = users.len();
    let values = || users.iter().map(|&(_, value)| value);
    let per_user: [(&str, ArrayRef); 4] = [
        ("metric", Arc::new(StringArray::from(vec!["recall"; n]))),
        ("k", Arc::new(UInt32Array::from(vec![20; n]))),
        ("user", Arc::new(UInt32Array::from_iter_values(0..n as u32))),
        ("value", Arc::new(values().map(Some).collect::<Float64Array>())),
    ];
    let keys: [(&str, ArrayRef); 2] = [
        ("user", Arc::new(UInt32Array::from_iter_values(0..n as u32))),
        ("key", Arc::new(StringArray::from_iter_values(users.iter().map(|(key, _)| key)))),
    ];
    let summary: [(&str, ArrayRef); 5] = [
        ("metric", Arc::new(StringArray::from(vec!["recall"]))),
        ("k", Arc::new(UInt32Array::from(vec![20]))),
        ("group", Arc::new(StringArray::from(vec!["all"]))),
        ("value", Arc::new(Float64Array::from(vec![values().sum::<f64>() / n as f64]))),
        ("users", Arc::new(UInt32Array::from(vec![n as u32]))),
    ];
    let artifacts = [("per_user", &per_user[..]), ("users", &keys), ("summary", &summary)].map(|(name, columns)| {
        let batch = RecordBatch::try_from_iter(columns.to_vec()).unwrap();
        (name, bench.put(&format!("{name}-{method}-{seed}"), &batch))
    });
    let labels = [format!("method={method}"), format!("seed={seed}")];
    input("scores", &labels.each_ref().map(String::as_str), &artifacts)
}

/// The value of a user: `gain` over one that differs by user, and some noise that differs by seed.
fn value(user: u32, seed: u32, gain: f64) -> f64 {
    0.2 + 0.1 * f64::from(user).sin() + gain * (1.0 + 0.5 * f64::from(user * seed).cos())
}

/// Scores of `method` with one seed.
fn source(bench: &Bench, method: &str, seed: u32, gain: f64) -> Input {
    let users: Vec<_> = (0..USERS).map(|user| (format!("u{user}"), value(user, seed, gain))).collect();
    evaluation(bench, method, &seed.to_string(), &users)
}

fn sources(bench: &Bench) -> Vec<Input> {
    let methods = [("rns", 0.0), ("dns", 0.01), ("cnsdiff", 0.02)];
    methods.iter().flat_map(|&(method, gain)| (1..=5).map(move |seed| source(bench, method, seed, gain))).collect()
}

fn compare(bench: &Bench, params: Value, inputs: Vec<Input>) -> Result<RecordBatch, StageError> {
    let out = bench.run::<Compare>(run, params, inputs, Vec::new(), "out")?;
    Ok(parquet::read(&out.join("tests.parquet"))?)
}

#[test]
fn users_and_seeds_against_every_baseline() {
    let bench = Bench::new();
    let batch = compare(&bench, json!({ "reference": "cnsdiff", "resamples": 500 }), sources(&bench)).unwrap();
    assert_eq!(batch.num_rows(), 2 * 2 * 2);
    let column = |name: &str| texts(&batch, name).unwrap().iter().map(|v| v.unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(column("unit")[..4], ["user"; 4]);
    assert_eq!(column("baseline")[..2], ["rns", "dns"]);
    assert_eq!(u32s(&batch, "n").unwrap(), [USERS, USERS, USERS, USERS, 5, 5, 5, 5]);
    assert_eq!(u32s(&batch, "family").unwrap(), [2; 8]);
    let (p, adjusted) = (f64s(&batch, "p").unwrap(), f64s(&batch, "p_adjusted").unwrap());
    assert!(p[0] < 1e-9 && adjusted[0] >= p[0]);
    // Five seeds can never be significant by Wilcoxon's test, and the table says so.
    assert_eq!(p[6..], [0.0625; 2]);
    assert_eq!(adjusted[6..], [0.125; 2]);
    let note = "with n=5 the smallest possible p is 0.0625 (0.125 corrected), so no difference can be significant";
    assert_eq!(column("note")[6], note);
    assert_eq!(column("note")[0], "");
    assert_eq!(column("pair_by"), ["seed"; 8]);
    let (low, high, difference) =
        (f64s(&batch, "ci_low").unwrap(), f64s(&batch, "ci_high").unwrap(), f64s(&batch, "difference").unwrap());
    for row in 0..8 {
        assert!(low[row] < difference[row] && difference[row] < high[row], "row {row}");
    }
    let improvement = f64s(&batch, "improvement").unwrap();
    let mean = f64s(&batch, "mean_baseline").unwrap();
    assert!((improvement[0] - difference[0] / mean[0]).abs() < 1e-15);
}

/// All numbers of the comparison of `b` with `a` over users.
fn over_users(bench: &Bench, inputs: Vec<Input>) -> Vec<f64> {
    let params = json!({ "reference": "b", "unit": "user", "tests": ["paired_t"], "resamples": 200 });
    let batch = compare(bench, params, inputs).unwrap();
    let columns = ["statistic", "p", "cohen_dz", "rank_biserial", "mean_reference", "mean_baseline", "ci_low"];
    columns.iter().map(|name| f64s(&batch, name).unwrap()[0]).collect()
}

#[test]
fn users_are_paired_by_their_keys_whatever_their_ids() {
    let bench = Bench::new();
    let run = |method: &str, seed: u32, gain: f64, step: u32| {
        // Every step that shares no factor with the number of users is another order of all of them.
        let order = (0..USERS).map(|place| place * step % USERS);
        let users: Vec<_> = order.map(|user| (format!("u{user}"), value(user, seed, gain))).collect();
        evaluation(&bench, method, &seed.to_string(), &users)
    };
    let steps = |steps: [u32; 3]| {
        let runs = (1..).zip(steps).flat_map(|(seed, step)| [run("a", seed, 0.0, step), run("b", seed, 0.02, step)]);
        over_users(&bench, runs.collect())
    };
    let same_ids = steps([1, 1, 1]);
    assert_eq!(steps([1, 7, 11]), same_ids);
    // Averages of other people in each run would have another spread.
    let means = |gain: f64| -> Vec<f64> {
        let mean = |user| (1..=3).map(|seed| value(user, seed, gain)).sum::<f64>() / 3.0;
        (0..USERS).map(mean).collect()
    };
    let expected = Comparison::of(&means(0.02), &means(0.0));
    assert!((same_ids[2] - expected.cohen_dz.unwrap()).abs() < 1e-12, "{same_ids:?}");
}

// a = numpy.array([.1, .3, .2, .4]), b = numpy.array([.2, .35, .5, .45]): the means of ann, bob, cem and dan over the folds
// in which they were tested; scipy.stats.ttest_rel(b, a)   (scipy 1.17.1)
#[test]
fn folds_have_other_users_each() {
    let bench = Bench::new();
    let fold = |method: &str, fold: &str, users: &[(&str, f64)]| {
        let users: Vec<_> = users.iter().map(|&(key, value)| (key.to_owned(), value)).collect();
        evaluation(&bench, method, fold, &users)
    };
    let inputs = || {
        vec![
            fold("a", "1", &[("ann", 0.0), ("bob", 0.3), ("dan", 0.4)]),
            fold("b", "1", &[("ann", 0.1), ("bob", 0.35), ("dan", 0.45)]),
            fold("a", "2", &[("cem", 0.1), ("ann", 0.2)]),
            fold("b", "2", &[("cem", 0.7), ("ann", 0.3)]),
            fold("a", "3", &[("cem", 0.3)]),
            fold("b", "3", &[("cem", 0.3)]),
        ]
    };
    let batch = compare(&bench, json!({ "reference": "b", "unit": "user" }), inputs()).unwrap();
    assert_eq!(u32s(&batch, "n").unwrap(), [4, 4]);
    assert!((f64s(&batch, "statistic").unwrap()[0] - 2.100420126042015).abs() < 1e-12);
    assert!((f64s(&batch, "p").unwrap()[0] - 0.12651459308133606).abs() < 1e-12);
    let notes = texts(&batch, "note").unwrap();
    assert_eq!(notes.value(0), "4 of 4 users were tested in some of the 3 runs only");
    assert!(notes.value(1).starts_with("with n=4 the smallest possible p is 0.125, so no"), "{}", notes.value(1));
    // The unit of runs needs no users in common.
    let batch = compare(&bench, json!({ "reference": "b", "unit": "seed" }), inputs()).unwrap();
    assert_eq!(u32s(&batch, "n").unwrap(), [3, 3]);
    let zeros = "with n=3 (1 without a difference) the smallest possible p is 0.5, so no difference can be significant";
    assert_eq!(texts(&batch, "note").unwrap().value(1), zeros);
}

#[test]
fn competitors_with_other_users_in_a_run_are_refused() {
    let bench = Bench::new();
    let users = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), 0.5)).collect::<Vec<_>>();
    let error = |ours: &[&str], theirs: &[&str]| {
        let inputs = vec![evaluation(&bench, "a", "1", &users(ours)), evaluation(&bench, "b", "1", &users(theirs))];
        compare(&bench, json!({ "reference": "b" }), inputs).unwrap_err()
    };
    for (ours, theirs, lone) in
        [(&["x", "y"][..], &["x", "z"][..], "y"), (&["x"], &["x", "z"], "z"), (&["x", "y", "z"], &["z", "x"], "y")]
    {
        let error = error(ours, theirs);
        assert!(error.message.contains("different users in run `1`"), "{error}");
        assert!(error.message.ends_with(&format!("only one of them on `{lone}`")), "{error}");
        assert!(error.help.unwrap().contains("`unit: seed`"));
    }
    let twice = error(&["x", "x"], &["x", "y"]).message;
    assert_eq!(twice, "an evaluation has two values of recall@20 of the user `x`");
}

#[test]
fn values_that_are_not_finite_are_named() {
    let bench = Bench::new();
    let users = |value| vec![("x".to_owned(), 0.1), ("y".to_owned(), value), ("z".to_owned(), 0.2)];
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut inputs = vec![evaluation(&bench, "a", "1", &users(value)), evaluation(&bench, "b", "1", &users(0.5))];
        let message =
            |inputs: &[Input]| compare(&bench, json!({ "reference": "b" }), inputs.to_vec()).unwrap_err().to_string();
        let told = message(&inputs);
        let expected =
            format!("`summary` of method=a,seed=1, from port `scores`, has {value} in column `value`, row 0");
        assert!(told.contains(&expected) && told.ends_with("recall@20 of group `all`"), "{told}");
        // A sound summary does not help.
        let sound = inputs[1].artifacts["summary"].clone();
        inputs[0].artifacts.insert("summary".into(), sound);
        let told = message(&inputs);
        assert!(told.contains("`per_user` of method=a,seed=1") && told.contains(&format!("has {value}")), "{told}");
        assert!(told.ends_with("row 1: recall@20 of user 1"), "{told}");
    }
}

#[test]
fn equal_scores_are_equal_bytes_and_the_seed_counts() {
    let bench = Bench::new();
    let bytes = |params: Value, into: &str| {
        let out = bench.run::<Compare>(run, params, sources(&bench), Vec::new(), into).unwrap();
        std::fs::read(out.join("tests.parquet")).unwrap()
    };
    let params = json!({ "reference": "cnsdiff", "unit": "user", "resamples": 200 });
    assert_eq!(bytes(params.clone(), "a"), bytes(params, "b"));
    let other = json!({ "reference": "cnsdiff", "unit": "user", "resamples": 200, "seed": 1 });
    let params = json!({ "reference": "cnsdiff", "unit": "user", "resamples": 200, "seed": 0 });
    assert_ne!(bytes(params, "a"), bytes(other, "b"));
}

#[test]
fn a_lost_run_is_left_out_and_told() {
    let bench = Bench::new();
    let mut inputs = sources(&bench);
    inputs.remove(0);
    let batch =
        compare(&bench, json!({ "reference": "cnsdiff", "unit": "seed", "tests": ["paired_t"] }), inputs).unwrap();
    assert_eq!(u32s(&batch, "n").unwrap(), [4, 5]);
    assert_eq!(texts(&batch, "note").unwrap().value(0), "runs left out for want of a partner: 1");
    assert_eq!(texts(&batch, "note").unwrap().value(1), "");
}

#[test]
fn competitors_without_a_run_in_common_are_refused() {
    let bench = Bench::new();
    let inputs = vec![source(&bench, "rns", 1, 0.0), source(&bench, "dns", 2, 0.1), source(&bench, "dns", 3, 0.1)];
    let error = compare(&bench, json!({ "reference": "dns" }), inputs).unwrap_err();
    assert_eq!(error.message, "`dns` and `rns` have no run in common");
}

#[test]
fn identical_competitors_and_single_runs_have_no_spread() {
    let bench = Bench::new();
    let told = |gain: f64| -> Vec<(Option<f64>, String)> {
        let inputs = vec![source(&bench, "a", 1, 0.01), source(&bench, "b", 1, gain)];
        let batch = compare(&bench, json!({ "reference": "b" }), inputs).unwrap();
        assert!(f64s(&batch, "cohen_dz").unwrap().iter().skip(2).all(|value| value.is_nan()), "nulls over seeds");
        let (p, notes) = (f64s(&batch, "p").unwrap(), texts(&batch, "note").unwrap());
        (0..4).map(|row| (Some(p[row]).filter(|p| !p.is_nan()), notes.value(row).to_owned())).collect()
    };
    let (same, lone) = ("all differences are 0".to_owned(), "needs at least 2 pairs, has 1".to_owned());
    let identical = told(0.01);
    assert_eq!(
        identical,
        [(Some(1.0), same.clone()), (Some(1.0), same.clone()), (None, lone.clone()), (Some(1.0), same)]
    );
    let single = told(0.02);
    assert_eq!(single[2], (None, lone));
    let note = "with n=1 the smallest possible p is 1, so no difference can be significant";
    assert_eq!(single[3], (Some(1.0), note.to_owned()));
}

#[test]
fn only_the_named_baselines_are_compared() {
    let bench = Bench::new();
    let params = json!({ "reference": "cnsdiff", "baselines": ["dns"], "unit": "user", "tests": ["paired_t"] });
    let batch = compare(&bench, params, sources(&bench)).unwrap();
    assert_eq!(texts(&batch, "baseline").unwrap().iter().collect::<Vec<_>>(), [Some("dns")]);
    assert_eq!(u32s(&batch, "family").unwrap(), [1]);
    let unknown = json!({ "reference": "cnsdiff", "baselines": ["dnss"] });
    let error = compare(&bench, unknown, sources(&bench)).unwrap_err().to_string();
    assert!(error.contains("the baseline `dnss`") && error.contains("rns, dns, cnsdiff"), "{error}");
}

#[test]
fn sources_that_do_not_fit() {
    let bench = Bench::new();
    let message = |params: Value, inputs| compare(&bench, params, inputs).unwrap_err().to_string();
    let unknown = message(json!({ "reference": "cnsdif" }), sources(&bench));
    assert!(unknown.contains("`cnsdif`") && unknown.contains("rns, dns, cnsdiff"), "{unknown}");
    assert!(message(json!({ "reference": "rns", "axis": "model" }), sources(&bench)).contains("no axis `model`"));
    assert!(message(json!({ "reference": "rns", "metrics": ["map@5"] }), sources(&bench)).contains("`recall@20`"));
    let mut inputs = sources(&bench);
    inputs.iter_mut().enumerate().for_each(|(n, input)| input.labels.push(("dataset".into(), (n % 2).to_string())));
    assert!(message(json!({ "reference": "rns" }), inputs).contains("differ in `dataset`"));
}

#[test]
fn parameters_that_make_no_sense() {
    for (params, at) in [
        (json!({ "reference": "a", "tests": ["t"] }), "tests.0"),
        (json!({ "reference": "a", "metrics": ["ndcg"] }), "metrics.0"),
        (json!({ "reference": "a", "metrics": ["ndcg@5", "map@5", "ndcg@5"] }), "metrics.2"),
        (json!({ "reference": "a", "tests": ["wilcoxon", "wilcoxon"] }), "tests.1"),
        (json!({ "reference": "a", "alpha": 1.0 }), "alpha"),
        (json!({ "reference": "a", "resamples": 1 }), "resamples"),
        (json!({ "reference": "a", "baselines": ["b", "a"] }), "baselines"),
        (json!({ "reference": "a", "axis": "seed" }), "pair_by"),
    ] {
        let error = Compare::check(&parse::<Compare>(&params).unwrap()).unwrap_err();
        assert_eq!(error.path.join("."), at);
    }
}
