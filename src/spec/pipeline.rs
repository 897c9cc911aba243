//! The resolved pipeline: axes expanded, templates evaluated, every need bound to instances. What a YAML file
//! *means*; how it was written is gone but for the location of each stage.

use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

/// A whole pipeline, ready to be planned.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// Name: reports go to `reports/<name>/`.
    pub name: String,
    pub title: Option<String>,
    pub axes: Vec<Axis>,
    /// In file order.
    pub stages: Vec<StageDef>,
    /// Grouped by stage; within a stage in the order of its axes' labels. Needed instances may stand later.
    pub instances: Vec<Instance>,
    /// What the command line changed (`--set`, `--only`, `--seeds`), recorded with the run.
    pub changes: Vec<String>,
}

/// A named dimension with labelled values.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    pub name: String,
    pub labels: Vec<String>,
    /// The parameters of each label.
    pub values: Vec<Value>,
}

/// A stage: an array of instances over its axes.
#[derive(Clone, Debug, Serialize)]
pub struct StageDef {
    pub name: String,
    pub kind: String,
    /// Its axes, in the order in which the file declares them.
    pub axes: Vec<String>,
    pub instances: Range<usize>,
    pub location: Location,
}

/// Where something stands in a pipeline file (1-based).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

/// One cell of a stage's array.
#[derive(Clone, Debug, Serialize)]
pub struct Instance {
    /// Index into [`Pipeline::stages`].
    pub stage: usize,
    /// `model[dataset=food,seed=1]`: unique, and how people name it.
    pub id: String,
    /// Axis and label, in the order of the stage's axes.
    pub labels: Vec<(String, String)>,
    /// Canonical parameters, defaults written out.
    pub params: Value,
    /// In the order of the kind's ports; ports without a source are absent.
    pub needs: Vec<Need>,
}

/// What flows into one port.
#[derive(Clone, Debug, Serialize)]
pub struct Need {
    pub port: String,
    /// In axis order. Exactly one for ports of arity one.
    pub sources: Vec<Source>,
}

/// One needed instance and the artifacts taken from it.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Index into [`Pipeline::instances`].
    pub instance: usize,
    /// In the order of the port's list.
    pub artifacts: Vec<String>,
}
