//! `diff`: what two recorded runs had different, first what went in (parameters, program, machine), then what came
//! out (artifacts, and where they part). Knows runs only by their records.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::args::{DiffArgs, GlobalArgs};
use super::exit::{CliError, DONE};
use super::project::{open_store, store_error};
use super::record::{Record, StageRecord};
use crate::digest::Digest;
use crate::store::{Store, StoreError, columns};
use crate::ui::{Style, Tone, Ui};

/// How two runs differ.
#[derive(Debug, Default, Serialize)]
struct RunDifference {
    old: String,
    new: String,
    /// Of the runs as a whole: name, old, new.
    circumstances: Vec<ValueChange>,
    /// Of parameters, with the instances that have them.
    parameters: Vec<ValueChange>,
    only_old: Vec<String>,
    only_new: Vec<String>,
    results: Vec<ResultChange>,
    same: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct ValueChange {
    what: String,
    old: String,
    new: String,
    /// Empty for the run as a whole.
    instances: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ResultChange {
    id: String,
    artifact: String,
    /// Column names, and the first place; absent when the objects are no longer in the cache.
    how: Option<String>,
}

pub fn main(args: &DiffArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let store = open_store(global)?;
    let (old, new) = choose(args, &store)?;
    let difference = compare(&old, &new, &store)?;
    if ui.json {
        ui.result_json(&difference)?;
    } else {
        ui.result(&describe(&difference, ui.out));
    }
    Ok(DONE)
}

/// The two runs named, or the last two of one pipeline.
fn choose(args: &DiffArgs, store: &Store) -> Result<(Record, Record), CliError> {
    let new = match &args.new {
        Some(run) => Record::find(store, run)?,
        None => Record::all(store)
            .pop()
            .ok_or_else(|| CliError::wrong("no run is recorded in this cache yet"))?
            .with_stages(store)?,
    };
    let old = match &args.old {
        Some(run) => Record::find(store, run)?,
        None => Record::all(store)
            .into_iter()
            .rfind(|record| record.pipeline == new.pipeline && record.run < new.run)
            .ok_or_else(|| CliError::wrong(format!("`{}` was run only once", new.pipeline)))?
            .with_stages(store)?,
    };
    Ok((old, new))
}

fn compare(old: &Record, new: &Record, store: &Store) -> Result<RunDifference, CliError> {
    let by_id = |record: &'_ Record| -> BTreeMap<String, StageRecord> {
        record.stages.iter().map(|stage| (stage.id.clone(), stage.clone())).collect()
    };
    let (before, after) = (by_id(old), by_id(new));
    let mut parameters: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    let mut difference = RunDifference {
        old: old.run.clone(),
        new: new.run.clone(),
        circumstances: circumstances(old, new),
        ..RunDifference::default()
    };
    difference.only_old = before.keys().filter(|id| !after.contains_key(*id)).cloned().collect();
    difference.only_new = after.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
    for (id, stage) in &after {
        let Some(earlier) = before.get(id) else { continue };
        let stage_name = id.split('[').next().unwrap_or(id);
        for (field, old, new) in changed(&flat(&earlier.params), &flat(&stage.params)) {
            parameters.entry((format!("{stage_name}: {field}"), old, new)).or_default().push(id.clone());
        }
        let results = changed_results(id, earlier, stage, store)?;
        difference.same += usize::from(results.is_empty());
        difference.results.extend(results);
    }
    let change = |((what, old, new), instances)| ValueChange { what, old, new, instances };
    difference.parameters = parameters.into_iter().map(change).collect();
    Ok(difference)
}

fn circumstances(old: &Record, new: &Record) -> Vec<ValueChange> {
    let of = |record: &Record| -> BTreeMap<String, String> {
        let git = record.git.as_ref();
        let mut facts = BTreeMap::from([
            ("pipeline".to_owned(), record.pipeline.clone()),
            ("changes".to_owned(), record.changes.join(" ")),
            ("version".to_owned(), record.version.clone()),
            ("outcome".to_owned(), record.outcome.clone()),
            ("commit".to_owned(), git.map_or(String::new(), |git| git.commit.clone())),
            ("uncommitted changes".to_owned(), git.is_some_and(|git| git.dirty).to_string()),
            ("system".to_owned(), record.environment.system.clone()),
            ("processor".to_owned(), record.environment.cpu.clone()),
        ]);
        facts.extend(record.environment.facets.clone());
        facts
    };
    let change = |(what, old, new)| ValueChange { what, old, new, instances: Vec::new() };
    changed(&of(old), &of(new)).into_iter().map(change).collect()
}

/// What is not the same in two maps; nothing is told as an empty text.
fn changed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<(String, String, String)> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let pair = |name: &String| {
        let value = |map: &BTreeMap<String, String>| map.get(name).cloned().unwrap_or_default();
        (name.clone(), value(old), value(new))
    };
    names.into_iter().map(pair).filter(|(_, old, new)| old != new).collect()
}

