//! Names of measures and tests as parameters spell them: choices in the schema, described by what each of them says of
//! itself.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::metric::{Direction, MEASURES};
use crate::stats::TESTS;

/// The name of a measure of [`MEASURES`].
pub struct MeasureName;

impl JsonSchema for MeasureName {
    fn schema_name() -> Cow<'static, str> {
        "Measure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let of = |direction| match direction {
            Direction::HigherIsBetter => "Higher is better.",
            Direction::LowerIsBetter => "Lower is better.",
        };
        let choices = MEASURES.iter().map(|measure| {
            let doc = format!("{} {}", measure.doc(), of(measure.direction()));
            json!({ "const": measure.name(), "description": doc })
        });
        choose(
            "What is measured of a list `l_1..l_K` of a user with the relevant items `R`; `hit_k` is 1 if `l_k` is in `R`, \
             else 0. Over users it is the mean, if nothing else is said.",
            choices,
        )
    }
}

/// The name of a test of [`TESTS`].
pub struct TestName;

impl JsonSchema for TestName {
    fn schema_name() -> Cow<'static, str> {
        "PairedTest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let choices = TESTS.iter().map(|test| json!({ "const": test.name(), "description": test.doc() }));
        choose("A two-sided test of the differences `D` of `n` pairs.", choices)
    }
}

fn choose(description: &str, choices: impl Iterator<Item = Value>) -> Schema {
    schemars::json_schema!({ "description": description, "oneOf": choices.collect::<Vec<_>>() })
}
