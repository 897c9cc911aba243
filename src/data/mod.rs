//! Interactions, id maps, graphs and raw formats. Tables cross the border of this module as Arrow record batches.

mod decimal;
pub mod format;
pub mod graph;
pub mod groups;
pub mod ids;
pub mod interactions;
pub mod open;
pub mod parts;
pub mod popularity;
pub mod steps;
pub mod synthetic;
pub mod tabulate;
pub mod time;

pub use format::Format;
pub use graph::Graph;
pub use ids::IdMap;
pub use interactions::{Dedup, Interactions};
pub use parts::Parts;
