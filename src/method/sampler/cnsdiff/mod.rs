//! CNSDiff (*Causal Negative Sampling via Diffusion Model for Out-of-Distribution Recommendation*, arXiv 2508.07243).
//!
//! For each positive, a few denoising chains synthesise negatives; the one that the user scores highest is mixed with a
//! uniform negative and compared by the loss, beside a contrastive loss and the diffusion loss. What of the denoiser is
//! trained is a matter of [`Variant`]: the released code never updates it.

mod arithmetic;
mod chain;
mod draws;
mod params;
mod schedule;
mod shape;
mod step;

pub use arithmetic::{Arithmetic, Contrast, Diffusion, Rows, Wanted};
pub use chain::Chain;
pub use draws::{Draws, Dropout, normals};
pub use params::{
    Cnsdiff, Condition, DenoiserParams, MixParams, Pick, ScheduleKind, ScheduleParams, Space, StartParams, Variant,
};
pub use schedule::{Schedule, time_embedding};
pub use shape::Shape;

use super::{Sampler, SamplerMethod, SamplerTraits};
use crate::method::backbone::Numbers;
use crate::method::{Method, MethodError, Mistake, Setup};

impl Method for Cnsdiff {
    const NAME: &'static str = "cnsdiff";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Negatives synthesised by diffusion from the positive, mixed with uniform ones.";
    const SOURCE: &'static str = "arXiv 2508.07243; `as_released` is checked against its public code, `trained` and \
                                  `trained_joint` are our reconstruction.";

    fn check(&self) -> Result<(), Mistake> {
        self.mistake().map_or(Ok(()), |(path, message)| Err(Mistake::new(path, message)))
    }
}

impl SamplerMethod for Cnsdiff {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits {
            candidates: 1,
            makes_vectors: self.generate,
            terms: &["contrastive", "diffusion"],
            numbers: Numbers { per_pair_of_rows: 8, ..Numbers::default() },
            ..SamplerTraits::default()
        }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        Ok(Box::new(step::Synthesis::new(self, setup)?))
    }
}
