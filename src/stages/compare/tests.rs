//! Tests of `compare` on made-up scores.

use super::super::testing::{Bench, input};
use super::*;
use serde_json::json;

const USERS: u32 = 60;

/// Scores of `method` with one seed: `gain` over a value that differs by user, and some noise that differs by seed.
fn source(bench: &Bench, method: &str, seed: u32, gain: f64) -> Input {
    let value = |user: u32| 0.2 + 0.1 * f64::from(user).sin() + gain * (1.0 + 0.5 * f64::from(user * seed).cos());
    let values: Vec<f64> = (0..USERS).map(value).collect();
    let mean = values.iter().sum::<f64>() / f64::from(USERS);
    let n = values.len();
    let per_user: [(&str, ArrayRef); 4] = [
        ("metric", Arc::new(StringArray::from(vec!["recall"; n]))),
        ("k", Arc::new(UInt32Array::from(vec![20; n]))),
        ("user", Arc::new(UInt32Array::from_iter_values(0..USERS))),
        ("value", Arc::new(Float64Array::from(values))),
    ];
    let summary: [(&str, ArrayRef); 5] = [
        ("metric", Arc::new(StringArray::from(vec!["recall"]))),
        ("k", Arc::new(UInt32Array::from(vec![20]))),
        ("group", Arc::new(StringArray::from(vec!["all"]))),
        ("value", Arc::new(Float64Array::from(vec![mean]))),
        ("users", Arc::new(UInt32Array::from(vec![USERS]))),
    ];
    let name = format!("{method}{seed}");
    let per_user = bench.put(&format!("p{name}"), &RecordBatch::try_from_iter(per_user).unwrap());
    let summary = bench.put(&format!("s{name}"), &RecordBatch::try_from_iter(summary).unwrap());
    let labels = [format!("method={method}"), format!("seed={seed}")];
    input("scores", &labels.each_ref().map(String::as_str), &[("per_user", per_user), ("summary", summary)])
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
    assert!(column("note")[6].contains("n=5 the smallest possible p is 0.0625"), "{:?}", column("note"));
    let (low, high, difference) =
        (f64s(&batch, "ci_low").unwrap(), f64s(&batch, "ci_high").unwrap(), f64s(&batch, "difference").unwrap());
    for row in 0..8 {
        assert!(low[row] < difference[row] && difference[row] < high[row], "row {row}");
    }
    let improvement = f64s(&batch, "improvement").unwrap();
    let mean = f64s(&batch, "mean_baseline").unwrap();
    assert!((improvement[0] - difference[0] / mean[0]).abs() < 1e-15);
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
        (json!({ "reference": "a", "alpha": 1.0 }), "alpha"),
        (json!({ "reference": "a", "resamples": 1 }), "resamples"),
        (json!({ "reference": "a", "baselines": ["b", "a"] }), "baselines"),
        (json!({ "reference": "a", "axis": "seed" }), "pair_by"),
    ] {
        let error = Compare::check(&parse::<Compare>(&params).unwrap()).unwrap_err();
        assert_eq!(error.path.join("."), at);
    }
}
