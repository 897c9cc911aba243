//! Noise levels of the diffusion and what follows from them, in f64. Steps are `0..T`; step 0 is already noised once.

use super::params::{ScheduleKind, ScheduleParams};

/// Coefficients per step, each of length `T`. `bar` stands for the cumulative product of `1 - beta`.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub beta: Vec<f64>,
    pub bar: Vec<f64>,
    /// Variance of `q(x_{t-1} | x_t, x_0)`.
    pub posterior_variance: Vec<f64>,
    /// Its logarithm; at step 0, where the variance is 0, the value of step 1.
    pub posterior_log_variance: Vec<f64>,
    /// The posterior mean is `mean_start x_0 + mean_state x_t`.
    pub mean_start: Vec<f64>,
    pub mean_state: Vec<f64>,
}

impl Schedule {
    pub fn new(params: &ScheduleParams) -> Self {
        let ScheduleParams { kind, steps, scale, min, max } = *params;
        // As NumPy's `linspace`: the last value is the end itself.
        let (low, high) = (scale * min, scale * max);
        let step = (high - low) / (steps - 1) as f64;
        let mut variance: Vec<f64> = (0..steps).map(|t| low + step * t as f64).collect();
        variance[steps - 1] = high;
        let beta: Vec<f64> = match kind {
            ScheduleKind::Linear => variance,
            ScheduleKind::LinearVar => (0..steps)
                .map(|t| match t {
                    0 => variance[0],
                    _ => (1.0 - (1.0 - variance[t]) / (1.0 - variance[t - 1])).min(0.999),
                })
                .collect(),
        };
        let mut bar = Vec::with_capacity(steps);
        let mut product = 1.0;
        for beta in &beta {
            product *= 1.0 - beta;
            bar.push(product);
        }
        let before = |t: usize| if t == 0 { 1.0 } else { bar[t - 1] };
        let posterior_variance: Vec<f64> =
            (0..steps).map(|t| beta[t] * (1.0 - before(t)) / (1.0 - bar[t])).collect();
        let posterior_log_variance = (0..steps).map(|t| posterior_variance[t.max(1)].ln()).collect();
        let mean_start = (0..steps).map(|t| beta[t] * before(t).sqrt() / (1.0 - bar[t])).collect();
        let mean_state = (0..steps).map(|t| (1.0 - before(t)) * (1.0 - beta[t]).sqrt() / (1.0 - bar[t])).collect();
        Self { beta, posterior_variance, posterior_log_variance, mean_start, mean_state, bar }
    }

    /// Number of steps `T`.
    pub fn steps(&self) -> usize {
        self.beta.len()
    }

    /// Share of the signal and standard deviation of the noise after step `t`.
    pub fn noised(&self, t: usize) -> (f64, f64) {
        (self.bar[t].sqrt(), (1.0 - self.bar[t]).sqrt())
    }

    /// Signal-to-noise ratio after step `t`.
    pub fn snr(&self, t: usize) -> f64 {
        self.bar[t] / (1.0 - self.bar[t])
    }

    /// Weight of the reconstruction error at step `t`: 1 at step 0, else `SNR(t - 1) - SNR(t)`.
    pub fn snr_weight(&self, t: usize) -> f64 {
        if t == 0 { 1.0 } else { self.snr(t - 1) - self.snr(t) }
    }

    /// Log-variance of the state before step `t` in the causal regulariser: 0 (variance 1) at step 0.
    pub fn log_variance_before(&self, t: usize) -> f64 {
        if t == 0 { 0.0 } else { self.posterior_log_variance[t - 1] }
    }
}

/// The sinusoidal embedding of step `t`: cosines, then sines, of `t 10000^{-k / half}`; a 0 at the end of odd widths.
pub fn time_embedding(t: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let angle = |k: usize| (-(k as f32) * 10_000f32.ln() / half as f32).exp() * t as f32;
    let mut embedding: Vec<f32> = (0..half).map(|k| angle(k).cos()).collect();
    embedding.extend((0..half).map(|k| angle(k).sin()));
    embedding.resize(width, 0.0);
    embedding
}
