//! `describe`: tables of data sets, filter steps, splits and their audits, and a figure of each split.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, UInt64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::columns::{finite, texts, u32s};
use super::report::default_formats;
use super::tables::files_to_batch;
use crate::engine::stage::{Context, Input, Stage, StageError, parse};
use crate::report::{self, Field, Format, Listing, Popularity, Value as Shown, list};
use crate::spec::{Arity, Form, Output, ParamError, Port};
use crate::store::parquet;

pub struct Describe;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Display names of labels, such as those of data sets and scenarios.
    #[serde(default)]
    pub titles: BTreeMap<String, String>,
    /// In what the tables are spelled.
    #[serde(default = "default_formats")]
    pub formats: Vec<Format>,
    /// What the names of files begin with.
    #[serde(default = "default_file")]
    pub file: String,
}

fn default_file() -> String {
    "data".to_owned()
}

impl Stage for Describe {
    type Params = Params;

    const KIND: &'static str = "describe";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Tables of data sets, filter steps, splits and their audits, and figures of their shift.";
    const PORTS: &'static [Port] = &[
        Port { name: "data", doc: "Data sets.", artifacts: &["summary"], arity: Arity::OptionalMany },
        Port {
            name: "sources",
            doc: "Data sets whose licences and citations are noted under the table of data sets.",
            artifacts: &["sources"],
            arity: Arity::OptionalMany,
        },
        Port {
            name: "steps",
            doc: "Data sets whose filter steps are shown.",
            artifacts: &["steps"],
            arity: Arity::OptionalMany,
        },
        Port { name: "splits", doc: "Splits.", artifacts: &["audit", "catalogue"], arity: Arity::OptionalMany },
    ];
    const OUTPUTS: &'static [Output] =
        &[Output { name: "files", doc: "Spelled tables and figures.", form: Form::Files }];

    fn check(params: &Params) -> Result<(), ParamError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if params.file.is_empty() || params.file.starts_with('.') || !params.file.chars().all(plain) {
            let message = "a file name of ASCII letters, digits, `-`, `_` and `.` is needed".to_owned();
            return Err(ParamError { path: vec!["file".to_owned()], message, help: None });
        }
        Ok(())
    }
}

/// Runs the stage.
pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Describe>(params)?;
    let inputs = |port: &str| context.inputs(port).collect::<Vec<_>>();
    let (data, steps, splits) = (inputs("data"), inputs("steps"), inputs("splits"));
    if data.is_empty() && steps.is_empty() && splits.is_empty() {
        return Err(StageError::new("there is nothing to describe").with_help("connect `data`, `steps` or `splits`"));
    }
    let audits = splits.iter().map(|split| AuditTable::read(split)).collect::<Result<Vec<_>, _>>()?;
    let rows = |name: &str, fields: &[Measured]| audit_rows(&params, name, fields, &splits, &audits);
    let listings = [
        ("sets", Listing { notes: terms(&params, &inputs("sources"))?, ..data_sets(&params, &data)? }),
        ("steps", filter_steps(&params, &steps)?),
        ("audit", Listing { facts: vec![AUDIT_FACT.to_owned()], ..rows("Contents and leaks of the splits.", AUDIT)? }),
        (
            "shift",
            Listing { facts: vec![SHIFT_FACT.to_owned()], ..rows("Popularity in the parts of the splits.", SHIFT)? },
        ),
    ];
    let mut files = Vec::new();
    for (name, listing) in listings {
        if listing.rows.is_empty() {
            continue;
        }
        let table = list(Listing { label: format!("tab:{}-{name}", params.file), ..listing });
        for &format in &params.formats {
            let text = report::render(&table, format, None).map_err(|error| StageError::new(error.to_string()))?;
            files.push((format!("{}-{name}.{}", params.file, format.extension()), text));
        }
    }
    for (index, (split, name)) in splits.iter().zip(file_names(&splits)).enumerate() {
        let figure = figure(title(&params, split, index, splits.len(), "Split"), split)?;
        files.push((format!("{}-popularity{name}.svg", params.file), report::popularity(&figure)));
    }
    parquet::write(&context.output("files"), &files_to_batch(&files)?, &super::made_by::<Describe>())?;
    Ok(())
}

