//! `compare`: significance tests of one competitor against all others, over users and over seeds.

mod pairs;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::pairs::{Name, Paired, Run, paired, read};
use super::evaluate::read_summary;
use super::names::TestName;
use super::tables;
use crate::data::IdMap;
use crate::engine::stage::{Context, Input, Stage, StageError, parse};
use crate::metric::Metric;
use crate::report::{Correction, Unit};
use crate::spec::{Arity, Column, Form, Output, ParamError, Port};
use crate::stats::{self, Comparison, Tested};
use crate::store::parquet;

pub struct Compare;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The axis whose labels compete.
    #[serde(default = "default_axis")]
    pub axis: String,
    /// The label that is compared with each of the others.
    pub reference: String,
    /// The labels it is compared with; empty: all others.
    #[serde(default)]
    pub baselines: Vec<String>,
    /// The axis whose labels pair the runs of two competitors.
    #[serde(default = "default_pair_by")]
    pub pair_by: String,
    /// What is a pair: a user, known by the key in the raw data (values averaged over `pair_by` first), a label of
    /// `pair_by`, or both in turn.
    #[serde(default)]
    pub unit: Units,
    /// Metrics such as `recall@20`; empty: all there are.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Tests, each a family of its own.
    #[serde(default = "default_tests")]
    #[schemars(with = "Vec<TestName>")]
    pub tests: Vec<String>,
    /// Against chance findings among all baselines and metrics of one test and unit.
    #[serde(default)]
    pub correction: Correction,
    /// Level of significance; intervals cover `1 - alpha`.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0, max = 1))]
    pub alpha: f64,
    /// Draws of the bootstrap intervals over users.
    #[serde(default = "default_resamples")]
    #[schemars(range(min = 100, max = 1_000_000))]
    pub resamples: usize,
    /// Seed of the bootstrap.
    #[serde(default)]
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    User,
    Seed,
    #[default]
    Both,
}

impl Units {
    fn each(self) -> &'static [Unit] {
        match self {
            Self::User => &[Unit::User],
            Self::Seed => &[Unit::Seed],
            Self::Both => &[Unit::User, Unit::Seed],
        }
    }
}

fn default_axis() -> String {
    "method".to_owned()
}

fn default_pair_by() -> String {
    "seed".to_owned()
}

fn default_tests() -> Vec<String> {
    vec!["paired_t".to_owned(), "wilcoxon".to_owned()]
}

fn default_alpha() -> f64 {
    0.05
}

fn default_resamples() -> usize {
    10_000
}

/// Columns of the artifact `tests`.
pub const TESTS: &[Column] = &[
    Column { name: "unit", dtype: "utf8", doc: "What is a pair: `user` or `seed`." },
    Column { name: "test", dtype: "utf8", doc: "Name of the test." },
    Column { name: "metric", dtype: "utf8", doc: "Measure." },
    Column { name: "k", dtype: "u32", doc: "Cut-off." },
    Column { name: "axis", dtype: "utf8", doc: "The axis whose labels compete." },
    Column { name: "pair_by", dtype: "utf8", doc: "The axis whose labels pair runs." },
    Column { name: "reference", dtype: "utf8", doc: "Label of the reference." },
    Column { name: "baseline", dtype: "utf8", doc: "Label it is compared with." },
    Column { name: "n", dtype: "u32", doc: "Number of pairs." },
    Column { name: "mean_reference", dtype: "f64", doc: "Mean over the pairs." },
    Column { name: "mean_baseline", dtype: "f64", doc: "Mean over the pairs." },
    Column { name: "difference", dtype: "f64", doc: "Mean of reference minus baseline." },
    Column { name: "improvement", dtype: "f64?", doc: "Difference relative to the baseline's mean." },
    Column { name: "statistic", dtype: "f64?", doc: "t, or the smaller rank sum." },
    Column { name: "p", dtype: "f64?", doc: "Two-sided; null where the test cannot be made." },
    Column { name: "p_adjusted", dtype: "f64?", doc: "After the correction." },
    Column { name: "correction", dtype: "utf8", doc: "`holm` or `none`." },
    Column { name: "family", dtype: "u32", doc: "How many p-values were corrected together." },
    Column { name: "significant", dtype: "bool", doc: "Whether p_adjusted is below alpha." },
    Column { name: "cohen_dz", dtype: "f64?", doc: "Mean of the differences over their standard deviation." },
    Column { name: "rank_biserial", dtype: "f64?", doc: "(W+ - W-) / (W+ + W-)." },
    Column { name: "ci_low", dtype: "f64?", doc: "Interval of the difference at level 1 - alpha." },
    Column { name: "ci_high", dtype: "f64?", doc: "Bootstrap over users, t over seeds." },
    Column { name: "zero_share", dtype: "f64", doc: "Share of pairs without a difference." },
    Column { name: "note", dtype: "utf8", doc: "Why there is no p, or what limits it." },
];

