//! A small table of stage kinds for the tests of the language, shaped like the real ones.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::spec::{Arity, Form, KindSpec, KindTable, Output, ParamError, Port};

pub struct Kinds(Vec<KindSpec>);

impl KindTable for Kinds {
    fn kinds(&self) -> Vec<&KindSpec> {
        self.0.iter().collect()
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ingest {
    /// A path or URL.
    source: String,
    #[serde(default)]
    header: bool,
    #[serde(default)]
    digest: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Split {
    method: Method,
    #[serde(default)]
    seed: u64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Method {
    /// As the files say.
    Given,
    Random {
        share: f64,
    },
    Temporal {
        column: String,
    },
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Train {
    backbone: Backbone,
    sampler: Sampler,
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    epochs: u32,
    #[serde(default = "rate")]
    learning_rate: f64,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    select: Select,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Backbone {
    Mf,
    Lightgcn,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Select {
    /// The best epoch on validation.
    #[default]
    Valid,
    /// The last epoch.
    Last,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Sampler {
    Uniform,
    Dns { candidates: u32 },
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Evaluate {
    metrics: Vec<Metric>,
    at: Vec<u32>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Metric {
    Recall,
    Ndcg,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Compare {
    reference: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Concat {}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Literal {
    #[serde(default)]
    value: Value,
}

fn ten() -> u32 {
    10
}

fn rate() -> f64 {
    1e-3
}

fn canonical<P: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, ParamError> {
    let params: P = serde_path_to_error::deserialize(value).map_err(|error| ParamError {
        path: error.path().iter().map(|segment| segment.to_string()).collect(),
        message: error.inner().to_string(),
        help: None,
    })?;
    serde_json::to_value(params).map_err(|error| ParamError {
        path: Vec::new(),
        message: error.to_string(),
        help: None,
    })
}

/// What types cannot say.
fn positive_rate(value: &Value) -> Result<Value, ParamError> {
    let value = canonical::<Train>(value)?;
    if value["learning_rate"].as_f64().is_some_and(|rate| rate > 0.0) {
        return Ok(value);
    }
    Err(ParamError {
        path: vec!["learning_rate".into()],
        message: "training goes nowhere without a positive rate".into(),
        help: Some("0.001 is usual".into()),
    })
}

const fn output(name: &'static str) -> Output {
    Output { name, doc: "A table.", form: Form::Table(&[]) }
}

const fn port(name: &'static str, artifacts: &'static [&'static str], arity: Arity) -> Port {
    Port { name, doc: "What flows in.", artifacts, arity }
}

fn kind<P: JsonSchema + Serialize + DeserializeOwned>(
    name: &'static str,
    ports: &'static [Port],
    outputs: &'static [Output],
) -> KindSpec {
    KindSpec {
        name,
        doc: "A stage kind.",
        ports,
        outputs,
        schema: LazyLock::new(|| schemars::schema_for!(P).to_value()),
        canonical: canonical::<P>,
    }
}

pub static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    const DATA: &[Port] = &[port("data", &["interactions"], Arity::One)];
    const TRAIN: &[Port] =
        &[port("split", &["train", "valid"], Arity::One), port("oracle", &["test"], Arity::Optional)];
    const EVALUATE: &[Port] = &[port("split", &["test"], Arity::One), port("model", &["recommendations"], Arity::One)];
    const COMPARE: &[Port] = &[port("scores", &["per_user", "summary"], Arity::Many)];
    const REPORT: &[Port] =
        &[port("scores", &["summary"], Arity::Many), port("tests", &["tests"], Arity::OptionalMany)];
    const ANY: &[Port] = &[port("tables", &[], Arity::Many)];
    Kinds(vec![
        kind::<Ingest>("ingest", &[], &[const { output("interactions") }, const { output("items") }]),
        kind::<Split>("split", DATA, &[const { output("train") }, const { output("valid") }, const { output("test") }]),
        KindSpec {
            canonical: positive_rate,
            ..kind::<Train>("train", TRAIN, &[const { output("recommendations") }, const { output("curve") }])
        },
        kind::<Evaluate>("evaluate", EVALUATE, &[const { output("per_user") }, const { output("summary") }]),
        kind::<Compare>("compare", COMPARE, &[const { output("tests") }]),
        kind::<Concat>("report", REPORT, &[const { output("cells") }]),
        kind::<Concat>("concat", ANY, &[const { output("table") }]),
        kind::<Literal>("literal", &[], &[const { output("table") }]),
    ])
});
