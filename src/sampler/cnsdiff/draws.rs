//! The random numbers of a block: one named stream per purpose, at the position of step and block, so that they depend
//! neither on other blocks nor on threads.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, StandardNormal};
use tch::{Device, Tensor};

use crate::rng;
use crate::sampler::SamplerError;

/// The streams of one block of one step.
pub struct Draws {
    seed: u64,
    index: u64,
    device: Device,
}

impl Draws {
    /// For block number `block` (below 65,536) of step `step`. Tensors come on `device`, with the same values on any.
    pub fn new(seed: u64, step: u64, block: usize, device: Device) -> Self {
        Self { seed, index: step << 16 | block as u64, device }
    }

    pub fn stream(&self, name: &str) -> ChaCha8Rng {
        rng::stream(self.seed, &format!("cnsdiff {name}"), self.index)
    }

    /// Steps `[rows]`, uniform over `0..steps`.
    pub fn steps(&self, rows: usize, steps: usize) -> Tensor {
        let mut rng = self.stream("diffusion step");
        let steps: Vec<i64> = (0..rows).map(|_| rng.random_range(0..steps as i64)).collect();
        Tensor::from_slice(&steps).to_device(self.device)
    }

    /// Shares `[rows, 1]` of the generated vector, from `Beta(alpha, beta)` lifted to at least `min`.
    pub fn shares(&self, rows: usize, [alpha, beta]: [f64; 2], min: f64) -> Result<Tensor, SamplerError> {
        let distribution = Beta::new(alpha, beta).map_err(|_| SamplerError::Beta { alpha, beta })?;
        let mut rng = self.stream("mix");
        let shares: Vec<f32> =
            (0..rows).map(|_| ((1.0 - min) * distribution.sample(&mut rng) + min).clamp(0.0, 1.0) as f32).collect();
        Ok(Tensor::from_slice(&shares).unsqueeze(-1).to_device(self.device))
    }

    /// Standard normal numbers `[rows, dim]`.
    pub fn normal(&self, rng: &mut ChaCha8Rng, rows: usize, dim: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * dim).map(|_| StandardNormal.sample(rng)).collect();
        Tensor::from_slice(&values).view([rows as i64, dim as i64]).to_device(self.device)
    }

    /// The mask of [`dropout`] `[rows, dim]`; none where `p` is 0.
    pub fn mask(&self, rng: &mut ChaCha8Rng, rows: usize, dim: usize, p: f64) -> Option<Tensor> {
        let mask = dropout(rng, rows * dim, p)?;
        Some(Tensor::from_slice(&mask).view([rows as i64, dim as i64]).to_device(self.device))
    }
}

/// Dropout: 0 with probability `p` (to 1/65,536), else `1 / (1 - p)`. None where `p` is 0.
fn dropout(rng: &mut ChaCha8Rng, count: usize, p: f64) -> Option<Vec<f32>> {
    if p == 0.0 {
        return None;
    }
    let below = ((1.0 - p) * 65_536.0).round() as u32;
    let kept = (1.0 / (1.0 - p)) as f32;
    let mut bits = vec![0u8; 2 * count];
    rng.fill_bytes(&mut bits);
    // A product and no branch, for the compiler to vectorise: half of the branches would be mispredicted.
    let value = |two: &[u8; 2]| kept * f32::from(u8::from(u32::from(u16::from_le_bytes(*two)) < below));
    Some(bits.as_chunks().0.iter().map(value).collect())
}

/// The parameters of the Beta distribution at `epoch` of `epochs`, counted from 0.
pub fn beta_at([a, b]: [f64; 2], [a_end, b_end]: [f64; 2], epoch: usize, epochs: usize) -> [f64; 2] {
    let done = epoch as f64 / epochs as f64;
    [a + (a_end - a) * done, b + (b_end - b) * done]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::tensor::values;

    #[test]
    fn shares_follow_the_beta_schedule() {
        for (epoch, mean) in [(0, 0.1), (30, 0.3), (60, 0.5), (119, 0.893_333)] {
            let [a, b] = beta_at([1.0, 9.0], [9.0, 1.0], epoch, 120);
            assert!((a / (a + b) - mean).abs() < 1e-6);
            let shares = values(&Draws::new(3, epoch as u64, 0, Device::Cpu).shares(50_000, [a, b], 0.0).unwrap());
            let found = shares.iter().map(|&x| f64::from(x)).sum::<f64>() / shares.len() as f64;
            assert!((found - mean).abs() < 0.003, "epoch {epoch}: {found} is not {mean}");
            if epoch == 0 {
                let variance =
                    shares.iter().map(|&x| (f64::from(x) - found).powi(2)).sum::<f64>() / shares.len() as f64;
                assert!((variance.sqrt() - 0.090_453_4).abs() < 0.002);
            }
        }
        let lifted = values(&Draws::new(3, 0, 0, Device::Cpu).shares(1_000, [1.0, 9.0], 1.0).unwrap());
        assert!(lifted.iter().all(|&share| share == 1.0));
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let mut rng = rng::stream(5, "test", 0);
        for p in [0.1, 0.5] {
            let mask = dropout(&mut rng, 32_000, p).unwrap();
            let kept = mask.iter().filter(|&&value| value > 0.0).count() as f64 / mask.len() as f64;
            assert!((kept - (1.0 - p)).abs() < 0.01, "{kept} kept at p = {p}");
            assert!(mask.iter().all(|&value| value == 0.0 || value == (1.0 / (1.0 - p)) as f32));
        }
        assert!(dropout(&mut rng, 4, 0.0).is_none());
    }
}