impl Stage for Compare {
    type Params = Params;

    const KIND: &'static str = "compare";
    const VERSION: u32 = 3;
    const DOC: &'static str = "Significance tests of one competitor against all others, over users and over seeds.";
    const PORTS: &'static [Port] = &[Port {
        name: "scores",
        doc: "Evaluations of all competitors and seeds on one test part.",
        artifacts: &["per_user", "users", "summary"],
        arity: Arity::Many,
    }];
    const OUTPUTS: &'static [Output] =
        &[Output { name: "tests", doc: "One row per unit, test, metric and baseline.", form: Form::Table(TESTS) }];

    fn check(params: &Params) -> Result<(), ParamError> {
        let wrong = |path: &[&str], message: String| ParamError {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            message,
            help: None,
        };
        for (index, text) in params.metrics.iter().enumerate() {
            Metric::parse(text).map_err(|error| wrong(&["metrics", &index.to_string()], error.to_string()))?;
        }
        for (index, name) in params.tests.iter().enumerate() {
            stats::paired_test(name).map_err(|error| wrong(&["tests", &index.to_string()], error.to_string()))?;
        }
        // Whatever stands twice would be corrected for twice.
        for (key, names) in [("metrics", &params.metrics), ("tests", &params.tests)] {
            if let Some(index) = (1..names.len()).find(|&index| names[..index].contains(&names[index])) {
                return Err(wrong(&[key, &index.to_string()], format!("`{}` is named twice", names[index])));
            }
        }
        if params.tests.is_empty() {
            return Err(wrong(&["tests"], "is empty".to_owned()));
        }
        if !(params.alpha > 0.0 && params.alpha < 1.0) {
            return Err(wrong(&["alpha"], format!("must lie between 0 and 1, not {}", params.alpha)));
        }
        if !(100..=1_000_000).contains(&params.resamples) {
            return Err(wrong(&["resamples"], "must lie between 100 and 1000000".to_owned()));
        }
        if params.baselines.contains(&params.reference) {
            return Err(wrong(&["baselines"], format!("names the reference `{}` itself", params.reference)));
        }
        if params.axis == params.pair_by {
            return Err(wrong(&["pair_by"], "must differ from `axis`".to_owned()));
        }
        Ok(())
    }
}

pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Compare>(params)?;
    let inputs: Vec<&Input> = context.inputs("scores").collect();
    check_axes(&params, &inputs)?;
    let order = metrics(&params, &inputs)?;
    let mut persons = IdMap::default();
    let runs = inputs.iter().map(|input| read(input, &params, &order, &mut persons)).collect::<Result<Vec<_>, _>>()?;
    let baselines = baselines(&params, &runs)?;
    let units = params.unit.each();
    let mut pairs = Vec::new();
    for &unit in units {
        for baseline in &baselines {
            for metric in &order {
                pairs.push(paired(&runs, &persons, (&params.reference, baseline), metric, unit)?);
            }
        }
    }
    let comparisons: Vec<Comparison> =
        pairs.iter().map(|pair| Comparison::of(&pair.reference_values, &pair.baseline_values)).collect();
    let family = baselines.len() * order.len();
    let mut rows = Vec::new();
    for (index, &unit) in units.iter().enumerate() {
        let members = index * family..(index + 1) * family;
        let (pairs, comparisons) = (&pairs[members.clone()], &comparisons[members]);
        let intervals = intervals(&params, unit, comparisons, order.len());
        for name in &params.tests {
            let test = stats::paired_test(name).map_err(|error| StageError::new(error.to_string()))?;
            let tested = stats::test_family(test, comparisons, params.correction == Correction::Holm);
            for (((pair, comparison), &interval), tested) in pairs.iter().zip(comparisons).zip(&intervals).zip(tested) {
                rows.push(Row { unit, test: test.name(), pair, comparison, interval, tested });
            }
        }
    }
    let batch = batch(&params, &rows)?;
    parquet::write(&context.output("tests"), &batch, &super::made_by::<Compare>())?;
    Ok(())
}

/// The labels that the reference is compared with, in the order of the sources.
fn baselines<'a>(params: &Params, runs: &'a [Run]) -> Result<Vec<&'a str>, StageError> {
    let mut competitors: Vec<&str> = Vec::new();
    for run in runs {
        if !competitors.contains(&run.competitor.as_str()) {
            competitors.push(&run.competitor);
        }
    }
    let named = [("reference", &params.reference)].into_iter();
    for (what, label) in named.chain(params.baselines.iter().map(|label| ("baseline", label))) {
        if !competitors.contains(&label.as_str()) {
            let known = competitors.join(", ");
            let message = format!("the {what} `{label}` is not among the labels of `{}`: {known}", params.axis);
            return Err(StageError::new(message));
        }
    }
    let chosen = |label: &str| params.baselines.is_empty() || params.baselines.iter().any(|own| own == label);
    competitors.retain(|label| *label != params.reference && chosen(label));
    Ok(competitors)
}

/// All sources have both axes' labels; on every other axis they agree.
fn check_axes(params: &Params, inputs: &[&Input]) -> Result<(), StageError> {
    let Some(first) = inputs.first() else {
        return Err(StageError::new("nothing came in through port `scores`"));
    };
    for input in inputs {
        let competitor = label(input, &params.axis);
        competitor.ok_or_else(|| {
            let axes: Vec<&str> = input.labels.iter().map(|(axis, _)| axis.as_str()).collect();
            StageError::new(format!("the scores have no axis `{}`; they have {}", params.axis, axes.join(", ")))
        })?;
        for (axis, name) in &input.labels {
            if *axis != params.axis && *axis != params.pair_by && label(first, axis) != Some(name) {
                let error =
                    StageError::new(format!("the scores differ in `{axis}`, which is neither compared nor paired"));
                return Err(
                    error.with_help(format!("do not collapse `{axis}` here: one comparison for each of its labels"))
                );
            }
        }
    }
    Ok(())
}

fn label<'a>(input: &'a Input, axis: &str) -> Option<&'a str> {
    input.labels.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str())
}

/// The metrics to compare: those asked for, or all of the first source.
fn metrics(params: &Params, inputs: &[&Input]) -> Result<Vec<Name>, StageError> {
    let asked = params.metrics.iter().map(|text| match Metric::parse(text) {
        Ok(metric) => Ok((metric.measure().name().to_owned(), metric.k() as u32)),
        Err(error) => Err(StageError::new(error.to_string())),
    });
    let asked = asked.collect::<Result<Vec<_>, _>>()?;
    match inputs.first() {
        Some(first) if asked.is_empty() => {
            let summary = read_summary(first)?;
            Ok(summary.into_iter().map(|(metric, k, _)| (metric, k)).collect())
        }
        _ => Ok(asked),
    }
}

/// A row of the result.
struct Row<'a> {
    unit: Unit,
    test: &'static str,
    pair: &'a Paired,
    comparison: &'a Comparison,
    interval: Option<(f64, f64)>,
    tested: Tested,
}

