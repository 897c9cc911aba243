//! What the worker binary can run, and what it says of its environment. The only place that knows which kinds need
//! libtorch.

use std::process::ExitCode;

#[cfg(feature = "torch")]
use super::train;
#[cfg(feature = "torch")]
use crate::engine::stage::Stage;
use crate::engine::stage::{RunFn, Runner};
use crate::engine::{WorkerFacets, serve};

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
    let device = if tch::Cuda::is_available() { tch::Device::Cuda(0) } else { tch::Device::Cpu };
    WorkerFacets { device: crate::train::device::name(device) }
}

#[cfg(not(feature = "torch"))]
fn facets() -> WorkerFacets {
    WorkerFacets { device: "cpu".to_owned() }
}
