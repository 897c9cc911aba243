use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use serde_json::json;

use super::*;
use crate::engine::stage::StageError;
use crate::stages::split::{self, Split};
use crate::stages::synthetic::{self, Synthetic};
use crate::stages::testing::{Bench, Ran, input, run_kind};

fn files(bench: &Bench, params: Value, inputs: Vec<Input>, into: &str) -> Result<BTreeMap<String, String>, StageError> {
    let out = bench.run::<Describe>(run, params, inputs, Vec::new(), into)?;
    let batch = parquet::read(&out.join("files.parquet")).unwrap();
    let (names, text) = (texts(&batch, "name").unwrap(), texts(&batch, "text").unwrap());
    Ok((0..names.len()).map(|row| (names.value(row).to_owned(), text.value(row).to_owned())).collect())
}

fn all(ran: &Ran) -> Vec<(String, std::path::PathBuf)> {
    ran.artifacts().into_iter().collect()
}

fn source(port: &str, labels: &[&str], ran: &Ran) -> Input {
    let artifacts = all(ran);
    let artifacts: Vec<_> = artifacts.iter().map(|(name, path)| (name.as_str(), path.clone())).collect();
    input(port, labels, &artifacts)
}

fn inputs(bench: &Bench) -> Vec<Input> {
    let small = json!({ "users": 200, "items": 300, "interactions": 4000 });
    let data = run_kind::<Synthetic>(synthetic::run, small, Vec::new(), &[]).unwrap();
    let split = |scenario: &str| {
        let params = json!({ "scenario": { scenario: {} }, "parts": ["log"] });
        run_kind::<Split>(split::run, params, Vec::new(), &[("data", &data)]).unwrap()
    };
    let splits = [("scenario=tail_&_head", split("tail")), ("scenario=temporal", split("temporal"))];
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let count = |value: u64| -> ArrayRef { Arc::new(UInt64Array::from(vec![value])) };
    let steps = RecordBatch::try_from_iter([
        ("step", text("core")),
        ("rule", text("users >= 5")),
        ("rows_before", count(1000)),
        ("rows", count(900)),
        ("users_before", count(50)),
        ("users", count(40)),
        ("items_before", count(30)),
        ("items", count(20)),
    ]);
    let steps = bench.put("steps", &steps.unwrap());
    let mut inputs =
        vec![source("data", &["dataset=toy"], &data), input("steps", &["dataset=toy"], &[("steps", steps)])];
    inputs.extend(splits.iter().map(|(label, ran)| source("splits", &[label], ran)));
    // The tables and figures are read back from copies that outlive the runs.
    for source in &mut inputs {
        for (name, path) in &mut source.artifacts {
            let label = source.labels.first().map_or("", |(_, label)| label);
            *path = bench.put(&format!("{label}-{}-{name}", source.port), &parquet::read(path).unwrap());
        }
    }
    inputs
}

#[test]
fn data_steps_and_audits_become_tables_and_splits_figures() {
    let bench = Bench::new();
    let params = json!({ "titles": { "toy": "Toy 1" }, "file": "d" });
    let files = files(&bench, params, inputs(&bench), "out").unwrap();
    let tables = ["audit", "sets", "shift", "steps"].into_iter();
    let mut names: Vec<String> =
        tables.flat_map(|name| ["csv", "md", "tex", "txt"].map(|end| format!("d-{name}.{end}"))).collect();
    names.extend(["d-popularity-tail_-_head.svg".to_owned(), "d-popularity-temporal.svg".to_owned()]);
    names.sort();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), names);

    assert!(
        files["d-sets.csv"]
            .starts_with("data,users,items,interactions,density_percent,per_user,per_item\ndataset=toy,200")
    );
    assert!(files["d-sets.md"].contains("| Toy 1 |"), "{}", files["d-sets.md"]);
    assert!(
        files["d-steps.md"].contains("| Toy 1 | core | users &gt;= 5 |         1,000 |          900 |"),
        "{}",
        files["d-steps.md"]
    );
    let audit = &files["d-audit.md"];
    assert_eq!(audit.lines().filter(|line| line.starts_with("| tail\\_&amp;\\_head")).count(), 4, "{audit}");
    assert!(audit.contains("Early, % · own"), "{audit}");
    assert!(files["d-shift.tex"].contains("tail\\_\\&\\_head & ood & "), "{}", files["d-shift.tex"]);
    let figure = &files["d-popularity-tail_-_head.svg"];
    assert!(figure.contains("tail_&amp;_head") && figure.contains("Test out of distribution"), "{figure}");
}

#[test]
fn what_is_not_connected_is_left_out_and_nothing_at_all_is_refused() {
    let bench = Bench::new();
    let only: Vec<Input> = inputs(&bench).into_iter().filter(|input| input.port == "data").collect();
    let files_of = |inputs| files(&bench, json!({ "formats": ["md"] }), inputs, "only");
    assert_eq!(files_of(only).unwrap().into_keys().collect::<Vec<_>>(), ["data-sets.md"]);
    assert_eq!(files_of(Vec::new()).unwrap_err().message, "there is nothing to describe");
    let wrong = serde_json::from_value(json!({ "file": "../x" })).unwrap();
    assert_eq!(Describe::check(&wrong).unwrap_err().path, ["file"]);
}

#[test]
fn scores_are_no_data_sets() {
    let bench = Bench::new();
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let values: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
    let summary = bench.put("summary", &RecordBatch::try_from_iter([("name", names), ("value", values)]).unwrap());
    let error = files(&bench, json!({}), vec![input("data", &[], &[("summary", summary)])], "out").unwrap_err();
    assert!(error.message.contains("does not count rows"), "{}", error.message);
}

#[test]
fn measures_that_are_not_finite_are_named() {
    let bench = Bench::new();
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let value: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![f64::NAN]));
    let audit = RecordBatch::try_from_iter([("part", text("ood")), ("measure", text("gini_all")), ("value", value)]);
    let split = input("splits", &["scenario=tail"], &[("audit", bench.put("audit", &audit.unwrap()))]);
    let message = files(&bench, json!({}), vec![split], "out").unwrap_err().message;
    assert!(message.contains("`audit` of scenario=tail, from port `splits`, has NaN"), "{message}");
    assert!(message.ends_with("row 0: `gini_all` of `ood`"), "{message}");
}
