//! What each kind makes of fixed inputs, pinned to its version: outputs that change without a new version would leave
//! stale results in caches. `train`, which runs in the worker, has a test of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array};
use serde_json::json;

use super::testing::{Bench, Ran, artifacts_in, input, run_kind};
use super::{compare, concat, describe, evaluate, ingest, literal, registry, report, split, synthetic};
use crate::digest::Digest;
use crate::engine::stage::Input;
use crate::spec::KindTable;

/// Kind, version, digest of its outputs below. If results are meant to change, bump the version of the kind, say so in
/// the CHANGELOG, and renew the digest with the one that the failing test shows.
const PINNED: [(&str, u32, &str); 9] = [
    ("ingest", 3, "e836be7848e0"),
    ("synthetic", 2, "1c063f6229ef"),
    ("split", 4, "65a5cf6db8cb"),
    ("evaluate", 3, "66d646326ce2"),
    ("compare", 2, "5657b8f78219"),
    ("report", 3, "ed7ecaf98004"),
    ("describe", 2, "11d9bd7f01a9"),
    ("literal", 2, "e5616b9939d3"),
    ("concat", 2, "69a114177b4a"),
];

/// One digest over names and bytes of all artifacts.
fn digest(artifacts: &BTreeMap<String, PathBuf>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, path) in artifacts {
        hasher.update(name.as_bytes());
        hasher.update(Digest::of(&std::fs::read(path).unwrap()).as_bytes());
    }
    Digest::from(hasher.finalize()).short()
}

/// 40 users with 15 of 60 items each, one repeated line and one that is malformed.
fn raw_text() -> String {
    let lines = (0..40).flat_map(|user| (0..15).map(move |n| format!("u{user} i{} 1\n", (user * 7 + n * n) % 60)));
    format!("{}u0 i0 1\nbroken\n", lines.collect::<String>())
}

/// Ten recommendations to every user; those of other `shift`s overlap.
fn recommendations(bench: &Bench, shift: u32) -> PathBuf {
    let rows = || (0..40u32).flat_map(|user| (0..10u32).map(move |rank| (user, rank)));
    let item = |(user, rank): (u32, u32)| (user * 3 + rank * (5 + shift)) % 50;
    let columns: [(&str, ArrayRef); 5] = [
        ("user", Arc::new(UInt32Array::from_iter_values(rows().map(|row| row.0)))),
        ("rank", Arc::new(UInt32Array::from_iter_values(rows().map(|row| row.1 + 1)))),
        ("item", Arc::new(UInt32Array::from_iter_values(rows().map(item)))),
        ("score", Arc::new(Float32Array::from_iter_values(rows().map(|row| 1.0 / (row.1 + 1) as f32)))),
        ("tied", Arc::new(BooleanArray::from_iter(rows().map(|row| Some(row.1 % 3 == 1))))),
    ];
    bench.put(&format!("recommendations{shift}"), &RecordBatch::try_from_iter(columns).unwrap())
}

/// The items 0 to 44.
fn candidates(bench: &Bench) -> (&'static str, PathBuf) {
    let items = UInt32Array::from_iter_values(0..45);
    (
        "candidates",
        bench.put("candidates", &RecordBatch::try_from_iter([("item", Arc::new(items) as ArrayRef)]).unwrap()),
    )
}

/// The summary of a model that masks validation items.
fn facts(bench: &Bench) -> (&'static str, PathBuf) {
    let columns: [(&str, ArrayRef); 2] =
        [("name", Arc::new(StringArray::from(vec!["mask_valid"]))), ("value", Arc::new(Float64Array::from(vec![1.0])))];
    ("summary", bench.put("facts", &RecordBatch::try_from_iter(columns).unwrap()))
}

fn pairs(artifacts: &BTreeMap<String, PathBuf>) -> Vec<(&str, PathBuf)> {
    artifacts.iter().map(|(name, path)| (name.as_str(), path.clone())).collect()
}

