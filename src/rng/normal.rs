//! Standard normal numbers by the ziggurat method (Marsaglia and Tsang 2000, in the form of Doornik 2005). The same as
//! `rand_distr` draws, but for its exponentials and logarithms, which are the C library's and differ between versions of it.

use std::sync::LazyLock;

use rand::{Rng, RngExt};

/// Layers of equal area.
const LAYERS: usize = 256;
/// Where the tail begins.
const TAIL: f64 = 3.654_152_885_361_009;
/// The area of a layer.
const AREA: f64 = 0.004_928_673_233_99;

/// The standard normal distribution.
pub struct Normal {
    /// The right ends of the layers, from the lowest, which stands for the tail as well; 0 at last.
    edges: [f64; LAYERS + 1],
    /// The density, unscaled, at these.
    heights: [f64; LAYERS + 1],
}

static NORMAL: LazyLock<Normal> = LazyLock::new(|| {
    let mut edges = [0.0; LAYERS + 1];
    edges[0] = AREA / density(TAIL);
    edges[1] = TAIL;
    for layer in 2..LAYERS {
        edges[layer] = (-2.0 * libm::log(AREA / edges[layer - 1] + density(edges[layer - 1]))).sqrt();
    }
    Normal { edges, heights: edges.map(density) }
});

fn density(x: f64) -> f64 {
    libm::exp(-0.5 * x * x)
}

impl Normal {
    pub fn standard() -> &'static Self {
        &NORMAL
    }

    #[inline]
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        loop {
            let bits = rng.next_u64();
            let layer = bits as usize % LAYERS;
            // The highest 52 bits, as a number from -1 to 1.
            let u = f64::from_bits(bits >> 12 | 0x4000_0000_0000_0000) - 3.0;
            let x = u * self.edges[layer];
            if x.abs() < self.edges[layer + 1] {
                return x;
            }
            if layer == 0 {
                return tail(rng).copysign(u);
            }
            let (low, high) = (self.heights[layer], self.heights[layer + 1]);
            if high + (low - high) * rng.random::<f64>() < density(x) {
                return x;
            }
        }
    }
}

/// A number beyond [`TAIL`].
#[cold]
fn tail(rng: &mut impl Rng) -> f64 {
    loop {
        let [x, y] = [(); 2].map(|()| -libm::log(positive(rng)));
        let x = x / TAIL;
        if 2.0 * y > x * x {
            return TAIL + x;
        }
    }
}

/// A uniform number above 0, at most 1.
pub(super) fn positive(rng: &mut impl Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn the_layers_close_at_the_top() {
        let normal = Normal::standard();
        let top = normal.edges[LAYERS - 1];
        assert!((AREA / top + density(top) - 1.0).abs() < 1e-8, "the last layer ends at {}", AREA / top + density(top));
        assert!(normal.edges.windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn moments_and_tails_are_those_of_the_distribution() {
        let mut rng = stream(3, "test", 0);
        let draws: Vec<f64> = (0..2_000_000).map(|_| Normal::standard().draw(&mut rng)).collect();
        let moment = |power: i32| draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64;
        for (power, expected, error) in [(1, 0.0, 0.004), (2, 1.0, 0.006), (3, 0.0, 0.02), (4, 3.0, 0.05)] {
            assert!((moment(power) - expected).abs() < error, "moment {power}: {}", moment(power));
        }
        // Shares below, and far out on both sides.
        let share =
            |counts: &dyn Fn(f64) -> bool| draws.iter().filter(|&&x| counts(x)).count() as f64 / draws.len() as f64;
        for (at, expected) in [(-1.0, 0.158_655), (0.5, 0.691_462), (2.0, 0.977_250)] {
            assert!((share(&|x| x < at) - expected).abs() < 0.0015, "{at}: {}", share(&|x| x < at));
        }
        for side in [-1.0, 1.0] {
            let beyond = share(&|x| side * x > TAIL);
            assert!((beyond / 1.29e-4 - 1.0).abs() < 0.25, "{beyond}");
        }
    }

    /// Whatever the machine.
    #[test]
    fn the_bits_are_these() {
        let mut rng = stream(1, "test", 0);
        let mix = (0..100_000)
            .fold(0u64, |sum, _| sum.wrapping_mul(31).wrapping_add(Normal::standard().draw(&mut rng).to_bits()));
        assert_eq!(mix, 6_094_924_737_539_622_927);
    }
}