/// `sampler.kind` and its value.
fn flat(value: &Value) -> BTreeMap<String, String> {
    fn visit(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(map) if !map.is_empty() => {
                map.iter().for_each(|(name, value)| visit(&join(name), value, fields))
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                items.iter().enumerate().for_each(|(index, item)| visit(&format!("{path}[{index}]"), item, fields));
            }
            _ => {
                fields.insert(path.to_owned(), value.to_string());
            }
        }
    }
    let mut fields = BTreeMap::new();
    visit("", value, &mut fields);
    fields
}

fn changed_results(
    id: &str,
    old: &StageRecord,
    new: &StageRecord,
    store: &Store,
) -> Result<Vec<ResultChange>, CliError> {
    let names: BTreeSet<&String> = old.outputs.keys().chain(new.outputs.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let how = match (old.outputs.get(name), new.outputs.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => how(old, new, store)?,
            (Some(_), None) => Some("only in the old run".to_owned()),
            _ => Some("only in the new run".to_owned()),
        };
        changes.push(ResultChange { id: id.to_owned(), artifact: name.clone(), how });
    }
    Ok(changes)
}

/// `columns value; first in row 3`, as long as the cache still has both objects.
fn how(old: &Digest, new: &Digest, store: &Store) -> Result<Option<String>, CliError> {
    let (old, new) = match (store.sound_object(old), store.sound_object(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(StoreError::Damaged { .. }), _) | (_, Err(StoreError::Damaged { .. })) => return Ok(None),
        (Err(error), _) | (_, Err(error)) => return Err(store_error(error)),
    };
    let [before, after] = [&old, &new].map(|path| columns::digests(path).map_err(CliError::store));
    let before: BTreeMap<String, Digest> = before?.1.into_iter().collect();
    let (_, after) = after?;
    if after.len() != before.len() || after.iter().any(|(name, _)| !before.contains_key(name)) {
        return Ok(Some("other columns".to_owned()));
    }
    let names: Vec<&str> =
        after.iter().filter(|(name, digest)| before.get(name) != Some(digest)).map(|(name, _)| name.as_str()).collect();
    let place = columns::first_difference(&old, &new).map_err(CliError::store)?;
    let place = place.map_or(String::new(), |place| format!(", first in {place}"));
    Ok(Some(format!("{}{place}", names.join(", "))))
}

fn describe(difference: &RunDifference, style: Style) -> String {
    let title = |text: &str| style.paint(Tone::Strong, text);
    let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let arrow = |change: &ValueChange| format!("{} -> {}", shown(&change.old), shown(&change.new));
    let mut lines = vec![format!("{} -> {}", difference.old, difference.new)];
    if !difference.circumstances.is_empty() {
        lines.push(title("circumstances"));
        lines.extend(difference.circumstances.iter().map(|change| format!("  {}: {}", change.what, arrow(change))));
    }
    if !difference.parameters.is_empty() {
        lines.push(title("parameters"));
        for change in &difference.parameters {
            lines.push(format!(
                "  {}: {}  {}",
                change.what,
                arrow(change),
                style.paint(Tone::Dim, &several(&change.instances))
            ));
        }
    }
    for (name, ids) in [("only in the old run", &difference.only_old), ("only in the new run", &difference.only_new)] {
        if !ids.is_empty() {
            lines.push(title(name));
            lines.extend(ids.iter().map(|id| format!("  {id}")));
        }
    }
    if !difference.results.is_empty() {
        lines.push(title("results"));
        for change in &difference.results {
            let how = change.how.as_deref().unwrap_or("the old object is no longer in the cache");
            lines.push(format!("  {} {}: {how}", change.id, change.artifact));
        }
    }
    lines.push(format!("{} stages have the same results", difference.same));
    lines.join("\n")
}

/// `model[seed=1] and 11 more`.
fn several(ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        [id] => id.clone(),
        [id, rest @ ..] => format!("{id} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_compared_field_by_field() {
        let old = flat(&json!({ "epochs": 10, "sampler": { "kind": "uniform" }, "k": [10, 20], "rows": [{ "x": 1 }] }));
        let new = flat(&json!({ "epochs": 20, "sampler": { "kind": "uniform" }, "k": [10, 20], "rows": [{ "x": 2 }] }));
        let changes = changed(&old, &new);
        let text = |name: &str, old: &str, new: &str| (name.to_owned(), old.to_owned(), new.to_owned());
        assert_eq!(changes, [text("epochs", "10", "20"), text("rows[0].x", "1", "2")]);
    }
}
