//! The audit of a split as artifacts, and what is made of it: tables, and the end of a run whose strict rules are broken.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::error::ArrowError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expect::grouped;
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

/// The share of a part's rows that may be dropped, and of its users that equal times may touch, without a warning.
const LOST: f64 = 0.2;
const TIED: f64 = 0.05;
/// Fewer users make no test, nor does a smaller share of those in train.
const FEW_USERS: usize = 100;
const FEW: f64 = 0.01;

/// What should be known wherever results of a split are shown.
pub fn warnings(split: &Split) -> Vec<String> {
    let found = &split.found;
    let mut warnings = Vec::new();
    let percent = |part: usize, whole: usize| format!("{:.1} %", 100.0 * part as f64 / whole as f64);
    let count = |name: &str| split.count(name).unwrap_or(0).max(0) as usize;
    let (users, lost) = (split.users.old_id.len(), count("users_not_in_train"));
    if lost > users {
        let all = grouped(users + lost);
        warnings.push(format!("{} of {all} users have nothing in train and are left out", grouped(lost)));
    }
    for role in Role::USED.into_iter().filter(|role| found.rows[role.index()] > 0) {
        let (name, rows, kept) = (role.name(), found.rows[role.index()], found.kept(role));
        if (rows - kept) as f64 > LOST * rows as f64 {
            let why = [
                (found.unseen[role.index()], "with a user or item that train lacks"),
                (if role == Role::Train { 0 } else { found.also_in_train(role) }, "whose pair is in train"),
                (found.repeated[role.index()], "that repeat a pair"),
            ];
            let why: Vec<String> = why
                .iter()
                .filter(|(rows, _)| *rows > 0)
                .map(|(rows, what)| format!("{} {what}", grouped(*rows)))
                .collect();
            let (lost, of, left) = (grouped(rows - kept), grouped(rows), grouped(found.users[role.index()]));
            warnings
                .push(format!("`{name}` loses {lost} of {of} rows ({}); {left} users are left in it", why.join(", ")));
        }
        let own = found.users[role.index()];
        if matches!(role, Role::Iid | Role::Ood) && (own < FEW_USERS || (own as f64) < FEW * users as f64) {
            warnings.push(format!("`{name}` tests {} of {} users", grouped(own), grouped(users)));
        }
    }
    for ties in split.ties.iter().filter(|ties| ties.tied_users as f64 > TIED * ties.users as f64) {
        let (share, rows) = (percent(ties.tied_users, ties.users), percent(ties.tied_rows, ties.rows));
        let name = ties.part.name();
        warnings.push(format!(
            "the cut before `{name}` falls between equal times for {share} of its users ({rows} of its rows): the order \
             of rows decides there"
        ));
    }
    warnings
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
            Check::TimeTies => "rows at the time of rows before its cut",
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
