//! What a run of the engine does and does not do, told by pipelines of a counting stage kind.

mod crash;
mod damage;
mod lab;
mod raw;
mod rerun;
mod trouble;
mod workers;
