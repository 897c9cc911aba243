//! `cnsdiff-pipe`: declarative, content-hashed experiment pipelines for out-of-distribution recommendation.
//!
//! The layers, and what each of them uses: docs/architecture.md, which a test compares with the code.

// Locks between runs, memory limits of groups, and the ends of worker processes are Linux's.
#[cfg(not(target_os = "linux"))]
compile_error!("cnsdiff-pipe runs on Linux only");

pub mod allocator;
pub mod cli;
pub mod data;
pub mod digest;
pub mod engine;
pub mod jinja;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod kernel;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod method;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod metric;
pub mod plan;
pub mod report;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod rng;
pub mod shift;
pub mod spec;
pub mod stages;
pub mod stats;
pub mod store;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod train;
pub mod ui;
