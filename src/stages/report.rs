//! `report`: a table of scores, spelled as Markdown, LaTeX, CSV and plain text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::columns::{f64s, finite, finite_or_null, i64s, texts, u32s};
use super::evaluate::read_summary;
use super::tables::{batch, files_to_batch};
use super::warnings;
use crate::engine::stage::{Context, Input, RawFile, RawSource, Stage, StageError, parse};
use crate::metric::Metric;
use crate::report::{
    self, Candidates, Correction, Finding, Format, Layout, Marks, Model, Score, Selection, Table, Unit,
};
use crate::spec::{Arity, Column, Form, Output, ParamError, Port};
use crate::stats;
use crate::store::parquet;

pub struct Report;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The axis of the rows.
    #[serde(default = "default_rows")]
    pub rows: String,
    /// Axes that group the columns, outermost first.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The axis that is averaged: cells show mean and standard deviation over it.
    #[serde(default)]
    pub over: Option<String>,
    /// Metrics such as `recall@20`; empty: all there are.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Digits after the point.
    #[serde(default = "default_digits")]
    #[schemars(range(min = 0, max = 15))]
    pub digits: usize,
    /// Show fractions times 100. Counts, such as those of `arp`, stay what they are.
    #[serde(default)]
    pub percent: bool,
    /// Display names of labels, axes and metrics.
    #[serde(default)]
    pub titles: BTreeMap<String, String>,
    /// Rows that are our own; not empty: a line with the change from the best baseline to the best of them is added.
    #[serde(default)]
    pub ours: Vec<String>,
    /// Rows they are compared with; empty: all others.
    #[serde(default)]
    pub baselines: Vec<String>,
    /// Significance marks, from the port `tests`.
    #[serde(default)]
    pub marks: Option<MarkParams>,
    /// What stands above the table.
    #[serde(default)]
    pub caption: String,
    /// LaTeX label; `tab:<file>` by default.
    #[serde(default)]
    pub label: Option<String>,
    /// What is rendered.
    #[serde(default = "default_formats")]
    pub formats: Vec<Format>,
    /// Name of the files, without ending.
    #[serde(default = "default_file")]
    pub file: String,
    /// Own templates instead of the built-in ones.
    #[serde(default)]
    pub templates: Templates,
}

/// Which tests become marks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkParams {
    /// What was a pair of values.
    pub unit: Unit,
    /// Name of the test.
    #[serde(default = "default_test")]
    pub test: String,
    /// The corrected p must be below it.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0, max = 1))]
    pub alpha: f64,
}

/// Template files, by format.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    #[serde(default)]
    pub md: Option<RawFile>,
    #[serde(default)]
    pub tex: Option<RawFile>,
    #[serde(default)]
    pub csv: Option<RawFile>,
    #[serde(default)]
    pub txt: Option<RawFile>,
}

impl Templates {
    fn of(&self, format: Format) -> Option<&RawFile> {
        match format {
            Format::Md => self.md.as_ref(),
            Format::Tex => self.tex.as_ref(),
            Format::Csv => self.csv.as_ref(),
            Format::Txt => self.txt.as_ref(),
        }
    }
}

fn default_rows() -> String {
    "method".to_owned()
}

fn default_digits() -> usize {
    4
}

pub fn default_formats() -> Vec<Format> {
    Format::ALL.to_vec()
}

fn default_file() -> String {
    "table".to_owned()
}

fn default_test() -> String {
    "paired_t".to_owned()
}

fn default_alpha() -> f64 {
    0.05
}

/// Columns of the artifact `cells`.
const CELLS: &[Column] = &[
    Column { name: "row", dtype: "utf8", doc: "Label of the row." },
    Column { name: "column", dtype: "utf8", doc: "Labels of the column group: `dataset=food,test=ood`." },
    Column { name: "metric", dtype: "utf8", doc: "Measure." },
    Column { name: "k", dtype: "u32", doc: "Cut-off." },
    Column { name: "mean", dtype: "f64?", doc: "Unrounded; null where there is no value." },
    Column { name: "sd", dtype: "f64?", doc: "Standard deviation; null below two values." },
    Column { name: "n", dtype: "u32", doc: "How many values were averaged." },
    Column { name: "missing", dtype: "bool", doc: "Shown as a dash: no value, or fewer than in other cells." },
    Column { name: "best", dtype: "bool", doc: "Best of its column." },
    Column { name: "second", dtype: "bool", doc: "Second best of its column." },
    Column { name: "mark", dtype: "utf8?", doc: "`better` or `worse` than the strongest baseline, significantly." },
];

