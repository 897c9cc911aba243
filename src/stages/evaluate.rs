//! `evaluate`: ranking metrics of recommendations on a test part, per user and aggregated.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::columns::{finite, texts, u32s};
use super::tables::batch;
use crate::engine::stage::{Context, Input, Stage, StageError, parse};
use crate::metric::{self, Evaluation, Metric, Relevance, quantile_groups};
use crate::spec::{Arity, Column, Form, Output, ParamError, Port};
use crate::store::parquet;

pub struct Evaluate;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Which test items count: those of the training distribution, or those of the shifted one.
    pub set: TestSet,
    /// Measures: `recall`, `precision`, `ndcg`, `hit_rate`, `mrr`, `map`, `micro_recall`.
    #[serde(default = "default_metrics")]
    pub metrics: Vec<String>,
    /// Cut-offs.
    #[serde(default = "default_k")]
    #[schemars(inner(range(min = 1, max = 10_000)))]
    pub k: Vec<usize>,
    /// Also aggregates over groups of users.
    #[serde(default)]
    pub groups: Option<Groups>,
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
            artifacts: &["test", "train", "users"],
            arity: Arity::One,
        },
        Port { name: "model", doc: "A trained model.", artifacts: &["recommendations"], arity: Arity::One },
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
    let split = context.input("split")?;
    let test = parquet::read(split.artifact("test")?)?;
    let train = parquet::read(split.artifact("train")?)?;
    let keys = parquet::read(split.artifact("users")?)?;
    let recommendations = parquet::read(context.input("model")?.artifact("recommendations")?)?;
    let lists = Lists::read(&recommendations)?;
    let (train_users, train_items) = (u32s(&train, "user")?, u32s(&train, "item")?);
    let relevance = relevance(&test, train_users, train_items, params.set)?;
    if relevance.removed() > 0 {
        context.log(format!("{} test items are in the user's training set: they do not count", relevance.removed()));
    }
    let catalogue = train_items.iter().max().map_or(0, |&last| last as usize + 1);
    check_cutoffs(&lists, catalogue, &metrics)?;
    let without = relevance.users().filter(|&user| lists.of(user).is_empty()).count();
    if without > 0 {
        context.log(format!("{without} users with test items have no recommendations: they count as 0"));
    }
    let evaluation = metric::evaluate(&metrics, &relevance, |user| lists.of(user));
    let made_by = super::made_by::<Evaluate>();
    parquet::write(&context.output("per_user"), &per_user(&metrics, &evaluation)?, &made_by)?;
    parquet::write(&context.output("users"), &users(&keys, &evaluation)?, &made_by)?;
    let mut activity = vec![0u32; evaluation.users.last().map_or(0, |&last| last as usize + 1)];
    for &user in train_users {
        if let Some(count) = activity.get_mut(user as usize) {
            *count += 1;
        }
    }
    let activity: Vec<u32> = evaluation.users.iter().map(|&user| activity[user as usize]).collect();
    let summary = summary(&metrics, &evaluation, params.groups.as_ref(), &activity)?;
    parquet::write(&context.output("summary"), &summary, &made_by)?;
    Ok(())
}

/// The items that count in the wanted part of the test set.
fn relevance(
    test: &RecordBatch,
    train_users: &[u32],
    train_items: &[u32],
    set: TestSet,
) -> Result<Relevance, StageError> {
    let (users, items, sets) = (u32s(test, "user")?, u32s(test, "item")?, texts(test, "set")?);
    let wanted = |row: &usize| sets.value(*row) == set.name();
    let pairs: Vec<(u32, u32)> = (0..users.len()).filter(wanted).map(|row| (users[row], items[row])).collect();
    let count = pairs.iter().map(|&(user, _)| user as usize + 1).max().unwrap_or(0);
    let relevance = Relevance::new(count, pairs, train_users.iter().copied().zip(train_items.iter().copied()));
    if relevance.users().next().is_none() {
        let error = StageError::new(format!("no user has a test item in the set `{}`", set.name()));
        return Err(error.with_help("choose another `set`, or a split that has this one"));
    }
    Ok(relevance)
}

/// Recommended items of every user, best first.
struct Lists {
    start: Vec<usize>,
    item: Vec<u32>,
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
        Ok(Self { start, item: items.to_vec() })
    }

    fn of(&self, user: u32) -> &[u32] {
        match self.start.get(user as usize..user as usize + 2) {
            Some(&[from, to]) => &self.item[from..to],
            _ => &[],
        }
    }

    fn longest(&self) -> usize {
        self.start.windows(2).map(|window| window[1] - window[0]).max().unwrap_or(0)
    }
}