/// What a source is called: by its labels, or, without any, by its place.
fn title(params: &Params, input: &Input, index: usize, of: usize, without: &str) -> String {
    let shown = |(_, label): &(String, String)| params.titles.get(label).unwrap_or(label).clone();
    match &input.labels[..] {
        [] if of == 1 => without.to_owned(),
        [] => format!("{without} {}", index + 1),
        labels => labels.iter().map(shown).collect::<Vec<_>>().join(", "),
    }
}

/// Ends of file names: the labels, or numbers where these do not tell sources apart in plain characters.
fn file_names(inputs: &[&Input]) -> Vec<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let labels = |input: &&Input| input.labels.iter().map(|(_, label)| format!("-{label}")).collect::<String>();
    let names: Vec<String> = inputs.iter().map(|input| labels(input).chars().map(plain).collect()).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() == names.len() { names } else { (1..=inputs.len()).map(|number| format!("-{number}")).collect() }
}

fn label(input: &Input) -> String {
    input.labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect::<Vec<_>>().join(",")
}

/// `title` may have the title of a group of columns before a `/`.
fn field(name: &str, title: &str, digits: usize) -> Field {
    let (group, title) = title.split_once('/').unwrap_or(("", title));
    Field { name: name.to_owned(), group: group.to_owned(), title: title.to_owned(), digits }
}

/// Users, items, interactions and how dense they are.
fn data_sets(params: &Params, data: &[&Input]) -> Result<Listing, StageError> {
    let mut rows = Vec::new();
    for (index, input) in data.iter().enumerate() {
        let counts = Counts::read(input)?;
        let (users, items) = (counts.of("users")?, counts.of("items")?);
        let interactions = counts.all(".rows");
        let per = |n: f64| if n > 0.0 { Shown::Number(interactions / n) } else { Shown::Missing };
        let density =
            if users * items > 0.0 { Shown::Number(100.0 * interactions / (users * items)) } else { Shown::Missing };
        let values = vec![
            Shown::Number(users),
            Shown::Number(items),
            Shown::Number(interactions),
            density,
            per(users),
            per(items),
        ];
        rows.push((label(input), title(params, input, index, data.len(), "Data"), values));
    }
    Ok(Listing {
        caption: "Data sets.".to_owned(),
        corner: ("Data".to_owned(), "data".to_owned()),
        fields: vec![
            field("users", "Users", 0),
            field("items", "Items", 0),
            field("interactions", "Interactions", 0),
            field("density_percent", "Density, %", 3),
            field("per_user", "Interactions per/user", 2),
            field("per_item", "Interactions per/item", 2),
        ],
        rows,
        ..Listing::default()
    })
}

/// A sentence for the licence and one for the citation of each data set, as its files declare them.
fn terms(params: &Params, sources: &[&Input]) -> Result<Vec<String>, StageError> {
    let mut notes: Vec<String> = Vec::new();
    for (index, input) in sources.iter().enumerate() {
        let batch = parquet::read(input.artifact("sources")?)?;
        let title = title(params, input, index, sources.len(), "Data");
        for name in ["licence", "citation"] {
            let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            let column =
                column.ok_or_else(|| StageError::new(format!("an artifact `sources` has no text `{name}`")))?;
            let told: BTreeSet<&str> = column.iter().map(|text| text.unwrap_or("not recorded")).collect();
            let told: Vec<&str> = told.into_iter().map(|text| text.trim_end_matches('.')).collect();
            notes.push(format!("{title}, {name}: {}.", told.join("; ")));
        }
    }
    Ok(notes)
}

/// The artifact `summary` of a data set.
struct Counts(Vec<(String, f64)>);

