//! The pipeline language: YAML text to a resolved, checked pipeline. Knows nothing of the file system, the store
//! or libtorch: text comes in through a closure, stage kinds through [`KindTable`].

pub mod kind;
pub mod pipeline;

pub use kind::{Arity, Column, Form, KindSpec, KindTable, Output, ParamError, Port};
pub use pipeline::{Axis, Instance, Location, Need, Pipeline, Source, StageDef};
