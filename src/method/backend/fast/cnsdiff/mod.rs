//! CNSDiff's chains and losses on the processor, in tiles.

pub mod chain;
pub mod contrast;
pub mod network;
mod reconstruct;

use std::sync::Arc;

use crate::kernel::{Lanes, Unit};
use crate::method::sampler::cnsdiff::{
    Arithmetic, Chain, Cnsdiff, Contrast, Diffusion, Dropout, Rows, Schedule, Shape, Wanted, normals,
};

use contrast::{Negatives, contrast};
use network::Network;
use reconstruct::{Levels, reconstruct};

pub struct Host {
    network: Arc<Network>,
    levels: Arc<Levels>,
    negatives: Option<Arc<Negatives>>,
}

impl Host {
    /// With the parameters `weights` of the denoiser.
    pub fn new(shape: &Shape, weights: &[f32], schedule: &Schedule, reweight: bool) -> Self {
        Self {
            network: Arc::new(Network::new(shape, weights, schedule.steps())),
            levels: Arc::new(Levels::new(schedule, reweight)),
            negatives: None,
        }
    }
}

impl Arithmetic for Host {
    fn share(&self) -> Box<dyn Arithmetic> {
        let Self { network, levels, negatives } = self;
        Box::new(Self { network: network.clone(), levels: levels.clone(), negatives: negatives.clone() })
    }

    fn compare(&mut self, generated: Option<&Unit>, uniform: &Unit) {
        self.negatives = Some(Arc::new(Negatives::new(generated, uniform)));
    }

    fn candidates(&self, rows: &Rows, params: &Cnsdiff, chain: &Chain) -> Vec<Vec<f32>> {
        let mut noise = rows.draws.stream("start noise");
        let mut masks = rows.draws.stream("chain dropout");
        let dropout = Dropout::new(params.chain_dropout());
        chain::sample(
            chain,
            &self.network,
            rows.clean,
            rows.condition(params),
            || normals(&mut noise, rows.clean.len()),
            dropout.as_ref().map(|dropout| |tile: &mut [Lanes]| dropout.fill(&mut masks, tile)),
        )
    }

    fn contrast(&self, rows: &Rows, params: &Cnsdiff, weight: f64) -> Option<Contrast> {
        let negatives = self.negatives.as_ref()?;
        let noise = normals(&mut rows.draws.stream("positive noise"), rows.positives.len());
        let deviation = params.positive_noise as f32;
        let noised = rows.positives.iter().zip(noise).map(|(value, noise)| value + noise * deviation).collect();
        Some(contrast(rows.positives, noised, negatives, params.temperature, weight))
    }

    fn diffusion(&self, rows: &Rows, params: &Cnsdiff, weight: f64, wanted: Wanted) -> Diffusion {
        reconstruct(&self.network, &self.levels, rows, params, weight, wanted)
    }
}