impl Counts {
    fn read(input: &Input) -> Result<Self, StageError> {
        let batch = parquet::read(input.artifact("summary")?)?;
        let names = texts(&batch, "name")?;
        let values = batch.column_by_name("value").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let values = values.ok_or_else(|| {
            StageError::new("a summary that came in through port `data` does not count rows")
                .with_help("connect `data` to stages that read or generate data")
        })?;
        Ok(Self((0..names.len()).map(|row| (names.value(row).to_owned(), values.value(row) as f64)).collect()))
    }

    fn of(&self, name: &str) -> Result<f64, StageError> {
        let found = self.0.iter().find(|(own, _)| own == name).map(|&(_, value)| value);
        found.ok_or_else(|| {
            StageError::new(format!("a summary that came in through port `data` has no count `{name}`"))
                .with_help("connect `data` to stages that read or generate data")
        })
    }

    /// The sum of all counts whose names end like this.
    fn all(&self, end: &str) -> f64 {
        self.0.iter().filter(|(name, _)| name.ends_with(end)).map(|&(_, value)| value).sum()
    }
}

/// What each filter step left.
fn filter_steps(params: &Params, steps: &[&Input]) -> Result<Listing, StageError> {
    let mut rows = Vec::new();
    for (index, input) in steps.iter().enumerate() {
        let batch = parquet::read(input.artifact("steps")?)?;
        let (names, rules) = (texts(&batch, "step")?, texts(&batch, "rule")?);
        let count = |name: &str, row: usize| {
            let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let column = column.ok_or_else(|| StageError::new(format!("an artifact `steps` has no count `{name}`")))?;
            Ok::<f64, StageError>(column.value(row) as f64)
        };
        let title = title(params, input, index, steps.len(), "Data");
        for row in 0..names.len() {
            let mut values = vec![Shown::Text(names.value(row).to_owned()), Shown::Text(rules.value(row).to_owned())];
            for name in ["rows_before", "rows", "users_before", "users", "items_before", "items"] {
                values.push(Shown::Number(count(name, row)?));
            }
            rows.push((label(input), title.clone(), values));
        }
    }
    Ok(Listing {
        caption: "Counts before and after each filter step.".to_owned(),
        corner: ("Data".to_owned(), "data".to_owned()),
        fields: vec![
            field("step", "Step", 0),
            field("rule", "What stays", 0),
            field("rows_before", "Rows/before", 0),
            field("rows", "Rows/after", 0),
            field("users_before", "Users/before", 0),
            field("users", "Users/after", 0),
            field("items_before", "Items/before", 0),
            field("items", "Items/after", 0),
        ],
        rows,
        ..Listing::default()
    })
}

/// A measure of audits as a column: name, title, digits, and by what it is multiplied.
type Measured = (&'static str, &'static str, usize, f64);

const AUDIT: &[Measured] = &[
    ("rows", "Rows", 0, 1.0),
    ("users", "Users", 0, 1.0),
    ("items", "Items", 0, 1.0),
    ("duplicates", "Repeated", 0, 1.0),
    ("overlap", "Shared", 0, 1.0),
    ("unseen_users", "New/users", 0, 1.0),
    ("unseen_items", "New/items", 0, 1.0),
    ("cold_share", "Cold, %", 2, 100.0),
    ("time_travel", "Early, %/own", 2, 100.0),
    ("time_travel_global", "Early, %/all", 2, 100.0),
    ("time_ties", "Tied users, %", 2, 100.0),
];

const AUDIT_FACT: &str = "Rows, users and items are those of the finished parts. Before rows were dropped: repeated pairs; \
                          pairs shared with other parts; users and items that train lacks, and the share of pairs with \
                          one. Early: rows before the last training row of their own user, or of all. Tied: users for whom the \
                          cut in time before the part falls between rows of equal time.";

