//! `evaluate`: ranking metrics of recommendations on a test part, per user and aggregated.

mod asked;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::columns::{bools, finite, texts, u32s};
use super::names::MeasureName;
use super::tables::{COUNTS, batch};
use crate::data::Interactions;
use crate::data::parts::counts_to_batch;
use crate::engine::stage::{Context, Input, Stage, StageError, parse};
use crate::method::TrainingData;
use crate::metric::{self, Evaluation, Metric, quantile_groups};
use crate::spec::{Arity, Column, Form, Output, ParamError, Port};
use crate::store::parquet;
use asked::Asked;

pub struct Evaluate;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Which test items count: those of the training distribution, or those of the shifted one.
    pub set: TestSet,
    /// Measures.
    #[serde(default = "default_metrics")]
    #[schemars(with = "Vec<MeasureName>")]
    pub metrics: Vec<String>,
    /// Cut-offs.
    #[serde(default = "default_k")]
    #[schemars(inner(range(min = 1, max = 10_000)))]
    pub k: Vec<usize>,
    /// What becomes of test pairs that cannot be recommended: the item is hidden from the user (in training or, where the
    /// model masks it, in validation), or it is none of the model's candidates.
    #[serde(default)]
    pub unreachable: Unreachable,
    /// Also aggregates over groups of users.
    #[serde(default)]
    pub groups: Option<Groups>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// They are not asked for.
    #[default]
    Drop,
    /// They count as misses, as in RecBole, SELFRec and RealHNS.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestSet {
    Iid,
    Ood,
}

impl TestSet {
    fn name(self) -> &'static str {
        match self {
            Self::Iid => "iid",
            Self::Ood => "ood",
        }
    }
}

/// Groups of about equal size.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    pub by: GroupBy,
    /// How many groups.
    #[serde(default = "default_bins")]
    #[schemars(range(min = 1, max = 1_000))]
    pub bins: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// The number of training interactions.
    Activity,
}

fn default_metrics() -> Vec<String> {
    vec!["recall".to_owned(), "ndcg".to_owned()]
}

fn default_k() -> Vec<usize> {
    vec![10, 20]
}

fn default_bins() -> usize {
    4
}

/// Columns of the artifact `users`.
const USERS: &[Column] = &[
    Column { name: "user", dtype: "u32", doc: "Dense user id of the split." },
    Column { name: "key", dtype: "utf8", doc: "The key in the raw data." },
];

impl Stage for Evaluate {
    type Params = Params;

    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 3;
    const DOC: &'static str = "Ranking metrics of recommendations on a test part, per user and aggregated.";
    const PORTS: &'static [Port] = &[
        Port {
            name: "split",
            doc: "The split that the model was trained on.",
            artifacts: &["test", "train", "valid", "users"],
            arity: Arity::One,
        },
        Port {
            name: "model",
            doc: "A trained model.",
            artifacts: &["recommendations", "candidates", "summary"],
            arity: Arity::One,
        },
    ];
    const OUTPUTS: &'static [Output] = &[
        Output {
            name: "per_user",
            doc: "Every metric of every user with a test item, by metric and user.",
            form: Form::Table(&[
                Column { name: "metric", dtype: "utf8", doc: "Measure, such as `recall`." },
                Column { name: "k", dtype: "u32", doc: "Cut-off." },
                Column { name: "user", dtype: "u32", doc: "Dense user id of the split; `users` has its key." },
                Column { name: "value", dtype: "f64", doc: "Scaled so that the mean over users is the metric." },
            ]),
        },
        Output {
            name: "users",
            doc: "Who they are: ids mean other people in other splits, keys do not.",
            form: Form::Table(USERS),
        },
        Output {
            name: "summary",
            doc: "Every metric over all users, then over each group.",
            form: Form::Table(&[
                Column { name: "metric", dtype: "utf8", doc: "Measure, such as `recall`." },
                Column { name: "k", dtype: "u32", doc: "Cut-off." },
                Column { name: "group", dtype: "utf8", doc: "`all`, or `activity 3-7`: training interactions." },
                Column { name: "value", dtype: "f64", doc: "The metric over the users of the group." },
                Column { name: "users", dtype: "u32", doc: "How many they are." },
            ]),
        },
        Output {
            name: "counts",
            doc: "What was asked for, what could not be, and cut-offs that fall between equal scores.",
            form: Form::Table(COUNTS),
        },
    ];

    fn check(params: &Params) -> Result<(), ParamError> {
        metrics(params)?;
        if params.groups.as_ref().is_some_and(|groups| groups.bins == 0) {
            let path = vec!["groups".to_owned(), "bins".to_owned()];
            return Err(ParamError { path, message: "must be at least 1".to_owned(), help: None });
        }
        Ok(())
    }
}

