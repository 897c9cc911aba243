//! Tests of `report` on made-up scores.

use super::super::testing::{Bench, input};
use super::*;
use arrow::array::Int64Array;
use serde_json::json;

fn source(bench: &Bench, method: &str, seed: u32, value: f64) -> Input {
    let summary: [(&str, ArrayRef); 5] = [
        ("metric", Arc::new(StringArray::from(vec!["recall", "ndcg", "recall"]))),
        ("k", Arc::new(UInt32Array::from(vec![20; 3]))),
        ("group", Arc::new(StringArray::from(vec!["all", "all", "activity 1-3"]))),
        ("value", Arc::new(Float64Array::from(vec![value, value / 2.0, 0.9]))),
        ("users", Arc::new(UInt32Array::from(vec![9, 9, 3]))),
    ];
    let path = bench.put(&format!("{method}{seed}"), &RecordBatch::try_from_iter(summary).unwrap());
    let counts: [(&str, ArrayRef); 2] = [
        ("name", Arc::new(StringArray::from(vec!["users", "pairs", "in_valid", "tied@20"]))),
        ("value", Arc::new(Int64Array::from(vec![9, 30, 2, 0]))),
    ];
    let counts = bench.put(&format!("counts{method}{seed}"), &RecordBatch::try_from_iter(counts).unwrap());
    let labels = ["dataset=food", &format!("method={method}"), &format!("seed={seed}")].map(str::to_owned);
    input("scores", &labels.each_ref().map(String::as_str), &[("summary", path), ("counts", counts)])
}

fn sources(bench: &Bench) -> Vec<Input> {
    let methods = [("rns", 0.02), ("dns_32", 0.03), ("cnsdiff", 0.04)];
    let seeds = |(method, value): (&'static str, f64)| {
        (1..=3).map(move |seed| source(bench, method, seed, value + 0.001 * f64::from(seed)))
    };
    methods.into_iter().flat_map(seeds).collect()
}

fn model(bench: &Bench, method: &str, rule: &str) -> Input {
    let summary: [(&str, ArrayRef); 2] = [
        ("name", Arc::new(StringArray::from(vec!["items", rule, "mask_valid", "candidates", "candidates_target"]))),
        ("value", Arc::new(Float64Array::from(vec![80.0, 1.0, 1.0, 7.0, 1.0]))),
    ];
    let path = bench.put(&format!("m{method}"), &RecordBatch::try_from_iter(summary).unwrap());
    input("models", &[&format!("method={method}")], &[("summary", path)])
}

#[test]
fn captions_state_what_summaries_tell_of_sampled_candidates() {
    let bench = Bench::new();
    let facts = [
        ("items", 80.0),
        ("candidates", 80.0),
        ("select_last", 1.0),
        ("candidates_of_ood", 1.0),
        ("candidates_sampled", 1.0),
        ("sampled_negatives", 19.0),
        ("sampled_popularity", 1.0),
        ("sampled_seed", 7.0),
    ];
    let summary: [(&str, ArrayRef); 2] = [
        ("name", Arc::new(StringArray::from_iter_values(facts.map(|fact| fact.0)))),
        ("value", Arc::new(Float64Array::from_iter_values(facts.map(|fact| fact.1)))),
    ];
    let path = bench.put("sampled", &RecordBatch::try_from_iter(summary).unwrap());
    let mut inputs = sources(&bench);
    for method in ["rns", "dns_32", "cnsdiff"] {
        inputs.push(input("models", &[&format!("method={method}")], &[("summary", path.clone())]));
    }
    let files = files(&bench, params(), inputs, Vec::new()).unwrap();
    let expected = "the user's test items (ood) and 19 sampled ones (by popularity, seed 7)";
    assert!(files["main.md"].contains(expected), "{}", files["main.md"]);
    assert!(files["main.md"].contains("not comparable with full ranking"), "{}", files["main.md"]);
}

