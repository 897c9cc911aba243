//! Stage kind `synthetic`: interactions from a causal generator with known preferences, exposure and drift.

use serde_json::Value;

use super::tables::{COUNTS, INTERACTIONS_BY_PART, KEYS};
use crate::data::ids::keys_to_batch;
use crate::data::parts::counts_to_batch;
use crate::data::synthetic::{Synthetic as Params, World};
use crate::engine::stage::{Context, Resources, Stage, StageError, parse};
use crate::spec::{Form, Output, ParamError, Port};
use crate::store::parquet;

pub struct Synthetic;

impl Stage for Synthetic {
    type Params = Params;

    const KIND: &'static str = "synthetic";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Generates interactions from known preferences: a log under a biased exposure policy, \
                               and a later part under uniform exposure.";
    const PORTS: &'static [Port] = &[];
    const OUTPUTS: &'static [Output] = &[
        Output {
            name: "interactions",
            doc: "Interactions by part (`log`, `uniform`), user and time.",
            form: Form::Table(INTERACTIONS_BY_PART),
        },
        Output { name: "users", doc: "Ids of users.", form: Form::Table(KEYS) },
        Output { name: "items", doc: "Ids of items.", form: Form::Table(KEYS) },
        Output { name: "summary", doc: "Counts of rows, users and items.", form: Form::Table(COUNTS) },
    ];

    fn check(params: &Params) -> Result<(), ParamError> {
        match params.mistake() {
            Some(message) => Err(ParamError { path: Vec::new(), message, help: None }),
            None => Ok(()),
        }
    }

    fn resources(params: &Params) -> Resources {
        let bytes = 64 * u64::from(params.interactions);
        Resources { cores: 4, memory_mib: 64 + (bytes >> 20), gpus: 0 }
    }
}

/// Runs the stage.
pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Synthetic>(params)?;
    let parts = World::new(&params).generate();
    let rows = |index| parts.part.iter().filter(|&&part| part == index).count() as i64;
    let mut counts: Vec<(String, i64)> =
        parts.names.iter().zip(0..).map(|(name, index)| (format!("{name}.rows"), rows(index))).collect();
    counts.push(("users".to_owned(), params.users.into()));
    counts.push(("items".to_owned(), params.items.into()));
    let keys = |prefix: &str, n: u32| (0..n).map(|id| format!("{prefix}{id}")).collect::<Vec<_>>();
    let (users, items) = (keys("u", params.users), keys("i", params.items));

    let metadata = super::made_by::<Synthetic>();
    parquet::write(&context.output("interactions"), &parts.into_batch("part")?, &metadata)?;
    parquet::write(&context.output("users"), &keys_to_batch(users.iter().map(String::as_str))?, &metadata)?;
    parquet::write(&context.output("items"), &keys_to_batch(items.iter().map(String::as_str))?, &metadata)?;
    parquet::write(&context.output("summary"), &counts_to_batch(&counts)?, &metadata)?;
    Ok(())
}
