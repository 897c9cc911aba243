//! JSON lines: one JSON object per line, with the columns of an interaction at named places in it.

use std::borrow::Cow;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lines::{LineFormat, Lines};
use super::{FormatError, Row, Scan, Sink, TableColumns, cut, weight};
use crate::data::open::Stream;
use crate::data::time::TimeUnit;

/// JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonLines {
    /// Keys of each object; `review.stars` is the key `stars` of the object under `review`.
    pub columns: TableColumns,
    /// How times are written.
    #[serde(default)]
    pub time_unit: TimeUnit,
}

impl JsonLines {
    pub(super) fn read(&self, path: &Path, stream: Stream, sink: Sink) -> Result<Scan, FormatError> {
        Lines::new(path, stream)?.read_timed(self, self.time_unit, sink)
    }
}

impl LineFormat for JsonLines {
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String> {
        let object: Value = serde_json::from_str(line).map_err(|error| format!("no JSON object: {error}"))?;
        let TableColumns { user, item, time, weight: rating } = &self.columns;
        let user = key(at(&object, user)?, "user")?;
        let item = key(at(&object, item)?, "item")?;
        let time = match time {
            Some(time) => Some(
                self.time_unit.parse(&scalar(at(&object, time)?).ok_or("the time is neither a number nor text")?)?,
            ),
            None => None,
        };
        let weight = match rating {
            Some(rating) => Some(weight(&scalar(at(&object, rating)?).ok_or("the weight is no number")?)?),
            None => None,
        };
        emit(Row { user: &user, item: &item, time, weight });
        Ok(())
    }
}

/// The value at a dotted path; a key that has dots itself goes first.
fn at<'a>(object: &'a Value, path: &str) -> Result<&'a Value, String> {
    let value = object.get(path).or_else(|| path.split('.').try_fold(object, |value, key| value.get(key)));
    value.ok_or_else(|| match object.as_object() {
        Some(object) => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            format!("no `{path}`; the object has: {}", cut(&keys.join(", ")))
        }
        None => "a JSON value that is no object".to_owned(),
    })
}

/// Text or an integer of 64 bits, whose digits are kept.
fn key<'a>(value: &'a Value, what: &str) -> Result<Cow<'a, str>, String> {
    match value {
        Value::Number(number) if number.is_f64() => {
            Err(format!("the {what} `{number}` is no integer of 64 bits; ids are such integers or text"))
        }
        value => match scalar(value) {
            Some(key) if !key.is_empty() => Ok(key),
            Some(_) | None if value.is_null() || value == "" => Err(format!("no {what}")),
            _ => Err(format!("the {what} is neither text nor an integer")),
        },
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.trim().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}
