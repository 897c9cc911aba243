//! What the worker binary can run, and what it says of its environment.

use std::process::ExitCode;

use super::train;
use crate::engine::stage::{RunFn, Runner, Stage};
use crate::engine::{WorkerFacets, serve};
use crate::method::backend::{Device as Computes, torch};
use crate::train::{Device, choose, name};

/// The main function of the worker binary.
pub fn worker_main() -> ExitCode {
    serve::serve(&worker_table(), facets)
}

/// Kind and function: the light kinds, which also run in the user's process, and trainings, which may need libtorch.
fn worker_table() -> Vec<(&'static str, RunFn)> {
    let registry = super::registry();
    let light = registry.kinds().iter().filter_map(|kind| match kind.runner {
        Runner::InProcess(run) => Some((kind.spec.name, run)),
        Runner::Worker => None,
    });
    light.chain([(train::Train::KIND, train::run as RunFn)]).collect()
}

fn facets() -> WorkerFacets {
    let gpus = torch::gpus();
    // What `device: auto` takes when it may use all of them.
    let chosen = choose(Device::Auto, &Vec::from_iter(0..gpus)).unwrap_or(Computes::Cpu);
    WorkerFacets { device: name(chosen), libtorch: torch::version(), gpus }
}