/// The scores of two methods with three seeds.
fn scores(bench: &Bench, split: &Ran) -> Vec<Input> {
    let params = json!({ "set": "iid", "metrics": ["recall", "ndcg", "map"], "k": [5, 10] });
    let cells = ["a", "b"].into_iter().zip([0, 3]).flat_map(|(method, by)| (0..3).map(move |seed| (method, by + seed)));
    let score = |(method, shift): (&str, u32)| {
        let recommendations = recommendations(bench, shift);
        let inputs = vec![
            input("split", &[], &pairs(&split.artifacts())),
            input("model", &[], &[("recommendations", recommendations), candidates(bench), facts(bench)]),
        ];
        let into = format!("score{shift}");
        let out = bench.run::<evaluate::Evaluate>(evaluate::run, params.clone(), inputs, Vec::new(), &into).unwrap();
        let labels = [format!("method={method}"), format!("seed={}", shift % 3)];
        input("scores", &labels.each_ref().map(String::as_str), &pairs(&artifacts_in(&out)))
    };
    cells.map(score).collect()
}

#[test]
fn outputs_change_only_with_the_version() {
    let bench = Bench::new();
    let raw = bench.raw("raw.txt", &raw_text());
    let params = json!({ "files": [{ "part": "all", "source": "raw.txt" }], "max_malformed": 0.01 });
    let ingested = run_kind::<ingest::Ingest>(ingest::run, params, vec![raw], &[]).unwrap();
    let small = json!({ "users": 50, "items": 80, "interactions": 400 });
    let made = run_kind::<synthetic::Synthetic>(synthetic::run, small, Vec::new(), &[]).unwrap();
    let random = json!({ "scenario": { "random": {} }, "seed": 5 });
    let split = run_kind::<split::Split>(split::run, random, Vec::new(), &[("data", &ingested)]).unwrap();
    let scores = scores(&bench, &split);
    let tests = json!({ "reference": "b", "resamples": 100 });
    let tests = bench.run::<compare::Compare>(compare::run, tests, scores.clone(), Vec::new(), "tests").unwrap();
    let table = json!({ "over": "seed", "metrics": ["recall@10", "map@5"], "ours": ["b"] });
    let table = bench.run::<report::Report>(report::run, table, scores.clone(), Vec::new(), "table").unwrap();
    let described =
        [input("data", &[], &pairs(&ingested.artifacts())), input("splits", &[], &pairs(&split.artifacts()))];
    let described =
        bench.run::<describe::Describe>(describe::run, json!({}), described.into(), Vec::new(), "described").unwrap();
    let rows = json!({ "rows": [{ "name": "x", "value": 1.5 }, { "name": "y", "value": 2 }] });
    let rows = run_kind::<literal::Literal>(literal::run, rows, Vec::new(), &[]).unwrap();
    let tables = [("seed=1", &rows), ("seed=2", &rows)];
    let tables = tables.map(|(label, ran)| input("tables", &[label], &pairs(&ran.artifacts())));
    let both = bench.run::<concat::Concat>(concat::run, json!({}), tables.into(), Vec::new(), "both").unwrap();

    let found = [
        ("ingest", ingested.artifacts()),
        ("synthetic", made.artifacts()),
        ("split", split.artifacts()),
        ("evaluate", scores[0].artifacts.clone()),
        ("compare", artifacts_in(&tests)),
        ("report", artifacts_in(&table)),
        ("describe", artifacts_in(&described)),
        ("literal", rows.artifacts()),
        ("concat", artifacts_in(&both)),
    ];
    let registry = registry();
    let version = |kind: &str| registry.get(kind).unwrap().version;
    let found: Vec<_> = found.map(|(kind, artifacts)| (kind, version(kind), digest(&artifacts))).into();
    let pinned: Vec<_> = PINNED.map(|(kind, version, digest)| (kind, version, digest.to_owned())).into();
    assert_eq!(found, pinned);
}

#[test]
fn every_kind_is_pinned() {
    let registry = registry();
    let kinds: Vec<&str> = KindTable::kinds(&registry).iter().map(|kind| kind.name).collect();
    let mut pinned: Vec<&str> = PINNED.iter().map(|pin| pin.0).chain(["train"]).collect();
    pinned.sort_by_key(|name| kinds.iter().position(|kind| kind == name));
    assert_eq!(pinned, kinds);
}
