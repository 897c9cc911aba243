//! Beta-distributed numbers: of two gamma-distributed ones, the share of the first.

use rand::Rng;

use super::Normal;
use super::normal::positive;

/// The beta distribution.
#[derive(Clone, Copy, Debug)]
pub struct Beta {
    a: f64,
    b: f64,
}

impl Beta {
    /// None unless both parameters are positive and finite.
    pub fn new(a: f64, b: f64) -> Option<Self> {
        let fine = |x: f64| x > 0.0 && x.is_finite();
        (fine(a) && fine(b)).then_some(Self { a, b })
    }

    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        let [first, second] = [self.a, self.b].map(|shape| log_gamma_distributed(shape, rng));
        1.0 / (1.0 + libm::exp(second - first))
    }
}

/// The logarithm of a number with the gamma distribution of scale 1 (Marsaglia and Tsang 2000): numbers of small shapes
/// are often below what floats can hold.
fn log_gamma_distributed(shape: f64, rng: &mut impl Rng) -> f64 {
    if shape < 1.0 {
        return log_gamma_distributed(shape + 1.0, rng) + libm::log(positive(rng)) / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = Normal::standard().draw(rng);
        let v = 1.0 + c * x;
        if v <= 0.0 {
            continue;
        }
        let log_v = 3.0 * libm::log(v);
        if libm::log(positive(rng)) < 0.5 * x * x + d * (1.0 - v * v * v + log_v) {
            return libm::log(d) + log_v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn means_and_spreads_are_those_of_the_distribution() {
        for (a, b) in [(1.0, 9.0), (9.0, 1.0), (1.0, 1.0), (0.3, 0.7), (50.0, 20.0), (0.01, 0.02)] {
            let mut rng = stream(7, "test", 0);
            let beta = Beta::new(a, b).unwrap();
            let draws: Vec<f64> = (0..200_000).map(|_| beta.draw(&mut rng)).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / draws.len() as f64;
            let (exact, spread) = (a / (a + b), a * b / ((a + b) * (a + b) * (a + b + 1.0)));
            assert!(
                (mean - exact).abs() < 5.0 * (spread / 200_000.0).sqrt(),
                "Beta({a}, {b}): mean {mean}, not {exact}"
            );
            assert!((variance / spread - 1.0).abs() < 0.03, "Beta({a}, {b}): variance {variance}, not {spread}");
            assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
        }
    }

    #[test]
    fn parameters_must_be_positive() {
        assert!(Beta::new(0.0, 1.0).is_none() && Beta::new(1.0, f64::NAN).is_none());
        assert!(Beta::new(f64::INFINITY, 1.0).is_none());
    }
}