fn params() -> Value {
    json!({ "columns": ["dataset"], "over": "seed", "metrics": ["recall@20"], "ours": ["cnsdiff"], "file": "main" })
}

fn files(
    bench: &Bench,
    params: Value,
    inputs: Vec<Input>,
    raw: Vec<std::path::PathBuf>,
) -> Result<BTreeMap<String, String>, StageError> {
    let out = bench.run::<Report>(run, params, inputs, raw, "out")?;
    let batch = parquet::read(&out.join("files.parquet"))?;
    let (names, contents) = (texts(&batch, "name")?, texts(&batch, "text")?);
    Ok((0..batch.num_rows()).map(|row| (names.value(row).to_owned(), contents.value(row).to_owned())).collect())
}

#[test]
fn all_formats_of_one_table() {
    let bench = Bench::new();
    let files = files(&bench, params(), sources(&bench), Vec::new()).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["main.csv", "main.md", "main.tex", "main.txt"]);
    assert!(files["main.md"].contains("**0.0420** ± 0.0010"), "{}", files["main.md"]);
    assert!(files["main.tex"].contains("dns\\_32 & \\underline{0.0320}"), "{}", files["main.tex"]);
    assert!(files["main.txt"].contains("+31.25%"), "{}", files["main.txt"]);
    let cells = parquet::read(
        &bench.run::<Report>(run, params(), sources(&bench), Vec::new(), "again").unwrap().join("cells.parquet"),
    )
    .unwrap();
    assert_eq!(cells.num_rows(), 3);
    assert_eq!(texts(&cells, "column").unwrap().value(0), "dataset=food");
    let names: Vec<&str> = CELLS.iter().map(|column| column.name).collect();
    assert_eq!(cells.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), names);
}

/// Recall@20 and ARP@20 of `method`.
fn mixed(bench: &Bench, method: &str, recall: f64, arp: f64) -> Input {
    let summary: [(&str, ArrayRef); 4] = [
        ("metric", Arc::new(StringArray::from(vec!["recall", "arp"]))),
        ("k", Arc::new(UInt32Array::from(vec![20; 2]))),
        ("group", Arc::new(StringArray::from(vec!["all"; 2]))),
        ("value", Arc::new(Float64Array::from(vec![recall, arp]))),
    ];
    let path = bench.put(&format!("mixed{method}"), &RecordBatch::try_from_iter(summary).unwrap());
    let none: [(&str, ArrayRef); 2] = [
        ("name", Arc::new(StringArray::from(Vec::<&str>::new()))),
        ("value", Arc::new(Int64Array::from(Vec::<i64>::new()))),
    ];
    let counts = bench.put("none", &RecordBatch::try_from_iter(none).unwrap());
    input("scores", &[&format!("method={method}")], &[("summary", path), ("counts", counts)])
}

#[test]
fn a_table_tells_for_which_metrics_lower_is_better() {
    let bench = Bench::new();
    let inputs = || {
        let methods = [("rns", 0.02, 80.5), ("dns", 0.03, 100.0), ("cnsdiff", 0.04, 40.25)];
        methods.map(|(method, recall, arp)| mixed(&bench, method, recall, arp)).into()
    };
    let files =
        files(&bench, json!({ "digits": 2, "percent": true, "ours": ["cnsdiff"] }), inputs(), Vec::new()).unwrap();
    for (name, less) in [("table.md", "−50.00%"), ("table.tex", "$-$50.00\\%"), ("table.txt", "−50.00%")] {
        let text = &files[name];
        assert!(text.contains("Values in percent, but for ARP@20."), "{text}");
        assert!(text.contains("Lower is better for ARP@20.") && text.contains(less), "{text}");
    }
    let rows: Vec<&str> = files["table.md"].lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows[0].contains("<ins>80.50</ins>") && rows[1].ends_with(" 100.00 |"), "{rows:?}");
    assert!(rows[2].contains("**4.00**") && rows[2].contains("**40.25**"), "{rows:?}");
    let own = "{% for column in columns %}{{ column.metric }} {{ column.direction|safe }}\n{% endfor %}";
    let params = json!({ "templates": { "md": { "source": "own.md" } }, "formats": ["md"] });
    let spelled = self::files(&bench, params, inputs(), vec![bench.raw("own.md", own)]).unwrap();
    assert_eq!(spelled["table.md"], "recall higher_is_better\narp lower_is_better\n");
}

