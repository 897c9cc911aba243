//! RecBole's atomic files: tab-separated text whose header gives each column a name and a type. The rest is read as
//! delimited text.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::delimited::{ColumnRef, Delimited, TextColumns};
use super::lines::Lines;
use super::{FormatError, RowSink, Scan};
use crate::data::open::Stream;
use crate::data::time::TimeUnit;

/// A RecBole atomic file of interactions (`.inter`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recbole {
    /// A column of type `token`.
    #[serde(default = "user_id")]
    pub user: String,
    /// A column of type `token`.
    #[serde(default = "item_id")]
    pub item: String,
    /// A column of type `float`; if not given, `rating` where the file has it.
    #[serde(default)]
    pub weight: Option<String>,
    /// A column of type `float`, if not given, `timestamp` where the file has it.
    #[serde(default)]
    pub time: Option<String>,
    /// How times are written; RecBole's own files have seconds.
    #[serde(default)]
    pub time_unit: TimeUnit,
}

impl Default for Recbole {
    fn default() -> Self {
        Self { user: user_id(), item: item_id(), weight: None, time: None, time_unit: TimeUnit::Seconds }
    }
}

fn user_id() -> String {
    "user_id".to_owned()
}

fn item_id() -> String {
    "item_id".to_owned()
}

const TYPES: [&str; 4] = ["token", "token_seq", "float", "float_seq"];

/// A column of the header, `name:type`.
struct Typed<'a> {
    name: &'a str,
    kind: &'a str,
}

impl Recbole {
    pub(super) fn read(&self, path: &Path, stream: Stream, sink: RowSink) -> Result<Scan, FormatError> {
        let mut lines = Lines::new(path, stream)?;
        let Some(header) = lines.next_line()? else { return Ok(Scan::default()) };
        let columns = self.columns(path, &header)?;
        lines.put_back();
        let text = Delimited {
            separator: "\t".to_owned(),
            header: true,
            quoted: false,
            comment: None,
            columns,
            time_unit: self.time_unit,
        };
        text.read_lines(path, lines, sink)
    }

    fn columns(&self, path: &Path, header: &str) -> Result<TextColumns, FormatError> {
        let wrong = |reason: String| FormatError::read(path, reason);
        let mut typed = Vec::new();
        for column in header.split('\t') {
            let (name, kind) = column.trim().rsplit_once(':').unwrap_or((column.trim(), ""));
            if !TYPES.contains(&kind) {
                let types = TYPES.join(", ");
                let column = super::cut(column);
                return Err(wrong(format!("the header's column `{column}` must be `name:type`, of type {types}")));
            }
            typed.push(Typed { name, kind });
        }
        let find = |name: &str, kind: &str| {
            let Some(index) = typed.iter().position(|column| column.name == name) else {
                let found = typed.iter().map(|column| column.name.to_owned()).collect();
                return Err(FormatError::NoColumn { path: path.to_owned(), column: name.to_owned(), found });
            };
            match typed[index].kind {
                own if own == kind => Ok(ColumnRef::Number(index as u64 + 1)),
                own => Err(wrong(format!("the column `{name}` is of type {own}, and must be of type {kind}"))),
            }
        };
        let optional = |asked: &Option<String>, usual: &str| match asked {
            Some(name) => find(name, "float").map(Some),
            None if typed.iter().any(|column| column.name == usual) => find(usual, "float").map(Some),
            None => Ok(None),
        };
        Ok(TextColumns {
            user: find(&self.user, "token")?,
            item: find(&self.item, "token")?,
            time: optional(&self.time, "timestamp")?,
            weight: optional(&self.weight, "rating")?,
        })
    }
}
