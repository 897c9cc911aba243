//! Stage kinds: one file each, parameters and glue; no mathematics.

mod audit;
mod columns;
mod compare;
mod concat;
mod describe;
#[cfg(test)]
mod documented;
mod evaluate;
mod expect;
mod ingest;
mod literal;
mod names;
#[cfg(test)]
mod ranges;
mod report;
mod split;
mod synthetic;
mod tables;
#[cfg(test)]
mod testing;
mod train;
mod warnings;
mod worker;

use crate::engine::Registry;
use crate::engine::stage::{Kind, Runner, Stage};

pub use worker::worker_main;

/// All stage kinds, in documentation order.
pub fn registry() -> Registry {
    Registry::new(vec![
        Kind::of::<ingest::Ingest>(Runner::InProcess(ingest::run)),
        Kind::of::<synthetic::Synthetic>(Runner::InProcess(synthetic::run)),
        Kind::of::<split::Split>(Runner::InProcess(split::run)),
        Kind::of::<train::Train>(Runner::Worker),
        Kind::of::<evaluate::Evaluate>(Runner::InProcess(evaluate::run)),
        Kind::of::<compare::Compare>(Runner::InProcess(compare::run)),
        Kind::of::<report::Report>(Runner::InProcess(report::run)),
        Kind::of::<describe::Describe>(Runner::InProcess(describe::run)),
        Kind::of::<literal::Literal>(Runner::InProcess(literal::run)),
        Kind::of::<concat::Concat>(Runner::InProcess(concat::run)),
    ])
}

/// Metadata of every artifact: which kind and version made it. Nothing else, so that equal results are equal bytes.
fn made_by<S: Stage>() -> [(&'static str, String); 2] {
    [("kind", S::KIND.to_owned()), ("kind_version", S::VERSION.to_string())]
}
