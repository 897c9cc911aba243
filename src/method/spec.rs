//! What methods say of themselves, and the lists that they stand in. The language of pipelines, keys, documentation and the
//! conformance tests are made from these.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::shorthand;

/// A method: its parameters, which have defaults wherever that makes sense and refuse unknown fields, and what is known of
/// it.
pub trait Method: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// As pipelines spell it.
    const NAME: &'static str;
    /// To be raised when a change of code changes results; enters the keys of trainings that use it.
    const VERSION: u32;
    /// What it does, in a sentence.
    const DOC: &'static str;
    /// The paper or code that it follows, and what of it is our own decision.
    const SOURCE: &'static str;

    /// Checks that types cannot express.
    fn check(&self) -> Result<(), Mistake> {
        Ok(())
    }
}

/// A parameter that makes no sense: the keys that lead to it, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mistake {
    pub path: Vec<String>,
    pub message: String,
    pub help: Option<String>,
}

impl Mistake {
    pub fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&key| key.to_owned()).collect(), message: message.into(), help: None }
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same of a parameter that lies within these.
    #[must_use]
    pub fn within(mut self, path: &[&str]) -> Self {
        self.path.splice(0..0, path.iter().map(|&key| key.to_owned()));
        self
    }

    /// A mistake unless the condition holds.
    pub fn unless(holds: bool, path: &[&str], message: impl Into<String>) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(path, message)) }
    }
}

/// Why a method cannot go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MethodError {
    #[error(
        "user {user} has interacted with all {items} items, so no negative exists for it; drop such users before \
         training"
    )]
    NoNegative { user: u32, items: usize },
    #[error("the mixing ratio cannot be drawn from Beta({alpha}, {beta}): both must be positive")]
    Beta { alpha: f64, beta: f64 },
    #[error("the training part has no times, which sequences are ordered by; name the column of times in `ingest`")]
    NoTimes,
    #[error("`{0}` computes with libtorch, and this program was built without it")]
    NoLibtorch(&'static str),
    #[error("{0}")]
    Unfit(String),
}

/// A method with its type erased, as the lists hold it. `T` is what is asked of methods of its kind before they are made.
pub struct Entry<T: 'static> {
    pub name: &'static str,
    pub version: u32,
    pub doc: &'static str,
    pub source: &'static str,
    /// Of the parameters.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Parameters with all defaults written out.
    pub canonical: fn(&Value) -> Result<Value, String>,
    /// Of canonical parameters.
    pub check: fn(&Value) -> Result<(), Mistake>,
    pub traits: fn(&Value) -> T,
}

impl<T> Entry<T> {
    /// Erases `M`, whose traits `traits` tells.
    pub const fn of<M: Method>(traits: fn(&Value) -> T) -> Self {
        Self {
            name: M::NAME,
            version: M::VERSION,
            doc: M::DOC,
            source: M::SOURCE,
            schema: |generator| M::json_schema(generator),
            canonical: |value| {
                let params = M::deserialize(value).map_err(|error| error.to_string())?;
                serde_json::to_value(params).map_err(|error| error.to_string())
            },
            check: |value| parse::<M>(value).map_or(Ok(()), |params| params.check()),
            traits,
        }
    }
}

/// Canonical parameters back as their type.
pub fn parse<M: Method>(value: &Value) -> Option<M> {
    M::deserialize(value).ok()
}

/// A list of methods.
pub trait List: 'static {
    /// What is asked of its methods before they are made.
    type Traits;
    /// The key of pipelines that chooses from it.
    const KEY: &'static str;

    fn entries() -> &'static [Entry<Self::Traits>];
}

/// A method of a list with its parameters, spelt `name: {parameters}`, or by the name alone for all defaults.
pub struct Choice<L: List> {
    entry: &'static Entry<L::Traits>,
    params: Value,
}

