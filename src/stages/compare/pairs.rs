//! Evaluations of two competitors as paired values: of persons, who are told by their keys, or of runs.

use std::collections::{BTreeMap, HashMap};

use super::super::columns::{finite, texts, u32s};
use super::super::evaluate::read_summary;
use super::{Params, label};
use crate::data::IdMap;
use crate::engine::stage::{Input, StageError};
use crate::report::Unit;
use crate::store::parquet;

/// A metric as artifacts name it.
pub type Name = (String, u32);

/// One evaluation.
pub struct Run {
    pub competitor: String,
    /// The label that tells which runs belong together.
    pair: String,
    /// Over all users.
    summary: BTreeMap<Name, f64>,
    /// Values with the persons they are of, in the order of persons.
    per_user: BTreeMap<Name, Vec<(u32, f64)>>,
}

/// Paired values of a reference and a baseline.
pub struct Paired {
    pub metric: Name,
    pub baseline: String,
    pub reference_values: Vec<f64>,
    pub baseline_values: Vec<f64>,
    /// Runs that both have.
    pub runs: usize,
    /// Runs of either side that the other one lacks.
    pub unpaired: usize,
    /// Persons who were not tested in all of the runs.
    pub partly: usize,
}

/// Reads an evaluation. Ids of users are those of a split, and name other persons in another split: `persons` numbers them
/// by their keys, which mean the same in all splits.
pub fn read(input: &Input, params: &Params, wanted: &[Name], persons: &mut IdMap) -> Result<Run, StageError> {
    let summary: BTreeMap<Name, f64> =
        read_summary(input)?.into_iter().map(|(metric, k, value)| ((metric, k), value)).collect();
    let users = parquet::read(input.artifact("users")?)?;
    let (ids, keys) = (u32s(&users, "user")?, texts(&users, "key")?);
    let mut person = HashMap::with_capacity(ids.len());
    for (row, &id) in ids.iter().enumerate() {
        person.insert(id, persons.id(keys.value(row)).map_err(|error| StageError::new(error.to_string()))?);
    }
    let batch = parquet::read(input.artifact("per_user")?)?;
    let (names, cutoffs, users) = (texts(&batch, "metric")?, u32s(&batch, "k")?, u32s(&batch, "user")?);
    let of = |row: usize| format!("{}@{} of user {}", names.value(row), cutoffs[row], users[row]);
    let values = finite(input, "per_user", &batch, "value", of)?;
    let mut per_user: BTreeMap<Name, Vec<(u32, f64)>> = BTreeMap::new();
    for metric in wanted {
        if !summary.contains_key(metric) {
            let known: Vec<String> = summary.keys().map(|(name, k)| format!("`{name}@{k}`")).collect();
            let message =
                format!("an evaluation has no metric `{}@{}`; it has {}", metric.0, metric.1, known.join(", "));
            return Err(StageError::new(message).with_help("add it to the evaluate stage"));
        }
        let rows = (0..users.len()).filter(|&row| names.value(row) == metric.0 && cutoffs[row] == metric.1);
        let value = |row: usize| {
            let person = person.get(&users[row]).copied();
            let person = person.ok_or_else(|| StageError::new(format!("`users` has no key of user {}", users[row])));
            Ok::<_, StageError>((person?, values[row]))
        };
        let mut values = rows.map(value).collect::<Result<Vec<_>, _>>()?;
        values.sort_by_key(|&(person, _)| person);
        if let Some(twice) = values.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let message = format!("an evaluation has two values of {}@{} of the user", metric.0, metric.1);
            return Err(StageError::new(format!("{message} `{}`", persons.key(twice[0].0))));
        }
        per_user.insert(metric.clone(), values);
    }
    Ok(Run {
        competitor: label(input, &params.axis).unwrap_or_default().to_owned(),
        pair: label(input, &params.pair_by).unwrap_or_default().to_owned(),
        summary,
        per_user,
    })
}

/// The values of both competitors in the runs that both have, as pairs of the given unit. The value of a person is the
/// mean over the runs in which he or she was tested: of some in cross-validation, of all where runs share a test set.
pub fn paired(
    runs: &[Run],
    persons: &IdMap,
    (reference, baseline): (&str, &str),
    metric: &Name,
    unit: Unit,
) -> Result<Paired, StageError> {
    let of = |name: &str| runs.iter().filter(|run| run.competitor == name).collect::<Vec<_>>();
    let (references, others) = (of(reference), of(baseline));
    let mut pair = Paired {
        metric: metric.clone(),
        baseline: baseline.to_owned(),
        reference_values: Vec::new(),
        baseline_values: Vec::new(),
        runs: 0,
        unpaired: 0,
        partly: 0,
    };
    let mut sums: BTreeMap<u32, (f64, f64, usize)> = BTreeMap::new();
    for &ours in &references {
        let Some(theirs) = others.iter().find(|run| run.pair == ours.pair) else { continue };
        pair.runs += 1;
        if unit == Unit::Seed {
            pair.reference_values.push(ours.summary[metric]);
            pair.baseline_values.push(theirs.summary[metric]);
            continue;
        }
        let (own, other) = (&ours.per_user[metric], &theirs.per_user[metric]);
        if let Some(person) = lone(own, other) {
            let run = if ours.pair.is_empty() { String::new() } else { format!(" in run `{}`", ours.pair) };
            let message = format!("`{reference}` and `{baseline}` were evaluated on different users{run}");
            let message = format!("{message}: only one of them on `{}`", persons.key(person));
            return Err(StageError::new(message).with_help(
                "within a run, evaluate both on one split and test set, or compare runs instead of users: `unit: seed`",
            ));
        }
        for (&(person, own), &(_, other)) in own.iter().zip(other) {
            let sums = sums.entry(person).or_default();
            *sums = (sums.0 + own, sums.1 + other, sums.2 + 1);
        }
    }
    if pair.runs == 0 {
        return Err(StageError::new(format!("`{reference}` and `{baseline}` have no run in common"))
            .with_help("evaluate both with the same labels of `pair_by`, or name the others in `baselines`"));
    }
    pair.unpaired = references.len() + others.len() - 2 * pair.runs;
    for (own, other, count) in sums.into_values() {
        pair.reference_values.push(own / count as f64);
        pair.baseline_values.push(other / count as f64);
        pair.partly += usize::from(count < pair.runs);
    }
    Ok(pair)
}

/// A person who is in one of two lists in the order of persons, but not in the other.
fn lone(a: &[(u32, f64)], b: &[(u32, f64)]) -> Option<u32> {
    let differs = a.iter().zip(b).find(|(a, b)| a.0 != b.0).map(|(a, b)| a.0.min(b.0));
    let longer = if a.len() > b.len() { a } else { b };
    differs.or_else(|| longer.get(a.len().min(b.len())).map(|value| value.0))
}
