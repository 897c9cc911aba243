//! Training: mini-batches, optimiser, choice of the best epoch, full ranking. Works on plain data and tells a
//! [`Watch`] how far it is; it knows neither files nor stages nor the language of pipelines.

#[cfg(feature = "torch")]
mod batch;
mod candidates;
#[cfg(feature = "torch")]
mod checkpoint;
pub mod config;
#[cfg(feature = "torch")]
pub mod device;
#[cfg(feature = "torch")]
mod fit;
#[cfg(feature = "torch")]
mod rank;
mod regularisation;
mod select;
mod spelling;
#[cfg(all(test, feature = "torch"))]
mod tests;

pub use candidates::{CandidateRule, Candidates, ItemList, SplitPart};
pub use config::{Config, Device};
#[cfg(feature = "torch")]
pub use fit::{Data, EpochEnd, Model, Point, TrainError, Watch, fit};
#[cfg(feature = "torch")]
pub use rank::{RankError, Ranking, Scored, recommend};
