//! The audit of a split as artifacts, and what is made of it: tables, and the end of a run whose strict rules are broken.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::error::ArrowError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tables::{DOMAIN, ITEMS, batch};
use crate::data::ids::keys_from_batch;
use crate::engine::stage::{Input, StageError};
use crate::shift::{Audit, Breach, Check, Domain, Log, Role, Split};
use crate::spec::Column;
use crate::store::parquet;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The rules that end the run where they are broken; the others are only measured.
    #[serde(default)]
    pub strict: Vec<Check>,
}

/// Columns of the artifact `audit`.
pub const MEASURES: &[Column] = &[
    Column { name: "part", dtype: "utf8", doc: "`train`, `valid`, `iid` or `ood`." },
    Column { name: "measure", dtype: "utf8", doc: "What is measured; docs/data.md has the list." },
    Column { name: "against", dtype: "utf8?", doc: "The other part of an overlap." },
    Column { name: "value", dtype: "f64", doc: "A count, a share from 0 to 1, or a statistic." },
];

/// Columns of the artifact `catalogue`, one row per item.
pub const CATALOGUE: &[Column] = &[
    Column { name: "item", dtype: "u32", doc: "Dense id of the item, from 0." },
    Column { name: "train", dtype: "u32", doc: "Rows in train." },
    Column { name: "valid", dtype: "u32", doc: "Rows in validation." },
    Column { name: "iid", dtype: "u32", doc: "Rows in the test in distribution." },
    Column { name: "ood", dtype: "u32", doc: "Rows in the test out of distribution." },
    DOMAIN,
];

/// The artifact `audit`.
pub fn measures(audit: &Audit) -> Result<RecordBatch, ArrowError> {
    let all = || audit.measures.iter();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all().map(|measure| measure.part.name()))),
        Arc::new(StringArray::from_iter_values(all().map(|measure| measure.name))),
        Arc::new(all().map(|measure| measure.against.map(Role::name)).collect::<StringArray>()),
        Arc::new(Float64Array::from_iter_values(all().map(|measure| measure.value))),
    ];
    batch(MEASURES, arrays)
}

/// The artifact `catalogue`.
pub fn catalogue(audit: &Audit, split: &Split) -> Result<RecordBatch, ArrowError> {
    let n = split.items.old_id.len();
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from_iter_values(0..n as u32))];
    for role in Role::USED {
        arrays.push(Arc::new(UInt32Array::from_iter_values(audit.counts[role.index()].iter().copied())));
    }
    arrays.push(domains(split));
    batch(CATALOGUE, arrays)
}

/// The domain of each item, where there are two.
fn domains(split: &Split) -> ArrayRef {
    let domain = |item: usize| split.domains.as_ref().and_then(|domains| domains[item]).map(Domain::name);
    Arc::new((0..split.items.old_id.len()).map(domain).collect::<StringArray>())
}

/// The artifact `items`: ids and keys, and with them the domain of each item.
pub fn with_domains(keys: &RecordBatch, split: &Split) -> Result<RecordBatch, ArrowError> {
    batch(ITEMS, keys.columns().iter().cloned().chain([domains(split)]).collect())
}

/// Ends the run if a strict rule is broken.
pub fn enforce(params: &Params, audit: &Audit, log: &Log, data: &Input) -> Result<(), StageError> {
    let mut breaches = audit.breaches(&params.strict).peekable();
    if breaches.peek().is_none() {
        return Ok(());
    }
    let (users, items) = (parquet::read(data.artifact("users")?)?, parquet::read(data.artifact("items")?)?);
    let (users, items) = (keys_from_batch(&users)?, keys_from_batch(&items)?);
    let key = |keys: &StringArray, id: u32| {
        let id = id as usize;
        if id < keys.len() { keys.value(id).to_owned() } else { format!("#{id}") }
    };
    let pair = |&row: &u32| {
        let row = row as usize;
        format!("{} {}", key(users, log.rows.user[row]), key(items, log.rows.item[row]))
    };
    let told = |breach: &Breach| {
        let pairs: Vec<String> = breach.rows.iter().map(pair).collect();
        let (part, more) = (breach.part.name(), if breach.count > pairs.len() { ", ..." } else { "" });
        let what = match breach.check {
            Check::Overlap => "pairs that another part has too",
            Check::Duplicates => "rows that repeat a pair",
            Check::Unseen => "pairs with a user or item that train lacks",
            Check::TimeTravel => "rows that are earlier than the last training row of their user",
            Check::TimeTravelGlobal => "rows that are earlier than the last training row of all",
        };
        let shown = format!("{}{more}", pairs.join(", "));
        format!("`{}`: `{part}` has {} {what}, the first (user item): {shown}", breach.check.name(), breach.count)
    };
    let told: Vec<String> = breaches.map(told).collect();
    Err(StageError::new(format!("the split breaks what `audit.strict` demands\n{}", told.join("\n"))).with_help(
        "choose another scenario, clean the data, or take the rule out of `strict` to have it only measured",
    ))
}

#[cfg(test)]
mod tests;
