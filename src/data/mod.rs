//! Interactions, id maps, graphs and raw formats. The only place where polars is used. Knows nothing of libtorch
//! or the store: tables cross its border as Arrow record batches.

pub mod graph;
pub mod interactions;

pub use graph::Graph;
pub use interactions::Interactions;