impl Stage for Report {
    type Params = Params;

    const KIND: &'static str = "report";
    const VERSION: u32 = 3;
    const DOC: &'static str = "A table of scores, spelled as Markdown, LaTeX, CSV and plain text.";
    const PORTS: &'static [Port] = &[
        Port { name: "scores", doc: "Evaluations.", artifacts: &["summary", "counts"], arity: Arity::Many },
        Port { name: "tests", doc: "Comparisons, for marks.", artifacts: &["tests"], arity: Arity::OptionalMany },
        Port {
            name: "models",
            doc: "The evaluated models, so that the caption states how they were masked and chosen.",
            artifacts: &["summary"],
            arity: Arity::OptionalMany,
        },
        Port {
            name: "data",
            doc: "Data and splits whose warnings are noted under the table.",
            artifacts: &["warnings"],
            arity: Arity::OptionalMany,
        },
    ];
    const OUTPUTS: &'static [Output] = &[
        Output { name: "cells", doc: "The table, one row per cell.", form: Form::Table(CELLS) },
        Output { name: "files", doc: "The spelled tables.", form: Form::Files },
    ];

    fn check(params: &Params) -> Result<(), ParamError> {
        let wrong = |path: &[&str], message: &str| {
            let path = path.iter().map(|part| (*part).to_owned()).collect();
            Err(ParamError { path, message: message.to_owned(), help: None })
        };
        for (index, text) in params.metrics.iter().enumerate() {
            if let Err(error) = Metric::parse(text) {
                return wrong(&["metrics", &index.to_string()], &error.to_string());
            }
        }
        if params.digits > 15 {
            return wrong(&["digits"], "must be at most 15");
        }
        let plain = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(&params.file, "-_.") || params.file.starts_with('.') {
            return wrong(&["file"], "must be a plain file name: letters, digits, `-`, `_` and `.`");
        }
        if params.label.as_ref().is_some_and(|label| !plain(label, "-_.:")) {
            return wrong(&["label"], "may hold letters, digits, `-`, `_`, `.` and `:`");
        }
        if params.formats.is_empty() {
            return wrong(&["formats"], "is empty");
        }
        if let Some(marks) = &params.marks {
            if let Err(error) = stats::paired_test(&marks.test) {
                return wrong(&["marks", "test"], &error.to_string());
            }
            if !(marks.alpha > 0.0 && marks.alpha < 1.0) {
                return wrong(&["marks", "alpha"], "must lie between 0 and 1");
            }
        }
        Ok(())
    }

    fn files(params: &Params) -> Vec<RawSource> {
        let templates = Format::ALL.iter().filter_map(|&format| params.templates.of(format).cloned());
        templates.map(RawSource::from).collect()
    }

    fn sources(params: &mut Params) -> Vec<&mut String> {
        let Templates { md, tex, csv, txt } = &mut params.templates;
        [md, tex, csv, txt].into_iter().flatten().map(|file| &mut file.source).collect()
    }
}

pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Report>(params)?;
    let scores = scores(context)?;
    let findings = findings(context)?;
    if params.marks.is_some() && findings.is_empty() {
        return Err(StageError::new("`marks` need tests, but nothing came in through port `tests`")
            .with_help("connect the port to a compare stage, or leave `marks` out"));
    }
    let layout = layout(&params, &scores)?;
    let mut table = report::build(&layout, &scores, &findings, &models(context)?)
        .map_err(|error| StageError::new(error.to_string()))?;
    let evaluations = context.inputs("scores").map(evaluation).collect::<Result<Vec<_>, _>>()?;
    table.facts.extend(report::evaluation_facts(&table, &evaluations));
    for data in context.inputs("data") {
        table.notes.extend(warnings::sentences(data)?);
    }
    let mut templates =
        Format::ALL.into_iter().filter(|&format| params.templates.of(format).is_some()).zip(&context.job.files);
    let mut own: Vec<(Format, String)> = Vec::new();
    templates.try_for_each(|(format, path)| read_template(path).map(|text| own.push((format, text))))?;
    let mut files = Vec::new();
    for &format in &params.formats {
        let template = own.iter().find(|(other, _)| *other == format).map(|(_, text)| text.as_str());
        let text = report::render(&table, format, template).map_err(|error| StageError::new(error.to_string()))?;
        files.push((format!("{}.{}", params.file, format.extension()), text));
    }
    let made_by = super::made_by::<Report>();
    parquet::write(&context.output("cells"), &cells(&table)?, &made_by)?;
    parquet::write(&context.output("files"), &files_to_batch(&files)?, &made_by)?;
    Ok(())
}

