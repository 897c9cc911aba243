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
                .map(|t| {
                    let signal_before = if t == 0 { 1.0 } else { 1.0 - variance[t - 1] };
                    (1.0 - (1.0 - variance[t]) / signal_before).min(0.999)
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
        let posterior_variance: Vec<f64> = (0..steps).map(|t| beta[t] * (1.0 - before(t)) / (1.0 - bar[t])).collect();
        let posterior_log_variance = (0..steps).map(|t| libm::log(posterior_variance[t.max(1)])).collect();
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
    let angle = |k: usize| libm::expf(-(k as f32) * libm::logf(10_000.0) / half as f32) * t as f32;
    let mut embedding: Vec<f32> = (0..half).map(|k| libm::cosf(angle(k))).collect();
    embedding.extend((0..half).map(|k| libm::sinf(angle(k))));
    embedding.resize(width, 0.0);
    embedding
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1e-30), "{found} is not {expected}");
    }

    #[test]
    fn known_values_of_the_default() {
        let schedule = Schedule::new(&ScheduleParams::default());
        for (t, bar, deviation, log_variance, snr) in [
            (0, 0.99999, 0.003_162_277_660, -11.604_105_703_0, 99_999.0),
            (1, 0.999_885_263_158, 0.010_711_528_467, -11.604_105_703_0, 8_714.596_330),
            (9, 0.999_047_368_421, 0.030_864_730_340, -9.279_683_106_1, 1_048.723_757),
            (19, 0.998, 0.044_721_359_550, -9.215_952_040_0, 499.0),
        ] {
            assert_near(schedule.bar[t], bar, 1e-11);
            assert_near(schedule.noised(t).1, deviation, 1e-9);
            assert_near(schedule.posterior_log_variance[t], log_variance, 1e-10);
            assert_near(schedule.snr(t), snr, 1e-8);
        }
        assert_eq!((schedule.mean_start[0], schedule.mean_state[0]), (1.0, 0.0));
        assert_near(schedule.mean_start[1], 0.912_848_600_952, 1e-10);
        assert_near(schedule.mean_state[9], 0.890_008_597_054, 1e-10);
        assert_near(schedule.beta[1], 1.047_378_894_842e-4, 1e-9);
        assert_near(schedule.mean_state[1..].iter().product(), 0.004_995_02, 1e-6);
        let weights: Vec<f64> = (0..20).map(|t| schedule.snr_weight(t)).collect();
        assert_near(weights[1], 91_284.403_7, 1e-9);
        assert_near(weights[2], 4_159.241_4, 1e-8);
        assert_near(weights[19], 27.631_2, 1e-6);
        assert_near(weights[1..].iter().sum(), 99_500.0, 1e-9);
    }

    #[test]
    fn linear_keeps_less_signal() {
        let linear = Schedule::new(&ScheduleParams { kind: ScheduleKind::Linear, ..ScheduleParams::default() });
        assert_near(linear.bar[9], 0.995_196_802_891, 1e-11);
        assert_near(linear.bar[19], 0.980_087_170_458, 1e-11);
    }

    #[test]
    fn embedding_of_one_step() {
        let expected = [0.540_302_306, 0.999_95, 0.841_470_985, 0.009_999_833];
        for (found, expected) in time_embedding(1, 4).into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 1e-7);
        }
        assert_eq!(time_embedding(3, 5)[4], 0.0);
    }
}