/// All measures at all cut-offs, measure by measure.
fn metrics(params: &Params) -> Result<Vec<Metric>, ParamError> {
    let wrong = |key: &str, index: usize, message: String| ParamError {
        path: vec![key.to_owned(), index.to_string()],
        message,
        help: None,
    };
    let empty = |key: &str| ParamError { path: vec![key.to_owned()], message: "is empty".to_owned(), help: None };
    if params.metrics.is_empty() {
        return Err(empty("metrics"));
    }
    if params.k.is_empty() {
        return Err(empty("k"));
    }
    let mut metrics: Vec<Metric> = Vec::new();
    for (m, name) in params.metrics.iter().enumerate() {
        metric::measure(name).map_err(|error| wrong("metrics", m, error.to_string()))?;
        for (n, &k) in params.k.iter().enumerate() {
            let metric = Metric::new(name, k).map_err(|error| wrong("k", n, error.to_string()))?;
            if u32::try_from(k).is_err() {
                return Err(wrong("k", n, format!("{k} is too large")));
            }
            if metrics.contains(&metric) {
                return Err(wrong("metrics", m, format!("{metric} is asked for twice")));
            }
            metrics.push(metric);
        }
    }
    Ok(metrics)
}

pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Evaluate>(params)?;
    let metrics = metrics(&params)?;
    let (split, model) = (context.input("split")?, context.input("model")?);
    let train = parquet::read(split.artifact("train")?)?;
    let keys = parquet::read(split.artifact("users")?)?;
    let lists = Lists::read(&parquet::read(model.artifact("recommendations")?)?)?;
    let asked = Asked::new(&params, split, model, &train)?;
    asked.log(context);
    let relevance = &asked.relevance;
    check_cutoffs(&lists, asked.candidates, &metrics)?;
    let without = relevance.users().filter(|&user| lists.of(user).is_empty()).count();
    if without > 0 {
        let fact = format!("{without} users with test items have no recommendations: they count as 0");
        let popularity = metrics.iter().any(|metric| metric.measure().needs_popularity());
        context.log(if popularity { format!("{fact}, and in no mean of popularity") } else { fact });
    }
    let popularity = popularity(&metrics, &train)?;
    let evaluation = metric::evaluate(&metrics, relevance, &popularity, |user| lists.of(user));
    let made_by = super::made_by::<Evaluate>();
    parquet::write(&context.output("per_user"), &per_user(&metrics, &evaluation)?, &made_by)?;
    parquet::write(&context.output("users"), &users(&keys, &evaluation)?, &made_by)?;
    let mut activity = vec![0u32; evaluation.users.last().map_or(0, |&last| last as usize + 1)];
    for &user in u32s(&train, "user")? {
        if let Some(count) = activity.get_mut(user as usize) {
            *count += 1;
        }
    }
    let activity: Vec<u32> = evaluation.users.iter().map(|&user| activity[user as usize]).collect();
    let summary = summary(&metrics, &evaluation, params.groups.as_ref(), &activity)?;
    parquet::write(&context.output("summary"), &summary, &made_by)?;
    let mut counts = asked.counts();
    for k in &params.k {
        let tied = evaluation.users.iter().filter(|&&user| lists.tied_at(user, *k)).count();
        counts.push((format!("tied@{k}"), tied as i64));
    }
    parquet::write(&context.output("counts"), &counts_to_batch(&counts)?, &made_by)?;
    Ok(())
}

/// Recommended items of every user, best first.
struct Lists {
    start: Vec<usize>,
    item: Vec<u32>,
    /// Whether the next item, listed or not, has the same score.
    tied: BooleanArray,
}

impl Lists {
    /// From rows sorted by user and rank, ranks counted from 1.
    fn read(batch: &RecordBatch) -> Result<Self, StageError> {
        let (users, ranks, items) = (u32s(batch, "user")?, u32s(batch, "rank")?, u32s(batch, "item")?);
        let mut start = vec![0];
        for row in 0..users.len() {
            let first = row == 0 || users[row - 1] != users[row];
            let expected = if first { 1 } else { ranks[row - 1].saturating_add(1) };
            if ranks[row] != expected || (row > 0 && users[row - 1] > users[row]) {
                return Err(StageError::new(format!(
                    "recommendations are not sorted by user and rank: row {row} has user {} and rank {}",
                    users[row], ranks[row]
                )));
            }
            while start.len() <= users[row] as usize {
                start.push(row);
            }
        }
        start.push(users.len());
        Ok(Self { start, item: items.to_vec(), tied: bools(batch, "tied")?.clone() })
    }

    fn rows(&self, user: u32) -> Range<usize> {
        match self.start.get(user as usize..user as usize + 2) {
            Some(&[from, to]) => from..to,
            _ => 0..0,
        }
    }

    fn of(&self, user: u32) -> &[u32] {
        &self.item[self.rows(user)]
    }

    /// Whether the first `k` items of a user are such by their place among equal scores.
    fn tied_at(&self, user: u32, k: usize) -> bool {
        self.rows(user).nth(k - 1).is_some_and(|row| self.tied.value(row))
    }

    fn longest(&self) -> usize {
        self.start.windows(2).map(|window| window[1] - window[0]).max().unwrap_or(0)
    }
}

