//! What the worker binary can run, and what it says of its environment. The only place that knows which kinds need
//! libtorch.

use std::process::ExitCode;

#[cfg(feature = "torch")]
use super::train;
#[cfg(feature = "torch")]
use crate::engine::stage::Stage;
use crate::engine::stage::{RunFn, Runner};
use crate::engine::{WorkerFacets, serve};
#[cfg(feature = "torch")]
use crate::train::{Device, device};

/// The main function of the worker binary.
pub fn worker_main() -> ExitCode {
    serve::serve(&worker_table(), facets)
}

/// Kind and function: the light kinds, which also run in the user's process, and those that need libtorch.
fn worker_table() -> Vec<(&'static str, RunFn)> {
    let registry = super::registry();
    let light = registry.kinds().iter().filter_map(|kind| match kind.runner {
        Runner::InProcess(run) => Some((kind.spec.name, run)),
        Runner::Worker => None,
    });
    light.chain(heavy()).collect()
}

/// The kinds that need libtorch.
#[cfg(feature = "torch")]
fn heavy() -> Vec<(&'static str, RunFn)> {
    vec![(train::Train::KIND, train::run)]
}

#[cfg(not(feature = "torch"))]
fn heavy() -> Vec<(&'static str, RunFn)> {
    Vec::new()
}

#[cfg(feature = "torch")]
fn facets() -> WorkerFacets {
    let gpus = device::count();
    // What `device: auto` takes when it may use all of them.
    let chosen = device::choose(Device::Auto, &Vec::from_iter(0..gpus)).unwrap_or(tch::Device::Cpu);
    WorkerFacets { device: device::name(chosen), gpus }
}

#[cfg(not(feature = "torch"))]
fn facets() -> WorkerFacets {
    WorkerFacets { device: "cpu".to_owned(), gpus: 0 }
}
