//! The diffusion loss: reconstruction of the item vector from a noised state, and the causal regulariser, a KL
//! divergence between the prediction and the state one step before.

use tch::{Device, Kind, Tensor};

use super::denoiser::Denoiser;
use crate::method::backend::torch::tensor::rows_at;
use crate::method::sampler::cnsdiff::Schedule;

/// Per-step coefficients as tensors `[T]`, cast from f64 once.
pub struct Coefficients {
    signal: Tensor,
    deviation: Tensor,
    snr_weight: Tensor,
    log_variance: Tensor,
    log_variance_before: Tensor,
}

/// The losses of a block.
pub struct Diffusion {
    /// Weighted reconstruction error per row `[B]`.
    pub reconstruction: Tensor,
    /// KL divergence per row, mean over the width `[B]`, before its weight.
    pub causal: Tensor,
}

impl Coefficients {
    pub fn new(schedule: &Schedule, reweight: bool, device: Device) -> Self {
        let table = |value: &dyn Fn(usize) -> f64| {
            let values: Vec<f32> = (0..schedule.steps()).map(|t| value(t) as f32).collect();
            Tensor::from_slice(&values).to_device(device)
        };
        Self {
            signal: table(&|t| schedule.noised(t).0),
            deviation: table(&|t| schedule.noised(t).1),
            snr_weight: table(&|t| if reweight { schedule.snr_weight(t) } else { 1.0 }),
            log_variance: table(&|t| schedule.posterior_log_variance[t]),
            log_variance_before: table(&|t| schedule.log_variance_before(t)),
        }
    }

    /// The same coefficients for another thread.
    pub fn share(&self) -> Self {
        let Self { signal, deviation, snr_weight, log_variance, log_variance_before } = self;
        Self {
            signal: signal.shallow_clone(),
            deviation: deviation.shallow_clone(),
            snr_weight: snr_weight.shallow_clone(),
            log_variance: log_variance.shallow_clone(),
            log_variance_before: log_variance_before.shallow_clone(),
        }
    }

    /// The state `[B, d]` after the steps `t` `[B]` of clean rows, with standard normal `noise`.
    pub fn noised(&self, clean: &Tensor, t: &Tensor, noise: &Tensor) -> Tensor {
        let at = |table: &Tensor| table.index_select(0, t).unsqueeze(-1);
        clean * at(&self.signal) + noise * at(&self.deviation)
    }

    /// The losses of clean rows `[B, d]` at the steps `t` `[B]` with one `noise` `[B, d]` for both states.
    pub fn losses(
        &self,
        denoiser: &Denoiser,
        clean: &Tensor,
        user: Option<&Tensor>,
        t: &Tensor,
        noise: &Tensor,
        mask: Option<&Tensor>,
    ) -> Diffusion {
        let state = self.noised(clean, t, noise);
        let before = self.noised(clean, &(t - 1).clamp_min(0), noise);
        let prediction = denoiser.forward(&state, &rows_at(&denoiser.times(), t), user, mask);
        let per_row = |rows: Tensor| rows.mean_dim([-1i64].as_slice(), false, Kind::Float);
        let reconstruction = per_row((clean - &prediction).square()) * self.snr_weight.index_select(0, t);
        let variance = self.log_variance.index_select(0, t);
        let variance_before = self.log_variance_before.index_select(0, t);
        let gap = per_row((prediction - before).square());
        let causal = (&variance_before - &variance - 1.0
            + (&variance - &variance_before).exp()
            + gap * (-&variance_before).exp())
            * 0.5;
        Diffusion { reconstruction, causal }
    }
}