impl Row<'_> {
    fn note(&self, alpha: f64) -> String {
        let mut notes: Vec<String> = self.tested.result.note.iter().cloned().collect();
        if self.tested.smallest_p >= alpha {
            let (smallest, corrected) = (self.tested.result.smallest_p, self.tested.smallest_p);
            let differences = &self.comparison.differences;
            let zeros = differences.iter().filter(|&&difference| difference == 0.0).count();
            let zeros = if zeros > 0 { format!(" ({zeros} without a difference)") } else { String::new() };
            let corrected = if corrected > smallest { format!(" ({corrected} corrected)") } else { String::new() };
            notes.push(format!(
                "with n={}{zeros} the smallest possible p is {smallest}{corrected}, so no difference can be significant",
                differences.len()
            ));
        }
        if self.pair.partly > 0 {
            let (partly, n) = (self.pair.partly, self.comparison.differences.len());
            notes.push(format!("{partly} of {n} users were tested in some of the {} runs only", self.pair.runs));
        }
        if self.pair.unpaired > 0 {
            notes.push(format!("runs left out for want of a partner: {}", self.pair.unpaired));
        }
        notes.join("; ")
    }
}

/// One interval of the mean difference per comparison.
fn intervals(params: &Params, unit: Unit, comparisons: &[Comparison], metrics: usize) -> Vec<Option<(f64, f64)>> {
    let level = 1.0 - params.alpha;
    if unit == Unit::Seed {
        return comparisons.iter().map(|comparison| stats::t_interval(&comparison.differences, level)).collect();
    }
    // The metrics of one baseline are measures of the same users: one draw serves all.
    let mut all = Vec::with_capacity(comparisons.len());
    for baseline in comparisons.chunks(metrics.max(1)) {
        let columns: Vec<Vec<f64>> = baseline.iter().map(|comparison| comparison.differences.clone()).collect();
        match stats::bootstrap_means(&columns, params.resamples, level, params.seed) {
            Some(intervals) => all.extend(intervals.into_iter().map(|interval| Some((interval.low, interval.high)))),
            None => all.extend(baseline.iter().map(|_| None)),
        }
    }
    all
}

fn batch(params: &Params, rows: &[Row]) -> Result<RecordBatch, StageError> {
    let text = |of: &dyn Fn(&Row) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let count = |of: &dyn Fn(&Row) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let number = |of: &dyn Fn(&Row) -> Option<f64>| Arc::new(rows.iter().map(of).collect::<Float64Array>()) as ArrayRef;
    let significant = |row: &Row| Some(row.tested.p_adjusted.is_some_and(|p| p < params.alpha));
    let columns: Vec<ArrayRef> = vec![
        text(&|row| row.unit.name().to_owned()),
        text(&|row| row.test.to_owned()),
        text(&|row| row.pair.metric.0.clone()),
        count(&|row| row.pair.metric.1),
        text(&|_| params.axis.clone()),
        text(&|_| params.pair_by.clone()),
        text(&|_| params.reference.clone()),
        text(&|row| row.pair.baseline.clone()),
        count(&|row| row.comparison.differences.len() as u32),
        number(&|row| Some(row.comparison.mean_reference)),
        number(&|row| Some(row.comparison.mean_baseline)),
        number(&|row| Some(row.comparison.difference)),
        number(&|row| row.comparison.improvement),
        number(&|row| row.tested.result.statistic),
        number(&|row| row.tested.result.p),
        number(&|row| row.tested.p_adjusted),
        text(&|_| params.correction.name().to_owned()),
        count(&|row| row.tested.family as u32),
        Arc::new(rows.iter().map(significant).collect::<BooleanArray>()),
        number(&|row| row.comparison.cohen_dz),
        number(&|row| row.comparison.rank_biserial),
        number(&|row| row.interval.map(|interval| interval.0)),
        number(&|row| row.interval.map(|interval| interval.1)),
        number(&|row| Some(row.comparison.zero_share)),
        text(&|row| row.note(params.alpha)),
    ];
    Ok(tables::batch(TESTS, columns)?)
}

#[cfg(test)]
mod tests;
