//! What the language must know of a stage kind to check a pipeline: its parameters, its input ports and what it
//! produces. Descriptions only: how a kind runs is the engine's business.

use std::sync::LazyLock;

use serde_json::Value;

/// How many source instances a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more, each with its labels: the port that a collapsed axis flows into.
    Many,
    /// None, one or more.
    OptionalMany,
}

/// An input port of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub name: &'static str,
    /// One sentence for docs and error messages.
    pub doc: &'static str,
    /// Names of the artifacts that the needed stage must produce. Empty: any one artifact, named as
    /// `stage.artifact` unless the stage produces only one.
    pub artifacts: &'static [&'static str],
    pub arity: Arity,
}

/// A column of a Parquet artifact.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// Arrow type as people write it: `u32`, `f64?` (nullable), `utf8`.
    pub dtype: &'static str,
    pub doc: &'static str,
}

/// The form of an artifact.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A Parquet table with these columns. Empty: columns depend on the inputs.
    Table(&'static [Column]),
    /// Rendered files that are also published under `reports/<pipeline>/`; a small Parquet table `name, text`
    /// holds them in the store.
    Files,
}

/// An artifact that a kind produces.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub name: &'static str,
    pub doc: &'static str,
    pub form: Form,
}

/// A mistake in the parameters of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamError {
    /// Where: keys and indices below `with`.
    pub path: Vec<String>,
    pub message: String,
    pub help: Option<String>,
}

/// A stage kind as the language sees it.
pub struct KindSpec {
    pub name: &'static str,
    pub doc: &'static str,
    pub ports: &'static [Port],
    pub outputs: &'static [Output],
    /// JSON Schema of the parameters (`with:`), generated from the Rust type when it is first asked for: a pipeline uses few of
    /// the kinds.
    pub schema: LazyLock<Value>,
    /// Checks resolved parameters and writes them out canonically, defaults included.
    pub canonical: fn(&Value) -> Result<Value, ParamError>,
}

/// All kinds that pipelines can name, in documentation order.
pub trait KindTable: Sync {
    fn kinds(&self) -> Vec<&KindSpec>;

    fn find(&self, name: &str) -> Option<&KindSpec> {
        self.kinds().into_iter().find(|kind| kind.name == name)
    }
}