#[test]
fn models_chosen_on_the_test_set_are_in_every_caption() {
    let bench = Bench::new();
    let mut inputs = sources(&bench);
    inputs.extend([model(&bench, "rns", "select_valid_iid"), model(&bench, "cnsdiff", "select_test_oracle")]);
    let files = files(&bench, params(), inputs, Vec::new()).unwrap();
    for name in ["main.md", "main.tex", "main.txt"] {
        assert!(files[name].contains("Caution: epochs chosen on the test set"), "{}", files[name]);
        assert!(files[name].contains("no fair results: cnsdiff."), "{}", files[name]);
        assert!(files[name].contains("Ranked against the 7 items of the target domain"), "{}", files[name]);
        assert!(files[name].contains("not asked for: at most 2 of 32 (2 in the user's validation)"), "{}", files[name]);
    }
    let untold = vec![model(&bench, "rns", "epochs")];
    let error = bench.run::<Report>(run, params(), [sources(&bench), untold].concat(), Vec::new(), "out").unwrap_err();
    assert!(error.message.contains("how its epoch was chosen"), "{error}");
}

#[test]
fn captions_of_models_without_epochs_tell_of_no_choice() {
    let bench = Bench::new();
    let without_epochs: [(&str, ArrayRef); 2] = [
        ("name", Arc::new(StringArray::from(vec!["items", "epochs", "candidates", "candidates_all"]))),
        ("value", Arc::new(Float64Array::from(vec![80.0, 0.0, 80.0, 1.0]))),
    ];
    let path = bench.put("fitted", &RecordBatch::try_from_iter(without_epochs).unwrap());
    let fitted = vec![input("models", &["method=rns"], &[("summary", path)])];
    let told = files(&bench, params(), [sources(&bench), fitted].concat(), Vec::new()).unwrap();
    assert!(told["main.md"].contains("Ranked against all items") && !told["main.md"].contains("poch"), "{told:?}");
}

#[test]
fn scores_that_are_not_finite_are_named() {
    let bench = Bench::new();
    for value in [f64::NAN, f64::INFINITY] {
        let inputs = [sources(&bench), vec![source(&bench, "odd", 1, value)]].concat();
        let error = bench.run::<Report>(run, params(), inputs, Vec::new(), "out").unwrap_err();
        let told = format!("`summary` of dataset=food,method=odd,seed=1, from port `scores`, has {value}");
        assert!(error.message.contains(&told), "{error}");
        assert!(error.message.ends_with("column `value`, row 0: recall@20 of group `all`"), "{error}");
    }
}

/// A comparison of `cnsdiff` with `dns_32`, as `compare` writes it.
fn tests(bench: &Bench, mean_baseline: f64, p_adjusted: Option<f64>) -> Input {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let number = |value: Option<f64>| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    let count = |value: u32| -> ArrayRef { Arc::new(UInt32Array::from(vec![value])) };
    let columns = [
        ("unit", text("seed")),
        ("test", text("wilcoxon")),
        ("metric", text("recall")),
        ("k", count(20)),
        ("axis", text("method")),
        ("pair_by", text("seed")),
        ("reference", text("cnsdiff")),
        ("baseline", text("dns_32")),
        ("mean_baseline", number(Some(mean_baseline))),
        ("difference", number(Some(0.01))),
        ("p_adjusted", number(p_adjusted)),
        ("correction", text("holm")),
        ("family", count(2)),
        ("note", text("few runs")),
    ];
    let path = bench.put("tests", &RecordBatch::try_from_iter(columns).unwrap());
    input("tests", &["dataset=food"], &[("tests", path)])
}