impl<L: List> Choice<L> {
    /// The method `name` with these parameters.
    ///
    /// # Errors
    /// There is none of this name, or its parameters are others.
    pub fn new(name: &str, params: &Value) -> Result<Self, String> {
        let entry = L::entries().iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<String> = L::entries().iter().map(|entry| format!("`{}`", entry.name)).collect();
            format!("unknown {} `{name}`, expected one of {}", L::KEY, names.join(", "))
        })?;
        Ok(Self { entry, params: (entry.canonical)(params)? })
    }

    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    pub fn params(&self) -> &Value {
        &self.params
    }

    pub fn traits(&self) -> L::Traits {
        (self.entry.traits)(&self.params)
    }

    /// The first parameter that makes no sense, by the path from the key of the list.
    pub fn check(&self) -> Result<(), Mistake> {
        (self.entry.check)(&self.params).map_err(|mistake| mistake.within(&[L::KEY, self.entry.name]))
    }

    /// How keys call it, and its version.
    pub fn component(&self) -> (String, u32) {
        (format!("{}.{}", L::KEY, self.entry.name), self.entry.version)
    }
}

impl<L: List> Clone for Choice<L> {
    fn clone(&self) -> Self {
        Self { entry: self.entry, params: self.params.clone() }
    }
}

impl<L: List> fmt::Debug for Choice<L> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.entry.name, self.params)
    }
}

impl<L: List> PartialEq for Choice<L> {
    fn eq(&self, other: &Self) -> bool {
        (self.entry.name, &self.params) == (other.entry.name, &other.params)
    }
}

impl<L: List> Serialize for Choice<L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.entry.name, &self.params)?;
        map.end()
    }
}

impl<'de, L: List> Deserialize<'de> for Choice<L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let choice = match &written {
            Value::String(name) => Some(Self::new(name, &Value::Object(Map::new()))),
            Value::Object(map) if map.len() == 1 => map.iter().next().map(|(name, params)| Self::new(name, params)),
            _ => None,
        };
        let wrong = || D::Error::custom("expected a name, or a map from one name to its parameters");
        choice.ok_or_else(wrong)?.map_err(D::Error::custom)
    }
}

impl<L: List> JsonSchema for Choice<L> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}Choice", L::KEY).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let of = |entry: &Entry<L::Traits>, generator: &mut SchemaGenerator| {
            json_schema!({
                "type": "object", "description": format!("{} {}", entry.doc, entry.source),
                "properties": { entry.name: (entry.schema)(generator) },
                "required": [entry.name], "additionalProperties": false,
            })
        };
        let long: Vec<Schema> = L::entries().iter().map(|entry| of(entry, generator)).collect();
        shorthand::with_names(generator, json_schema!({ "oneOf": long }))
    }
}

/// Makes a list of methods: `$entries` says what they are, `$start` makes the one that is chosen. Each line is a type that
/// implements [`Method`] and `$method`.
macro_rules! methods {
    (
        $(#[$doc:meta])* $list:ident, $key:literal, $method:ident -> $made:ty, traits $traits:ty;
        $(#[$entries_doc:meta])* $entries:ident;
        $(#[$start_doc:meta])* $start:ident;
        $($(#[$gate:meta])* $entry:ty,)*
    ) => {
        $(#[$doc])*
        pub struct $list;

        $(#[$entries_doc])*
        pub static $entries: &[$crate::method::spec::Entry<$traits>] = &[
            $($(#[$gate])* $crate::method::spec::Entry::of::<$entry>(|params| {
                $crate::method::spec::parse::<$entry>(params).map(|params| $method::traits(&params)).unwrap_or_default()
            }),)*
        ];

        impl $crate::method::spec::List for $list {
            type Traits = $traits;
            const KEY: &'static str = $key;

            fn entries() -> &'static [$crate::method::spec::Entry<$traits>] {
                $entries
            }
        }

        $(#[$start_doc])*
        pub fn $start<'a>(
            choice: &$crate::method::spec::Choice<$list>,
            setup: &$crate::method::Setup<'a>,
        ) -> Result<$made, $crate::method::MethodError> {
            $($(#[$gate])* if choice.name() == <$entry as $crate::method::spec::Method>::NAME {
                let params = $crate::method::spec::parse::<$entry>(choice.params());
                if let Some(params) = params {
                    return $method::start(params, setup);
                }
            })*
            Err($crate::method::MethodError::Unfit(format!("no {} `{}`", $key, choice.name())))
        }
    };
}
pub(crate) use methods;
