//! Delimited text: any one-byte separator, with or without a header, columns by name or by number. Read by polars;
//! every column as text, so that a value that does not fit costs its line and not the file.

use std::io::{Cursor, Read};
use std::path::Path;

use polars::prelude::{CsvReadOptions, DataFrame, SerReader, StringChunked};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FormatError, Malformed, Row, Rows, Scan, Sink, cut, weight};

/// Delimited text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delimited {
    /// One ASCII character, such as `,` or a tab.
    #[serde(default = "comma")]
    pub separator: char,
    /// Whether the first line names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// Lines that start with this are passed over.
    #[serde(default)]
    pub comment: Option<String>,
    pub columns: TextColumns,
    /// What one unit of the time column is.
    #[serde(default)]
    pub time_unit: TimeUnit,
}

/// Which column is what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextColumns {
    pub user: Column,
    pub item: Column,
    /// Numbers since 1970; fractions of a second are cut off.
    #[serde(default)]
    pub time: Option<Column>,
    /// A rating, watch ratio or count.
    #[serde(default)]
    pub weight: Option<Column>,
}

/// A column by name, or by number from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    Name(String),
    Number(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    #[default]
    Seconds,
    Milliseconds,
}

fn comma() -> char {
    ','
}

fn yes() -> bool {
    true
}

impl Delimited {
    pub(super) fn read(&self, path: &Path, mut stream: impl Read, sink: Sink) -> Result<Scan, FormatError> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|error| FormatError::read(path, error))?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if bytes.trim_ascii().is_empty() {
            return Ok(Scan::default());
        }
        let text = str::from_utf8(bytes)
            .map_err(|error| FormatError::read(path, format!("not UTF-8 text at byte {}", error.valid_up_to())))?;
        let table = self.table(text).map_err(|error| FormatError::read(path, error))?;
        let column = |column: &Column| text_column(&table, column, path);
        let (users, items) = (column(&self.columns.user)?, column(&self.columns.item)?);
        let times = self.columns.time.as_ref().map(column).transpose()?;
        let weights = self.columns.weight.as_ref().map(column).transpose()?;

        let mut scan = Scan::default();
        let mut rows = Rows::new(sink);
        let mut lines = None;
        for index in 0..table.height() {
            let row = (|| {
                let user = field(users, index).ok_or("no user")?;
                let item = field(items, index).ok_or("no item")?;
                let time = times.map(|times| self.time(field(times, index).ok_or("no time")?)).transpose()?;
                let weight = weights.map(|weights| weight(field(weights, index).ok_or("no weight")?)).transpose()?;
                Ok::<_, String>(Row { user, item, time, weight })
            })();
            match row {
                Ok(row) => rows.push(row)?,
                Err(reason) => {
                    let lines: &Vec<(u64, &str)> = lines.get_or_insert_with(|| self.lines(text));
                    // A quoted field may hold line ends; the row's number is then the best that can be said.
                    let (line, text) = lines.get(index).copied().unwrap_or((index as u64 + 1, ""));
                    if !text.trim().is_empty() {
                        scan.reject(Malformed { line, text: cut(text), reason });
                    }
                }
            }
        }
        scan.rows = rows.finish()?;
        Ok(scan)
    }

    fn table(&self, text: &str) -> polars::prelude::PolarsResult<DataFrame> {
        CsvReadOptions::default()
            .with_has_header(self.header)
            .with_infer_schema_length(Some(0))
            .with_rechunk(true)
            .map_parse_options(|options| {
                options
                    .with_separator(self.separator as u8)
                    .with_comment_prefix(self.comment.as_deref())
                    .with_truncate_ragged_lines(true)
            })
            .into_reader_with_file_handle(Cursor::new(text.as_bytes()))
            .finish()
    }

    /// The lines that hold rows, each with its number from 1.
    fn lines<'a>(&self, text: &'a str) -> Vec<(u64, &'a str)> {
        let comment = |line: &str| self.comment.as_deref().is_some_and(|prefix| line.starts_with(prefix));
        let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let lines = lines.zip(1..).filter(|(line, _)| !comment(line)).map(|(line, number)| (number, line));
        lines.skip(usize::from(self.header)).collect()
    }

    fn time(&self, field: &str) -> Result<i64, String> {
        let wrong = || format!("the time `{}` is not a number of seconds or milliseconds", cut(field));
        let units = match field.parse::<i64>() {
            Ok(units) => units,
            Err(_) => {
                let units = field.parse::<f64>().map_err(|_| wrong())?;
                if !(i64::MIN as f64..i64::MAX as f64).contains(&units) {
                    return Err(wrong());
                }
                units.floor() as i64
            }
        };
        Ok(match self.time_unit {
            TimeUnit::Seconds => units,
            TimeUnit::Milliseconds => units.div_euclid(1000),
        })
    }
}

/// What stands in a field, if anything.
fn field(column: &StringChunked, row: usize) -> Option<&str> {
    column.get(row).map(str::trim).filter(|field| !field.is_empty())
}

fn text_column<'a>(table: &'a DataFrame, column: &Column, path: &Path) -> Result<&'a StringChunked, FormatError> {
    let found = match column {
        Column::Name(name) => table.column(name).ok(),
        Column::Number(number) => {
            number.checked_sub(1).and_then(|index| table.columns().get(usize::try_from(index).ok()?))
        }
    };
    let no_column = || FormatError::NoColumn {
        path: path.to_owned(),
        column: column.to_string(),
        found: table.get_column_names().iter().map(|name| name.to_string()).collect(),
    };
    found.ok_or_else(no_column)?.str().map_err(|error| FormatError::read(path, error))
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Number(number) => serializer.serialize_u64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Column;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a column, or its number from 1")
            }

            fn visit_str<E>(self, name: &str) -> Result<Column, E> {
                Ok(Column::Name(name.to_owned()))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Column, E> {
                if number == 0 {
                    return Err(E::invalid_value(serde::de::Unexpected::Unsigned(0), &self));
                }
                Ok(Column::Number(number))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Column {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Column".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a column, or its number from 1.",
            "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 1 }],
        })
    }
}
