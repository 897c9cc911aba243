//! The kernels of CNSDiff against automatic differentiation, from the same draws.

use tch::{Device, Tensor};

use super::{OnDevice, contrastive};
use crate::kernel::Unit;
use crate::method::backend::fast::cnsdiff::Host;
use crate::method::backend::fast::cnsdiff::contrast::{Negatives, contrast};
use crate::method::backend::torch::tensor::{gradient, leaf, normalize};
use crate::method::sampler::cnsdiff::{
    Arithmetic, Chain, Cnsdiff, Condition, DenoiserParams, Draws, Rows, Schedule, Shape, Variant, Wanted, normals,
};
use crate::rng;

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

        let [found, expected] = [&host, &device].map(|arithmetic| arithmetic.contrast(&rows, &params, 0.3).unwrap());
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

fn assert_closer(what: &str, found: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let gap = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(found.len() == expected.len() && gap <= 1e-5 * scale, "{what}: off by {gap}, of {scale}");
}

/// Against automatic differentiation of the same loss, at a usual temperature and at one that needs the shift.
#[test]
fn loss_and_gradient_are_those_of_autograd() {
    for (anchors, fixed, free, dim, temperature) in [(70, 40, 101, 24, 2.0), (33, 0, 7, 5, 0.2), (32, 6, 50, 64, 0.02)]
    {
        let mut rng = rng::stream(3, "test", anchors as u64);
        let mut draw = |rows: usize| normals(&mut rng, rows * dim);
        let (a, noise, hard, uniform) = (draw(anchors), draw(anchors), draw(fixed), draw(free));
        let noised: Vec<f32> = a.iter().zip(&noise).map(|(a, noise)| a + 0.3 * noise).collect();
        let hard = Unit::new(hard, dim);
        let unit = Unit::new(uniform.clone(), dim);
        let negatives = Negatives::new((fixed > 0).then_some(&hard), &unit);
        let mut found = contrast(&a, noised, &negatives, temperature, 0.7);

        let matrix = |values: &[f32]| Tensor::from_slice(values).view([-1, dim as i64]);
        let (anchor, shared) = (leaf(&matrix(&a)), leaf(&matrix(&uniform)));
        let all = Tensor::cat(&[matrix(&hard.rows), normalize(&shared)], 0);
        let value = contrastive(&anchor, &(&anchor + matrix(&noise) * 0.3), &all, temperature);
        (&value * 0.7).backward();
        assert!((found.loss / value.double_value(&[]) - 1.0).abs() < 1e-5);
        assert_closer("anchors", &found.positives, &gradient(&anchor));
        let rows = found.negatives.chunks_exact_mut(dim);
        rows.enumerate().for_each(|(row, gradient)| unit.pull_back(row, gradient));
        assert_closer("negatives", &found.negatives, &gradient(&shared));
    }
}