fn read_template(path: &Path) -> Result<String, StageError> {
    std::fs::read_to_string(path)
        .map_err(|error| StageError::new(format!("cannot read the template `{}`: {error}", path.display())))
}

fn scores(context: &Context) -> Result<Vec<Score>, StageError> {
    let mut scores = Vec::new();
    for input in context.inputs("scores") {
        let score = |(metric, k, value)| Score { labels: input.labels.clone(), metric, k, value };
        scores.extend(read_summary(input)?.into_iter().map(score));
    }
    Ok(scores)
}

fn findings(context: &Context) -> Result<Vec<Finding>, StageError> {
    let mut findings = Vec::new();
    for input in context.inputs("tests") {
        let batch = parquet::read(input.artifact("tests")?)?;
        let text = |name: &str| -> Result<Vec<String>, StageError> {
            Ok(texts(&batch, name)?.iter().map(|value| value.unwrap_or_default().to_owned()).collect())
        };
        let (unit, test, metric, k) = (text("unit")?, text("test")?, text("metric")?, u32s(&batch, "k")?);
        let (axis, reference, baseline) = (text("axis")?, text("reference")?, text("baseline")?);
        let (pair_by, correction, note) = (text("pair_by")?, text("correction")?, text("note")?);
        let family = u32s(&batch, "family")?;
        let of = |row: usize| format!("{}@{} of `{}` against `{}`", metric[row], k[row], reference[row], baseline[row]);
        let numbers = |name: &str| finite(input, "tests", &batch, name, of);
        let (mean_baseline, difference) = (numbers("mean_baseline")?, numbers("difference")?);
        let p_adjusted = finite_or_null(input, "tests", &batch, "p_adjusted", of)?;
        for row in 0..batch.num_rows() {
            let title = stats::paired_test(&test[row]).map_err(|error| StageError::new(error.to_string()))?.title();
            let unknown = |what: &str, name: &str| StageError::new(format!("there is no {what} `{name}`"));
            findings.push(Finding {
                labels: input.labels.clone(),
                axis: axis[row].clone(),
                unit: Unit::from_name(&unit[row]).ok_or_else(|| unknown("unit", &unit[row]))?,
                pair_by: pair_by[row].clone(),
                test: test[row].clone(),
                test_title: title.to_owned(),
                metric: metric[row].clone(),
                k: k[row],
                reference: reference[row].clone(),
                baseline: baseline[row].clone(),
                mean_baseline: mean_baseline[row],
                difference: difference[row],
                p_adjusted: p_adjusted[row],
                correction: Correction::from_name(&correction[row])
                    .ok_or_else(|| unknown("correction", &correction[row]))?,
                family: family[row],
                note: note[row].clone(),
            });
        }
    }
    Ok(findings)
}

/// What an evaluation asked for.
fn evaluation(input: &Input) -> Result<report::Evaluation, StageError> {
    let batch = parquet::read(input.artifact("counts")?)?;
    let (names, values) = (texts(&batch, "name")?, i64s(&batch, "value")?);
    let rows = || names.iter().flatten().zip(values.iter().map(|&value| value as usize));
    let count = |name: &str| rows().find(|(own, _)| *own == name).map_or(0, |(_, value)| value);
    let tied = |(name, value): (&str, usize)| Some((name.strip_prefix("tied@")?.parse().ok()?, value));
    Ok(report::Evaluation {
        users: count("users"),
        pairs: count("pairs"),
        in_train: count("in_train"),
        in_valid: count("in_valid"),
        no_candidate: count("no_candidate"),
        unreachable_kept: count("unreachable_kept") > 0,
        tied: rows().filter_map(tied).collect(),
    })
}

