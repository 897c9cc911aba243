//! The pipeline language: YAML text to a resolved, checked pipeline. Knows nothing of the file system, the store
//! or libtorch: text comes in through a closure, stage kinds through [`KindTable`].

pub mod kind;
pub mod mistake;
pub mod pipeline;
mod scalar;
mod yaml;

pub use kind::{Arity, Column, Form, KindSpec, KindTable, Output, ParamError, Port};
pub use mistake::{Mistake, Mistakes};
pub use pipeline::{Axis, Instance, Location, Need, Pipeline, Source, StageDef};

use mistake::{Files, Findings};

/// Changes from the command line; each is recorded in [`Pipeline::changes`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--set stages.model.with.epochs=3`: path and value, the value as YAML.
    pub set: Vec<(String, String)>,
    /// `--only method=dns,rns`: the labels of an axis to keep.
    pub only: Vec<(String, Vec<String>)>,
    /// `--seeds 1..5`: the labels of the axis `seed`.
    pub seeds: Option<Vec<u64>>,
}

/// Reads, checks and expands the pipeline file `root` and the files that it includes, as `read` gives them.
///
/// # Errors
/// Every mistake of the files and of `options`, not only the first.
pub fn load(
    root: &str,
    read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    kinds: &dyn KindTable,
    options: &Options,
) -> Result<Pipeline, Mistakes> {
    let _ = (kinds, options);
    let mut files = Files::default();
    let mut findings = Findings::default();
    let bytes = read(root).unwrap_or_default();
    let tree = yaml::read(root, &bytes, &mut files, &mut findings);
    findings.into_result(&files)?;
    let name = tree.and_then(|tree| match &tree.get("pipeline")?.value {
        yaml::Tree::Text(name) => Some(name.clone()),
        _ => None,
    });
    Ok(Pipeline {
        name: name.unwrap_or_default(),
        title: None,
        axes: Vec::new(),
        stages: Vec::new(),
        instances: Vec::new(),
        changes: Vec::new(),
    })
}

/// JSON Schema of a pipeline file, for editors.
pub fn schema(kinds: &dyn KindTable) -> serde_json::Value {
    serde_json::json!({ "properties": kinds.kinds().iter().map(|kind| kind.name).collect::<Vec<_>>() })
}