/// A list may be short because little was left to recommend, but not because less was asked for than is looked at.
fn check_cutoffs(lists: &Lists, candidates: usize, metrics: &[Metric]) -> Result<(), StageError> {
    let asked = metrics.iter().map(Metric::k).max().unwrap_or(0);
    let longest = lists.longest();
    if longest >= asked {
        return Ok(());
    }
    let error = StageError::new(format!("a cut-off is {asked}, but no list has more than {longest} items"));
    // Whoever was trained on has at least one item that is not recommended again.
    Err(error.with_help(if asked >= candidates {
        format!("only {candidates} items are ranked, those of a user's training set among them: lower `k`")
    } else {
        format!("set `top_k` of the train stage to at least {asked}, or lower `k`")
    }))
}

/// How many training users each item has, where a metric looks at it.
fn popularity(metrics: &[Metric], train: &RecordBatch) -> Result<Vec<u32>, StageError> {
    if !metrics.iter().any(|metric| metric.measure().needs_popularity()) {
        return Ok(Vec::new());
    }
    let (user, item) = (u32s(train, "user")?.to_vec(), u32s(train, "item")?.to_vec());
    Ok(TrainingData::new(Interactions { user, item, ..Interactions::default() }).popularity().to_vec())
}

/// The keys of those who were evaluated.
fn users(keys: &RecordBatch, evaluation: &Evaluation) -> Result<RecordBatch, StageError> {
    let keys = texts(keys, "key")?;
    let key = |&user: &u32| {
        let known = (user as usize) < keys.len();
        known.then(|| keys.value(user as usize)).ok_or_else(|| StageError::new(format!("`users` lacks user {user}")))
    };
    let own = evaluation.users.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let ids = UInt32Array::from_iter_values(evaluation.users.iter().copied());
    Ok(batch(USERS, vec![Arc::new(ids), Arc::new(StringArray::from(own))])?)
}

fn per_user(metrics: &[Metric], evaluation: &Evaluation) -> Result<RecordBatch, StageError> {
    let users = evaluation.users.len();
    let names = metrics.iter().flat_map(|metric| std::iter::repeat_n(metric.measure().name(), users));
    let cutoffs = metrics.iter().flat_map(|metric| std::iter::repeat_n(metric.k() as u32, users));
    let ids = metrics.iter().flat_map(|_| evaluation.users.iter().copied());
    let values = (0..metrics.len()).flat_map(|m| evaluation.contributions(m));
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("metric", Arc::new(StringArray::from_iter_values(names)), false),
        ("k", Arc::new(UInt32Array::from_iter_values(cutoffs)), false),
        ("user", Arc::new(UInt32Array::from_iter_values(ids)), false),
        ("value", Arc::new(Float64Array::from_iter_values(values)), false),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn summary(
    metrics: &[Metric],
    evaluation: &Evaluation,
    groups: Option<&Groups>,
    activity: &[u32],
) -> Result<RecordBatch, StageError> {
    let mut rows: Vec<(Metric, String, f64, u32)> = Vec::new();
    let all = evaluation.users.len() as u32;
    rows.extend(metrics.iter().enumerate().map(|(m, &metric)| (metric, "all".to_owned(), evaluation.mean(m), all)));
    for group in groups.map(|groups| quantile_groups(activity, groups.bins)).unwrap_or_default() {
        let label = format!("activity {}-{}", group.low, group.high);
        let member = |n: usize| group.contains(activity[n]);
        let users = (0..activity.len()).filter(|&n| member(n)).count() as u32;
        let row = |(m, &metric): (usize, &Metric)| (metric, label.clone(), evaluation.mean_where(m, member), users);
        rows.extend(metrics.iter().enumerate().map(row));
    }
    if let Some((metric, group, ..)) = rows.iter().find(|row| !row.2.is_finite()) {
        let message = format!("no user of group `{group}` has a recommendation, so {metric} has no value");
        return Err(StageError::new(message)
            .with_help(format!("leave `{}` out, or ask for fewer groups", metric.measure().name())));
    }
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("metric", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0.measure().name()))), false),
        ("k", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.0.k() as u32))), false),
        ("group", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))), false),
        ("value", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))), false),
        ("users", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.3))), false),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// The values over all users in an artifact `summary`, as measure, cut-off and value.
pub fn read_summary(input: &Input) -> Result<Vec<(String, u32, f64)>, StageError> {
    let batch = parquet::read(input.artifact("summary")?)?;
    let (names, cutoffs, groups) = (texts(&batch, "metric")?, u32s(&batch, "k")?, texts(&batch, "group")?);
    let of = |row: usize| format!("{}@{} of group `{}`", names.value(row), cutoffs[row], groups.value(row));
    let values = finite(input, "summary", &batch, "value", of)?;
    let rows = (0..values.len()).filter(|&row| groups.value(row) == "all");
    Ok(rows.map(|row| (names.value(row).to_owned(), cutoffs[row], values[row])).collect())
}

#[cfg(test)]
mod tests;