/// How the models were chosen and masked, and what they ranked: the rows `select_*`, `mask_valid` and `candidates_*` of
/// their summaries are 0 or 1.
fn models(context: &Context) -> Result<Vec<Model>, StageError> {
    let model = |input: &Input| -> Result<Model, StageError> {
        let batch = parquet::read(input.artifact("summary")?)?;
        let (names, values) = (texts(&batch, "name")?, f64s(&batch, "value")?);
        let holds = |name: &str| (0..values.len()).any(|row| names.value(row) == name && values[row] == 1.0);
        let count = |name: &str| {
            let row = names.iter().position(|own| own == Some(name));
            row.map(|row| values[row] as usize).ok_or_else(|| untold(&format!("its number of {name}")))
        };
        let selection = match (holds("select_test_oracle"), holds("select_valid_iid"), holds("select_last")) {
            (true, false, false) => Selection::TestOracle,
            (false, true, false) => Selection::Validation,
            (false, false, true) => Selection::Last,
            (false, false, false) if count("epochs").is_ok_and(|epochs| epochs == 0) => Selection::NoEpochs,
            _ => return Err(untold("how its epoch was chosen")),
        };
        let parts: Vec<String> = ["train", "valid", "iid", "ood"]
            .into_iter()
            .filter(|part| holds(&format!("candidates_of_{part}")))
            .map(str::to_owned)
            .collect();
        let rules = ["all", "target", "listed", "sampled", "per_user"];
        let followed: Vec<&str> = rules.into_iter().filter(|rule| holds(&format!("candidates_{rule}"))).collect();
        let candidates = match followed[..] {
            ["all"] => Candidates::All,
            ["target"] => Candidates::Target,
            ["listed"] => Candidates::Listed,
            ["sampled"] => Candidates::Sampled {
                of: parts,
                negatives: count("sampled_negatives")?,
                popularity: holds("sampled_popularity"),
                seed: count("sampled_seed")?,
            },
            ["per_user"] => Candidates::PerUser,
            [] if !parts.is_empty() => Candidates::ItemsOf(parts),
            _ => return Err(untold("which items it ranked")),
        };
        Ok(Model {
            labels: input.labels.clone(),
            selection,
            masks_validation: holds("mask_valid"),
            candidates,
            ranked: count("candidates")?,
            items: count("items")?,
        })
    };
    context.inputs("models").map(model).collect()
}

fn untold(what: &str) -> StageError {
    StageError::new(format!("the summary of a model does not tell {what}"))
        .with_help("connect port `models` to a train stage")
}

fn layout(params: &Params, scores: &[Score]) -> Result<Layout, StageError> {
    let mut names = params.metrics.clone();
    if names.is_empty() {
        for score in scores {
            let name = format!("{}@{}", score.metric, score.k);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let metrics = names.iter().map(|name| Metric::parse(name)).collect::<Result<_, _>>();
    let metrics = metrics.map_err(|error| StageError::new(error.to_string()))?;
    let marks = params.marks.as_ref();
    let marks = marks.map(|marks| Marks { unit: marks.unit, test: marks.test.clone(), alpha: marks.alpha });
    Ok(Layout {
        rows: params.rows.clone(),
        columns: params.columns.clone(),
        over: params.over.clone(),
        metrics,
        digits: params.digits,
        percent: params.percent,
        titles: params.titles.clone(),
        ours: params.ours.clone(),
        baselines: params.baselines.clone(),
        marks,
        caption: params.caption.clone(),
        label: params.label.clone().unwrap_or_else(|| format!("tab:{}", params.file)),
    })
}

fn cells(table: &Table) -> Result<RecordBatch, StageError> {
    let all = || table.rows.iter().flat_map(|row| table.columns.iter().zip(&row.cells).map(move |cell| (row, cell)));
    let labels = |column: &report::Column| {
        column.labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect::<Vec<_>>().join(",")
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all().map(|(row, _)| &row.label))),
        Arc::new(StringArray::from_iter_values(all().map(|(_, (column, _))| labels(column)))),
        Arc::new(StringArray::from_iter_values(all().map(|(_, (column, _))| &column.metric))),
        Arc::new(UInt32Array::from_iter_values(all().map(|(_, (column, _))| column.k))),
        Arc::new(all().map(|(_, (_, cell))| cell.mean).collect::<Float64Array>()),
        Arc::new(all().map(|(_, (_, cell))| cell.sd).collect::<Float64Array>()),
        Arc::new(UInt32Array::from_iter_values(all().map(|(_, (_, cell))| cell.n as u32))),
        Arc::new(all().map(|(_, (_, cell))| Some(cell.missing)).collect::<BooleanArray>()),
        Arc::new(all().map(|(_, (_, cell))| Some(cell.best)).collect::<BooleanArray>()),
        Arc::new(all().map(|(_, (_, cell))| Some(cell.second)).collect::<BooleanArray>()),
        Arc::new(all().map(|(_, (_, cell))| cell.mark.map(report::Mark::name)).collect::<StringArray>()),
    ];
    Ok(batch(CELLS, columns)?)
}

#[cfg(test)]
mod tests;