/// A list may be short because little was left to recommend, but not because less was asked for than is looked at.
fn check_cutoffs(lists: &Lists, catalogue: usize, metrics: &[Metric]) -> Result<(), StageError> {
    let asked = metrics.iter().map(Metric::k).max().unwrap_or(0);
    let longest = lists.longest();
    if longest >= asked {
        return Ok(());
    }
    let error = StageError::new(format!("a cut-off is {asked}, but no list has more than {longest} items"));
    // Whoever was trained on has at least one item that is not recommended again.
    Err(error.with_help(if asked >= catalogue {
        format!("the catalogue has {catalogue} items, those of a user's training set among them: lower `k`")
    } else {
        format!("set `top_k` of the train stage to at least {asked}, or lower `k`")
    }))
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
mod tests {
    use super::super::columns::f64s;
    use super::super::testing::{Bench, input};
    use super::*;
    use crate::data::ids::keys_to_batch;
    use serde_json::json;

    fn ids(columns: &[(&str, &[u32])]) -> Vec<(String, ArrayRef, bool)> {
        let array = |values: &[u32]| Arc::new(UInt32Array::from(values.to_vec())) as ArrayRef;
        columns.iter().map(|(name, values)| ((*name).to_owned(), array(values), false)).collect()
    }

    /// Two users in the test: user 0 has 1 of 1 right, user 2 none of 3; user 1's only test item was trained on.
    fn evaluate(params: Value, ranks: &[u32]) -> Result<(RecordBatch, RecordBatch), StageError> {
        evaluate_lists(params, &[0, 0, 1, 2, 2], ranks)
    }

    /// The same with lists for these users, by row.
    fn evaluate_lists(params: Value, users: &[u32], ranks: &[u32]) -> Result<(RecordBatch, RecordBatch), StageError> {
        let bench = Bench::new();
        let table = |columns| RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let train = table(ids(&[("user", &[0, 1, 2, 2]), ("item", &[0, 7, 0, 1])]));
        let mut test = ids(&[("user", &[0, 1, 2, 2, 2, 0]), ("item", &[5, 7, 7, 8, 9, 6])]);
        let sets = StringArray::from(vec!["ood", "ood", "ood", "ood", "ood", "iid"]);
        test.push(("set".to_owned(), Arc::new(sets), false));
        let lists = table(ids(&[("user", users), ("rank", ranks), ("item", &[5, 6, 1, 2, 3][..users.len()])]));
        let keys = keys_to_batch(["ann", "bob", "cem"]).unwrap();
        let split = [("test", table(test)), ("train", train), ("users", keys)];
        let split = split.map(|(name, batch)| (name, bench.put(name, &batch)));
        let model = [("recommendations", bench.put("recommendations", &lists))];
        let inputs = vec![input("split", &[], &split), input("model", &["seed=1"], &model)];
        let out = bench.run::<Evaluate>(run, params, inputs, Vec::new(), "out")?;
        let users = parquet::read(&out.join("users.parquet"))?;
        assert!(
            texts(&users, "key")?
                .iter()
                .flatten()
                .eq(u32s(&users, "user")?.iter().map(|&id| ["ann", "bob", "cem"][id as usize]))
        );
        Ok((parquet::read(&out.join("per_user.parquet"))?, parquet::read(&out.join("summary.parquet"))?))
    }

    const RANKS: &[u32] = &[1, 2, 1, 1, 2];

    #[test]
    fn values_per_user_and_over_users() {
        let params =
            json!({ "set": "ood", "metrics": ["recall", "micro_recall"], "k": [2], "groups": { "by": "activity" } });
        let (per_user, summary) = evaluate(params, RANKS).unwrap();
        assert_eq!(u32s(&per_user, "user").unwrap(), [0, 2, 0, 2]);
        assert_eq!(f64s(&per_user, "value").unwrap(), [1.0, 0.0, 0.5, 0.0]);
        assert_eq!(f64s(&summary, "value").unwrap(), [0.5, 0.25, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(texts(&summary, "group").unwrap().value(2), "activity 1-1");
        assert_eq!(u32s(&summary, "users").unwrap(), [2, 2, 1, 1, 1, 1]);
        for (batch, output) in [(&per_user, &Evaluate::OUTPUTS[0]), (&summary, &Evaluate::OUTPUTS[2])] {
            let Form::Table(columns) = output.form else { panic!() };
            let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            assert_eq!(batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn only_the_wanted_set_counts() {
        let (per_user, _) = evaluate(json!({ "set": "iid", "metrics": ["mrr"], "k": [2] }), RANKS).unwrap();
        assert_eq!(f64s(&per_user, "value").unwrap(), [0.5]);
    }

    #[test]
    fn users_without_recommendations_count_as_0() {
        let params = json!({ "set": "ood", "metrics": ["recall"], "k": [2] });
        let (per_user, summary) = evaluate_lists(params, &[0, 0, 1], &[1, 2, 1]).unwrap();
        assert_eq!(f64s(&per_user, "value").unwrap(), [1.0, 0.0]);
        assert_eq!((f64s(&summary, "value").unwrap(), u32s(&summary, "users").unwrap()), (vec![0.5], &[2][..]));
    }

    #[test]
    fn lists_shorter_than_the_cutoff_are_refused() {
        let error = evaluate(json!({ "set": "ood" }), RANKS).unwrap_err();
        assert_eq!(error.message, "a cut-off is 20, but no list has more than 2 items");
        let help = "the catalogue has 8 items, those of a user's training set among them: lower `k`";
        assert_eq!(error.help.as_deref(), Some(help));
        let error = evaluate(json!({ "set": "ood", "k": [7] }), RANKS).unwrap_err();
        assert_eq!(error.help.unwrap(), "set `top_k` of the train stage to at least 7, or lower `k`");
        let error = evaluate(json!({ "set": "ood", "k": [1] }), &[2, 1, 1, 1, 2]).unwrap_err();
        assert!(error.message.contains("not sorted"), "{error}");
    }

    #[test]
    fn parameters_that_make_no_sense() {
        for (params, at) in [
            (json!({ "set": "ood", "metrics": ["ndgc"] }), "metrics.0"),
            (json!({ "set": "ood", "k": [10, 0] }), "k.1"),
            (json!({ "set": "ood", "k": [10, 10] }), "metrics.0"),
            (json!({ "set": "ood", "k": [] }), "k"),
            (json!({ "set": "ood", "groups": { "by": "activity", "bins": 0 } }), "groups.bins"),
        ] {
            let error = Evaluate::check(&parse::<Evaluate>(&params).unwrap()).unwrap_err();
            assert_eq!(error.path.join("."), at);
        }
    }
}
