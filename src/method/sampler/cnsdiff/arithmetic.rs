//! What of a step is worth a device: the denoising chains, the contrastive loss and the diffusion loss with their
//! gradients. [`fast`](crate::method::backend::fast) computes them on the processor by formulas
//! written down, [`torch`](crate::method::backend::torch) by libtorch and its automatic differentiation; from the same draws both come to
//! the same values, to rounding.

use super::chain::Chain;
use super::draws::Draws;
use super::params::{Cnsdiff, Condition};
use crate::kernel::Unit;

/// Some rows of a step: a block.
pub struct Rows<'a> {
    pub draws: &'a Draws,
    pub dim: usize,
    /// Encoded vectors, row-major: users, their positives, and the positives divided by the scale of the diffusion.
    pub users: &'a [f32],
    pub positives: &'a [f32],
    pub clean: &'a [f32],
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        self.positives.len() / self.dim
    }

    /// The users, if the denoiser is conditioned on them.
    pub fn condition(&self, params: &Cnsdiff) -> Option<&[f32]> {
        (params.condition == Condition::User).then_some(self.users)
    }
}

/// The contrastive loss of a block.
pub struct Contrast {
    /// Sum over the rows.
    pub loss: f64,
    /// Gradient with respect to the positives, row-major.
    pub positives: Vec<f32>,
    /// Gradient with respect to the unit vectors of all uniform negatives of the step, row-major.
    pub negatives: Vec<f32>,
}

/// The diffusion loss of a block.
pub struct Diffusion {
    /// Sum over the rows.
    pub loss: f64,
    /// Gradient with respect to the clean rows, row-major; empty where it was not asked for.
    pub clean: Vec<f32>,
    /// Gradient with respect to the denoiser's parameters; empty where it was not asked for.
    pub weights: Vec<f32>,
}

/// Which gradients of the diffusion loss are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub clean: bool,
    pub weights: bool,
}

/// The three of them, on some device. Gradients are of the loss times a weight.
pub trait Arithmetic: Send {
    /// The same for another thread.
    fn share(&self) -> Box<dyn Arithmetic>;

    /// Takes the negatives that the contrastive loss of this step compares with: generated ones and uniform ones.
    fn compare(&mut self, generated: Option<&Unit>, uniform: &Unit);

    /// Candidates for hard negatives: one set of rows per start step, row-major, before the scale is undone.
    fn candidates(&self, rows: &Rows, params: &Cnsdiff, chain: &Chain) -> Vec<Vec<f32>>;

    /// The contrastive loss against the negatives of [`Self::compare`]; none without them.
    fn contrast(&self, rows: &Rows, params: &Cnsdiff, weight: f64) -> Option<Contrast>;

    fn diffusion(&self, rows: &Rows, params: &Cnsdiff, weight: f64, wanted: Wanted) -> Diffusion;
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use tch::Device;

    use super::*;
    use crate::method::backend::fast::cnsdiff::Host;
    use crate::method::backend::torch::cnsdiff::OnDevice;
    use crate::method::sampler::cnsdiff::params::{DenoiserParams, Variant};
    use crate::method::sampler::cnsdiff::{Schedule, Shape, normals};

    fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
        let scale = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let gap = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(found.len() == expected.len() && gap <= 2e-5 * scale, "{what}: off by {gap}, of {scale}");
    }

    /// Formulas against automatic differentiation: with and without users, norm and dropout, for numbers of rows that
    /// fill tiles and that do not.
    #[test]
    fn both_come_to_the_same() {
        for (count, dim, user, norm, dropout, variant) in [
            (70, 24, true, true, 0.5, Variant::AsReleased),
            (64, 64, false, true, 0.1, Variant::Trained),
            (5, 7, true, false, 0.0, Variant::TrainedJoint),
        ] {
            let condition = if user { Condition::User } else { Condition::None };
            let denoiser = DenoiserParams { hidden: 40, time: 10, norm, dropout, ..DenoiserParams::default() };
            let params = Cnsdiff { condition, denoiser, variant, ..Cnsdiff::default() };
            let (shape, schedule) = (Shape::new(&params, dim), Schedule::new(&params.schedule));
            let (weights, starts) = (shape.init(1), params.starts());
            let chain = Chain { schedule: &schedule, starts: &starts, full: variant == Variant::AsReleased };
            let draws = Draws::new(9, 4, 2);
            let random = |name: &str, rows: usize| normals(&mut draws.stream(name), rows * dim);
            let [users, positives, clean] = ["users", "positives", "clean"].map(|name| random(name, count));
            let rows = Rows { draws: &draws, dim, users: &users, positives: &positives, clean: &clean };
            let generated = Unit::new(random("generated", 50), dim);
            let uniform = Unit::new(random("uniform", 90), dim);

            let mut host = Host::new(&shape, &weights, &schedule, true);
            let mut device = OnDevice::new(&shape, &weights, &schedule, true, Device::Cpu);
            assert!(host.contrast(&rows, &params, 1.0).is_none() && device.contrast(&rows, &params, 1.0).is_none());
            host.compare(Some(&generated), &uniform);
            device.compare(Some(&generated), &uniform);
            let [host, device] = [host.share(), device.share()];

            let [found, expected] = [&host, &device].map(|arithmetic| arithmetic.candidates(&rows, &params, &chain));
            assert_eq!((found.len(), expected.len()), (3, 3));
            found.iter().zip(&expected).for_each(|(found, expected)| assert_close("candidates", found, expected));

            let [found, expected] =
                [&host, &device].map(|arithmetic| arithmetic.contrast(&rows, &params, 0.3).unwrap());
            assert!((found.loss / expected.loss - 1.0).abs() < 1e-5);
            assert_close("positives", &found.positives, &expected.positives);
            assert_close("negatives", &found.negatives, &expected.negatives);

            for wanted in [Wanted { clean: true, weights: true }, Wanted { clean: false, weights: false }] {
                let [found, expected] =
                    [&host, &device].map(|arithmetic| arithmetic.diffusion(&rows, &params, 0.7, wanted));
                assert!((found.loss / expected.loss - 1.0).abs() < 1e-5);
                assert_close("clean", &found.clean, &expected.clean);
                assert_eq!(found.weights.len(), if wanted.weights { shape.parameters() } else { 0 });
                let (mut from, layers) = (0, shape.split(&weights).map(|(weight, bias)| [weight.len(), bias.len()]));
                for length in layers.concat().into_iter().filter(|_| wanted.weights) {
                    let at = from..from + length;
                    assert_close("weights", &found.weights[at.clone()], &expected.weights[at]);
                    from += length;
                }
            }
        }
    }
}