#[test]
fn tests_become_marks_and_must_be_finite() {
    let bench = Bench::new();
    let mut params = params();
    params["marks"] = json!({ "unit": "seed", "test": "wilcoxon" });
    let spelled = |mean: f64, p: Option<f64>| {
        files(&bench, params.clone(), [sources(&bench), vec![tests(&bench, mean, p)]].concat(), Vec::new())
    };
    let files = spelled(0.032, Some(0.04)).unwrap();
    let text = &files["main.md"];
    assert!(text.contains("**0.0420**\\* ± 0.0010"), "{text}");
    assert!(
        text.contains("Wilcoxon signed-rank test over seeds, two-sided, Holm-corrected over the 2 tests"),
        "{text}"
    );
    assert!(text.contains("\ncnsdiff vs. dns\\_32: few runs.\n"), "{text}");
    assert!(!spelled(0.032, None).unwrap()["main.md"].contains("**0.0420**\\*"));
    for (mean, p, column) in [(f64::NAN, Some(0.04), "mean_baseline"), (0.032, Some(f64::NAN), "p_adjusted")] {
        let told = spelled(mean, p).unwrap_err().to_string();
        assert!(told.contains(&format!("has NaN in column `{column}`, row 0: recall@20 of `cnsdiff`")), "{told}");
    }
}

#[test]
fn own_templates_are_raw_files() {
    let bench = Bench::new();
    let mut params = params();
    params["templates"] = json!({ "tex": { "source": "own.tex" } });
    params["formats"] = json!(["tex"]);
    assert_eq!(Report::files(&parse::<Report>(&params).unwrap()).len(), 1);
    let raw = vec![bench.raw("own.tex", "<% for row in rows %><< row.title >> <% endfor %>")];
    assert_eq!(files(&bench, params, sources(&bench), raw).unwrap()["main.tex"], "rns dns\\_32 cnsdiff ");
}

#[test]
fn axes_and_tests_that_are_not_there() {
    let bench = Bench::new();
    let message = |key: &str, value: Value| {
        let mut params = params();
        params[key] = value;
        files(&bench, params, sources(&bench), Vec::new()).unwrap_err().to_string()
    };
    assert!(message("over", Value::Null).contains("axis `seed`"));
    assert!(message("columns", json!(["data"])).contains("`columns` names the axis `data`"));
    assert!(message("marks", json!({ "unit": "user" })).contains("port `tests`"));
    assert!(message("file", json!("../x")).contains("plain file name"));
    assert!(message("label", json!("tab}")).contains("label"));
    assert!(message("metrics", json!(["ndgc@20"])).contains("`ndgc`"));
}

#[test]
fn warnings_of_data_and_splits_stand_under_the_table() {
    let bench = Bench::new();
    let warning = "`ood` loses 10,048 of 11,075 rows; 66 users are left in it";
    let table: [(&str, ArrayRef); 1] = [("text", Arc::new(StringArray::from(vec![warning])))];
    let path = bench.put("warnings", &RecordBatch::try_from_iter(table).unwrap());
    let none: [(&str, ArrayRef); 1] = [("text", Arc::new(StringArray::from(Vec::<&str>::new())))];
    let empty = bench.put("none", &RecordBatch::try_from_iter(none).unwrap());
    let mut inputs = sources(&bench);
    inputs.push(input("data", &["dataset=food"], &[("warnings", path)]));
    inputs.push(input("data", &["dataset=yelp"], &[("warnings", empty)]));
    let files = files(&bench, params(), inputs, Vec::new()).unwrap();
    for name in ["main.md", "main.txt", "main.tex"] {
        let text = &files[name];
        assert!(text.contains("food: ood loses 10,048 of 11,075 rows; 66 users are left in it."), "{text}");
        assert!(!text.contains("yelp"), "{text}");
    }
}