const SHIFT: &[Measured] = &[
    ("gini_all", "Gini/all", 4, 1.0),
    ("gini_present", "Gini/present", 4, 1.0),
    ("top_share", "Top 20 %/own", 3, 1.0),
    ("top_train_share", "Top 20 %/train", 3, 1.0),
    ("mean_train_count", "Count", 1, 1.0),
    ("js_train", "JS, bits", 4, 1.0),
    ("log_correlation", "Corr.", 3, 1.0),
];

const SHIFT_FACT: &str = "Gini of item counts over all items and over those present; share of rows on the top items of the part \
                          itself, as many as 20 % of the items of train, and on the top 20 % of items of train; mean train count of a row's item; Jensen-Shannon divergence to \
                          train (counts + 1); correlation of log(1 + count) with train.";

/// The artifact `audit`: part, measure, value.
struct AuditTable(Vec<(String, String, f64)>);

impl AuditTable {
    fn read(split: &Input) -> Result<Self, StageError> {
        let batch = parquet::read(split.artifact("audit")?)?;
        let (parts, names) = (texts(&batch, "part")?, texts(&batch, "measure")?);
        let of = |row: usize| format!("`{}` of `{}`", names.value(row), parts.value(row));
        let values = finite(split, "audit", &batch, "value", of)?;
        let row = |row: usize| (parts.value(row).to_owned(), names.value(row).to_owned(), values[row]);
        Ok(Self((0..values.len()).map(row).collect()))
    }

    fn parts(&self) -> Vec<&str> {
        let mut parts: Vec<&str> = self.0.iter().map(|(part, _, _)| part.as_str()).collect();
        parts.dedup();
        parts
    }

    /// The sum over what a part is compared with; overlaps have several values.
    fn value(&self, part: &str, measure: &str) -> Option<f64> {
        let own = self.0.iter().filter(|(other, name, _)| other == part && name == measure);
        own.map(|&(_, _, value)| value).reduce(|sum, value| sum + value)
    }
}

/// A row per split and part.
fn audit_rows(
    params: &Params,
    caption: &str,
    fields: &[Measured],
    splits: &[&Input],
    audits: &[AuditTable],
) -> Result<Listing, StageError> {
    // Columns that no split has a value for, such as those of time, are left out.
    let has = |name: &str| audits.iter().any(|audit| audit.0.iter().any(|(_, measure, _)| measure == name));
    let fields: Vec<&Measured> = fields.iter().filter(|(name, ..)| has(name)).collect();
    let mut rows = Vec::new();
    for (index, (split, audit)) in splits.iter().zip(audits).enumerate() {
        let title = title(params, split, index, splits.len(), "Split");
        for part in audit.parts() {
            let value = |(name, _, _, factor): &&Measured| {
                audit.value(part, name).map_or(Shown::Missing, |value| Shown::Number(value * factor))
            };
            let values = fields.iter().map(value);
            let values = [Shown::Text(part.to_owned())].into_iter().chain(values).collect();
            rows.push((label(split), title.clone(), values));
        }
    }
    let measured = fields.iter().map(|(name, title, digits, factor)| {
        field(&if *factor == 100.0 { format!("{name}_percent") } else { (*name).to_owned() }, title, *digits)
    });
    Ok(Listing {
        caption: caption.to_owned(),
        corner: ("Split".to_owned(), "split".to_owned()),
        fields: [field("part", "Part", 0)].into_iter().chain(measured).collect(),
        rows,
        ..Listing::default()
    })
}

fn figure(title: String, split: &Input) -> Result<Popularity, StageError> {
    let batch = parquet::read(split.artifact("catalogue")?)?;
    let counts = |part: &str| Ok::<_, StageError>(u32s(&batch, part)?.to_vec());
    let tests = vec![
        ("Test in distribution (iid)".to_owned(), counts("iid")?),
        ("Test out of distribution (ood)".to_owned(), counts("ood")?),
    ];
    Ok(Popularity { title, train: counts("train")?, tests })
}

#[cfg(test)]
mod tests;
