//! CNSDiff (*Causal Negative Sampling via Diffusion Model for Out-of-Distribution Recommendation*, arXiv 2508.07243).
//!
//! For each positive, a few denoising chains synthesise negatives; the one that the user scores highest is mixed with a
//! uniform negative and compared by BPR, beside a contrastive loss and the diffusion loss. What of the denoiser is
//! trained is a matter of [`Variant`]: the released code never updates it.

#[cfg(feature = "torch")]
mod arithmetic;
#[cfg(feature = "torch")]
mod chain;
#[cfg(feature = "torch")]
mod contrast;
#[cfg(feature = "torch")]
mod denoiser;
#[cfg(feature = "torch")]
mod device;
#[cfg(feature = "torch")]
mod diffusion;
#[cfg(feature = "torch")]
mod draws;
#[cfg(all(test, feature = "torch"))]
mod golden;
#[cfg(feature = "torch")]
mod host;
#[cfg(feature = "torch")]
mod network;
mod params;
#[cfg(feature = "torch")]
mod reconstruct;
mod schedule;
#[cfg(feature = "torch")]
mod step;

pub use params::{
    Condition, DenoiserParams, MixParams, Params, Pick, ScheduleKind, ScheduleParams, Space, StartParams, Variant,
};
pub use schedule::{Schedule, time_embedding};
#[cfg(feature = "torch")]
pub use step::Cnsdiff;
