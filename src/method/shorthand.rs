//! The short spelling of parameterised choices: `name` for `{name: {}}`, so that `backbone: mf` and
//! `sampler: {cnsdiff: {variant: as_released}}` read alike. What is written out is always the long form.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

/// Reads an externally tagged enum of struct variants, or the name of one that needs no parameters.
pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Choice<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Choice<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a name, or a map from one name to its parameters")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
            T::deserialize(MapAccessDeserializer::new(MapDeserializer::new(std::iter::once((name, Nothing)))))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(Choice(PhantomData))
}

/// An empty map.
struct Nothing;

impl<'de, E: Error> IntoDeserializer<'de, E> for Nothing {
    type Deserializer = MapDeserializer<'de, std::iter::Empty<(&'de str, &'de str)>, E>;

    fn into_deserializer(self) -> Self::Deserializer {
        MapDeserializer::new(std::iter::empty())
    }
}

/// The schema of both spellings of `T`.
pub fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let long = T::json_schema(generator);
    with_names(generator, long)
}

/// The schema of both spellings, given that of the long one: alternatives that each require the name that they are of.
pub fn with_names(generator: &SchemaGenerator, long: Schema) -> Schema {
    let definitions = generator.definitions();
    let names: Vec<_> = long
        .get("oneOf")
        .and_then(|variants| variants.as_array())
        .into_iter()
        .flatten()
        .filter_map(|variant| {
            let name = variant.get("required")?.get(0)?;
            let params = variant.get("properties")?.get(name.as_str()?)?;
            let named = params.get("$ref").and_then(|path| path.as_str()?.rsplit('/').next());
            let params = named.and_then(|name| definitions.get(name)).unwrap_or(params);
            // Without parameters that must be given.
            let optional = params.get("type").is_none_or(|kind| kind == "object") && params.get("required").is_none();
            optional.then(|| name.clone())
        })
        .collect();
    json_schema!({ "anyOf": [{ "enum": names }, long] })
}
