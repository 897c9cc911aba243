//! What pipelines mean: expansion, needs, conditions, templates, changes.

mod expansion;
mod kinds;
mod properties;
mod schema;
mod values;

use crate::spec;
use spec::{Mistakes, Options, Pipeline};

/// The pipeline of a root file and its includes.
fn load_files(files: &[(&str, &str)], options: &Options) -> Result<Pipeline, Mistakes> {
    let read = |path: &str| {
        let found = files.iter().find(|(name, _)| *name == path);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    };
    spec::load(files[0].0, &read, &*kinds::KINDS, options)
}

fn try_load(text: &str, options: &Options) -> Result<Pipeline, Mistakes> {
    load_files(&[("test.yaml", text)], options)
}

fn load(text: &str) -> Pipeline {
    try_load(text, &Options::default()).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false, 100)))
}

/// The ids of a stage's instances.
fn ids<'a>(pipeline: &'a Pipeline, stage: &str) -> Vec<&'a str> {
    let stage = pipeline.stages.iter().find(|found| found.name == stage).expect("the stage exists");
    pipeline.instances[stage.instances.clone()].iter().map(|instance| instance.id.as_str()).collect()
}

/// The ids that flow into a port of an instance.
fn sources<'a>(pipeline: &'a Pipeline, id: &str, port: &str) -> Vec<&'a str> {
    let instance = pipeline.instances.iter().find(|instance| instance.id == id).expect("the instance exists");
    let needs = instance.needs.iter().filter(|need| need.port == port);
    needs.flat_map(|need| &need.sources).map(|source| pipeline.instances[source.instance].id.as_str()).collect()
}

fn params<'a>(pipeline: &'a Pipeline, id: &str) -> &'a serde_json::Value {
    &pipeline.instances.iter().find(|instance| instance.id == id).expect("the instance exists").params
}

/// The messages of all mistakes.
fn mistakes(text: &str, options: &Options) -> Vec<String> {
    let mistakes = try_load(text, options).expect_err("there are mistakes");
    mistakes.mistakes.into_iter().map(|mistake| mistake.message).collect()
}
