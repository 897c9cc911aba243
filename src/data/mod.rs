//! Interactions, id maps, graphs and raw formats. The only place where polars is used. Knows nothing of libtorch
//! or the store: tables cross its border as Arrow record batches.

pub mod format;
pub mod graph;
pub mod ids;
pub mod interactions;
pub mod open;
pub mod parts;
pub mod steps;
pub mod synthetic;

pub use format::Format;
pub use graph::Graph;
pub use ids::IdMap;
pub use interactions::{Dedup, Interactions};
pub use parts::Parts;
