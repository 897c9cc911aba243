//! Training: mini-batches, choice of the best epoch, full ranking. Works on plain data and on the traits of
//! [`method`](crate::method) alone, and tells a [`Watch`] how far it is; it knows neither files nor stages nor the language
//! of pipelines.

mod candidates;
mod checkpoint;
pub mod config;
#[cfg(test)]
mod conformance;
mod cosine;
mod device;
mod fit;
mod memory;
mod rank;
mod sampled;
mod select;
mod step;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use candidates::{CandidateRule, Candidates, ItemList, SplitPart};
pub use config::{Config, Device};
pub use device::{NoGpu, choose, name};
pub use fit::{Data, EpochEnd, Point, TrainError, Trained, Watch, fit};
pub use memory::bytes as memory_bytes;
pub use rank::{RankError, Ranking, Scored, Scorer, recommend, recommend_among};
pub use sampled::Sampled;

/// The version of the training loop, which enters keys beside those of the methods.
pub const VERSION: u32 = 1;
