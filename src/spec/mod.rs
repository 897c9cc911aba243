//! The pipeline language: YAML text to a resolved, checked pipeline. Text comes in through a closure, stage kinds
//! through [`KindTable`].

mod ast;
mod axes;
mod check;
mod command_line;
mod conversions;
mod expand;
#[doc(hidden)]
pub mod fuzz;
mod graph;
mod grid;
mod include;
mod keys;
pub mod kind;
pub mod mistake;
mod params;
pub mod pipeline;
mod schema;
pub(crate) mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod yaml;

pub use kind::{Arity, Column, Form, KindSpec, KindTable, Output, ParamError, Port};
pub use mistake::{Mistake, Mistakes};
pub use pipeline::{Axis, Instance, Location, Need, Pipeline, Source, StageDef};
pub use schema::schema;
pub use yaml::BYTES as FILE_BYTES;

use axes::Axes;
use mistake::{Files, Finding, Findings, Span};
use params::ParamContext;
use template::Engine;

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
    let mut files = Files::default();
    let mut findings = Findings::default();
    let pipeline = resolve(root, read, kinds, options, &mut files, &mut findings);
    findings.into_result(&files)?;
    Ok(pipeline)
}

fn resolve(
    root: &str,
    read: include::Read<'_>,
    kinds: &dyn KindTable,
    options: &Options,
    files: &mut Files,
    findings: &mut Findings,
) -> Pipeline {
    let mut pipeline = Pipeline {
        name: String::new(),
        title: None,
        axes: Vec::new(),
        stages: Vec::new(),
        instances: Vec::new(),
        changes: command_line::lines(options),
    };
    let Some(mut tree) = include::load(root, read, files, findings) else { return pipeline };
    command_line::set(&mut tree, options, files, findings);
    let ast = ast::read(tree, findings);
    let engine = Engine::new(&ast.vars, findings);
    let axes = Axes::new(ast.axes, options, &engine, files, findings);
    let graph = graph::bind(&ast.stages, kinds, &axes, findings);
    let context = ParamContext { engine: &engine, axes: &axes, files };
    (pipeline.stages, pipeline.instances) = expand::expand(&graph, &context, findings);
    let start = Span::default();
    if ast.stages.is_empty() {
        findings.push(Finding::new(start, "the pipeline has no stages", "`stages:` is missing or empty"));
    }
    match ast.name {
        Some(name) => pipeline.name = name.text,
        None => findings.push(
            Finding::new(start, "the pipeline has no name", "`pipeline:` is missing")
                .help("write `pipeline: my-study` at the top"),
        ),
    }
    pipeline.title = ast.title;
    pipeline.axes = axes.into_public();
    pipeline
}
