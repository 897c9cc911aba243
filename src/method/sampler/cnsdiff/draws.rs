//! The random numbers of a block: one named stream per purpose, at the position of step and block, so that they depend
//! neither on other blocks nor on threads.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::kernel::{LANES, Lanes};
use crate::method::MethodError;
use crate::rng::{self, Beta, Normal};

/// The streams of one block of one step.
pub struct Draws {
    seed: u64,
    index: u64,
}

impl Draws {
    /// For block number `block` (below 65,536) of step `step`.
    pub fn new(seed: u64, step: u64, block: usize) -> Self {
        Self { seed, index: step << 16 | block as u64 }
    }

    pub fn stream(&self, name: &str) -> ChaCha8Rng {
        rng::stream(self.seed, &format!("cnsdiff {name}"), self.index)
    }

    /// Steps, uniform over `0..steps`.
    pub fn steps(&self, rows: usize, steps: usize) -> Vec<i64> {
        let mut rng = self.stream("diffusion step");
        (0..rows).map(|_| rng.random_range(0..steps as i64)).collect()
    }

    /// Shares of the generated vector, from `Beta(alpha, beta)` lifted to at least `min`.
    pub fn shares(&self, rows: usize, [alpha, beta]: [f64; 2], min: f64) -> Result<Vec<f32>, MethodError> {
        let distribution = Beta::new(alpha, beta).ok_or(MethodError::Beta { alpha, beta })?;
        let mut rng = self.stream("mix");
        let mut share = || ((1.0 - min) * distribution.draw(&mut rng) + min).clamp(0.0, 1.0) as f32;
        Ok((0..rows).map(|_| share()).collect())
    }
}

/// Standard normal numbers.
pub fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let normal = Normal::standard();
    (0..count).map(|_| normal.draw(rng) as f32).collect()
}

/// Dropout: a factor of 0 with probability `p` (to 1/65,536), else of `1 / (1 - p)`.
pub struct Dropout {
    below: u32,
    kept: f32,
}

impl Dropout {
    /// None where `p` is 0.
    pub fn new(p: f64) -> Option<Self> {
        (p > 0.0).then(|| Self { below: ((1.0 - p) * 65_536.0).round() as u32, kept: (1.0 / (1.0 - p)) as f32 })
    }

    /// The factors of tiles of rows, tile by tile.
    pub fn fill(&self, rng: &mut ChaCha8Rng, tiles: &mut [Lanes]) {
        let mut bits = [0u8; 2 * LANES];
        for lanes in tiles {
            rng.fill_bytes(&mut bits);
            // A product and no branch, for the compiler to vectorise: half of the branches would be mispredicted.
            for (factor, bits) in lanes.iter_mut().zip(bits.as_chunks().0) {
                *factor = self.kept * f32::from(u8::from(u32::from(u16::from_le_bytes(*bits)) < self.below));
            }
        }
    }
}

/// The parameters of the Beta distribution at `epoch` of `epochs`, counted from 0.
pub fn beta_at([a, b]: [f64; 2], [a_end, b_end]: [f64; 2], epoch: usize, epochs: usize) -> [f64; 2] {
    let done = epoch as f64 / epochs as f64;
    [a + (a_end - a) * done, b + (b_end - b) * done]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_beta_schedule() {
        for (epoch, mean) in [(0, 0.1), (30, 0.3), (60, 0.5), (119, 0.893_333)] {
            let [a, b] = beta_at([1.0, 9.0], [9.0, 1.0], epoch, 120);
            assert!((a / (a + b) - mean).abs() < 1e-6);
            let shares = Draws::new(3, epoch as u64, 0).shares(50_000, [a, b], 0.0).unwrap();
            let found = shares.iter().map(|&x| f64::from(x)).sum::<f64>() / shares.len() as f64;
            assert!((found - mean).abs() < 0.003, "epoch {epoch}: {found} is not {mean}");
            if epoch == 0 {
                let variance =
                    shares.iter().map(|&x| (f64::from(x) - found).powi(2)).sum::<f64>() / shares.len() as f64;
                assert!((variance.sqrt() - 0.090_453_4).abs() < 0.002);
            }
        }
        let lifted = Draws::new(3, 0, 0).shares(1_000, [1.0, 9.0], 1.0).unwrap();
        assert!(lifted.iter().all(|&share| share == 1.0));
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let mut rng = rng::stream(5, "test", 0);
        for p in [0.1, 0.5] {
            let mut mask = vec![[0.0; LANES]; 1_000];
            Dropout::new(p).unwrap().fill(&mut rng, &mut mask);
            let kept = mask.as_flattened().iter().filter(|&&value| value > 0.0).count() as f64 / 32_000.0;
            assert!((kept - (1.0 - p)).abs() < 0.01, "{kept} kept at p = {p}");
            assert!(mask.as_flattened().iter().all(|&value| value == 0.0 || value == (1.0 / (1.0 - p)) as f32));
        }
        assert!(Dropout::new(0.0).is_none());
    }
}
