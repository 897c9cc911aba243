//! A span of time, half-open: `from` belongs to it, `to` does not, so that spans can follow each other.

use std::fmt;

use chrono::DateTime;
use rayon::prelude::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Lack, Parts, StepRule};
use crate::data::time::{LAST_SECOND, parse_iso};

/// From when to when; at least one end is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first moment that belongs to it.
    #[serde(default)]
    pub from: Option<Moment>,
    /// The first moment that no longer belongs to it.
    #[serde(default)]
    pub to: Option<Moment>,
}

/// A moment in seconds since 1970. Written as that number, or as a date (midnight UTC) or a date and time of ISO 8601
/// (UTC unless it says otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp(self.0, 0) {
            Some(moment) if self.0 % 86_400 == 0 => write!(f, "{}", moment.format("%Y-%m-%d")),
            Some(moment) => write!(f, "{}", moment.format("%Y-%m-%dT%H:%M:%SZ")),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a date such as `2018-01-31`, a time such as `2018-01-31T12:00:00Z`, or seconds since 1970")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Moment, E> {
                let seconds =
                    parse_iso(text.trim()).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))?;
                Ok(Moment(seconds))
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Moment, E> {
                if seconds.unsigned_abs() > LAST_SECOND.unsigned_abs() {
                    return Err(E::invalid_value(serde::de::Unexpected::Signed(seconds), &self));
                }
                Ok(Moment(seconds))
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Moment, E> {
                self.visit_i64(seconds.try_into().unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A date (midnight UTC), a date and time of ISO 8601 (UTC unless it says otherwise), or seconds \
                            since 1970.",
            "anyOf": [
                { "type": "string" },
                { "type": "integer", "minimum": -LAST_SECOND, "maximum": LAST_SECOND },
            ],
        })
    }
}

impl StepRule for Window {
    fn text(&self) -> String {
        let from = self.from.map(|from| format!("time >= {from}"));
        let to = self.to.map(|to| format!("time < {to}"));
        from.into_iter().chain(to).collect::<Vec<_>>().join(" and ")
    }

    fn mistake(&self) -> Option<String> {
        match (self.from, self.to) {
            (None, None) => Some("an end is needed: `from` (inclusive) or `to` (exclusive)".to_owned()),
            (Some(from), Some(to)) if from >= to => Some(format!("`from` ({from}) must lie before `to` ({to})")),
            _ => None,
        }
    }

    fn keep(&self, parts: &mut Parts) -> Result<Vec<bool>, Lack> {
        let time = parts.rows.time.as_ref().ok_or(Lack::Times)?;
        let stays = |&time: &i64| self.from.is_none_or(|from| time >= from.0) && self.to.is_none_or(|to| time < to.0);
        Ok(time.par_iter().map(stays).collect())
    }
}
