//! JSON lines: one JSON object per line, with the columns of an interaction at named places in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::lines::{LineFormat, Lines};
use super::{FormatError, Row, RowSink, Scan, TableColumns, cut, weight};
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
    pub(super) fn read(&self, path: &Path, stream: Stream, sink: RowSink) -> Result<Scan, FormatError> {
        Lines::new(path, stream)?.read_timed(self, self.time_unit, sink)
    }
}

impl LineFormat for JsonLines {
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String> {
        let TableColumns { user, item, time, weight: rating } = &self.columns;
        let paths = [Some(user), Some(item), time.as_ref(), rating.as_ref()];
        let mut found = [const { FieldValue::Missing }; 4];
        let mut text = serde_json::Deserializer::from_str(line);
        PathVisitor { path: String::new(), paths, found: &mut found }
            .deserialize(&mut text)
            .and_then(|()| text.end())
            .map_err(|error| format!("no JSON object: {error}"))?;
        for (path, found) in paths.iter().zip(&found) {
            if let (Some(path), FieldValue::Missing) = (path, found) {
                return Err(missing(line, path));
            }
        }
        let [user, item, at, rating] = &found;
        emit(Row {
            user: user.key("user")?,
            item: item.key("item")?,
            time: match time {
                Some(_) => Some(self.time_unit.parse(at.scalar().ok_or("the time is neither a number nor text")?)?),
                None => None,
            },
            weight: match self.columns.weight {
                Some(_) => Some(weight(rating.scalar().ok_or("the weight is no number")?)?),
                None => None,
            },
        });
        Ok(())
    }
}

/// The message for an object without a column.
fn missing(line: &str, path: &str) -> String {
    match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(line) {
        Ok(object) => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            format!("no `{path}`; the object has: {}", cut(&keys.join(", ")))
        }
        Err(_) => "a JSON value that is no object".to_owned(),
    }
}

/// What stands at a path.
#[derive(Clone, Debug)]
enum FieldValue {
    Missing,
    Null,
    Text(String),
    Integer(String),
    /// Also an integer beyond 64 bits, of which digits are lost.
    Float(String),
    Other,
}

impl FieldValue {
    /// Text or an integer of 64 bits, whose digits are kept.
    fn key(&self, what: &str) -> Result<&str, String> {
        match self {
            Self::Text(text) if !text.is_empty() => Ok(text),
            Self::Integer(digits) => Ok(digits),
            Self::Missing | Self::Null | Self::Text(_) => Err(format!("no {what}")),
            Self::Float(number) => {
                Err(format!("the {what} `{number}` is no integer of 64 bits; ids are such integers or text"))
            }
            Self::Other => Err(format!("the {what} is neither text nor an integer")),
        }
    }

    fn scalar(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Integer(text) | Self::Float(text) => Some(text),
            Self::Missing | Self::Null | Self::Other => None,
        }
    }
}

/// Finds what stands at some paths, below the one where it is; whatever else there is is passed over and not held.
struct PathVisitor<'a, const N: usize> {
    path: String,
    paths: [Option<&'a String>; N],
    found: &'a mut [FieldValue; N],
}

impl<const N: usize> PathVisitor<'_, N> {
    fn record(self, value: FieldValue) {
        for (path, found) in self.paths.iter().zip(self.found) {
            if path.is_some_and(|path| *path == self.path) {
                *found = value.clone();
            }
        }
    }

    /// Whether a path leads to this one, or through it.
    fn wants(&self, path: &str) -> bool {
        let leads =
            |wanted: &String| wanted.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.paths.iter().flatten().any(|wanted| leads(wanted))
    }
}

impl<'de, const N: usize> DeserializeSeed<'de> for PathVisitor<'_, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for PathVisitor<'_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.record(FieldValue::Null);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.record(FieldValue::Other);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.record(FieldValue::Integer(number.to_string()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.record(FieldValue::Integer(number.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        // With a point or an exponent, so that it is not taken for an integer whose digits are kept.
        self.record(FieldValue::Float(format!("{number:?}")));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.record(FieldValue::Text(text.trim().to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.record(FieldValue::Other);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(key) = object.next_key::<String>()? {
            let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
            if self.wants(&path) {
                object.next_value_seed(PathVisitor { path, paths: self.paths, found: &mut *self.found })?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        self.record(FieldValue::Other);
        Ok(())
    }
}
