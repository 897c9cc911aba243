//! `cnsdiff-pipe`: declarative, content-hashed experiment pipelines for out-of-distribution recommendation.
//!
//! The layers, each of which may use only what stands to its right (a test checks it):
//! `cli -> ui, stages -> report, train, metric, stats, shift, sampler, model -> kernel, data` and
//! `stages -> engine -> plan, store`; `spec` and `plan` are pure; `spec` and `report` evaluate templates by `jinja`.

pub mod cli;
pub mod data;
pub mod digest;
pub mod engine;
pub mod jinja;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod kernel;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod metric;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod model;
pub mod plan;
pub mod report;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod rng;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod sampler;
pub mod shift;
pub mod spec;
pub mod stages;
pub mod stats;
pub mod store;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod train;
pub mod ui;
