//! Interactions, id maps, graphs and raw formats. The only place where polars is used. Knows nothing of libtorch
//! or the store: tables cross its border as Arrow record batches.

pub mod interactions;

pub use interactions::Interactions;
