//! One step of an optimiser on flat values: a single fused pass.
//!
//! Adam (Kingma & Ba, ICLR 2015) is PyTorch's: bias correction outside the root, epsilon added after it.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Rule, Update};

/// Values per parallel task.
const CHUNK: usize = 16_384;

/// Takes the step. `moments` are as long as the values, or empty where the rule keeps none.
pub fn apply(update: &Update, values: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 2]) {
    let [first, second] = moments;
    match *update.rule {
        Rule::Adam { betas: [beta1, beta2], eps, decay, decoupled } => {
            let steps = update.step as f64;
            let root = (1.0 - libm::pow(beta2, steps)).sqrt();
            let adam = Adam {
                rate: (update.lr * root / (1.0 - libm::pow(beta1, steps))) as f32,
                eps: (eps * root) as f32,
                keep: [beta1 as f32, beta2 as f32],
                add: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
                scale: update.scale,
                decay: if decoupled { 0.0 } else { decay as f32 },
                shrink: if decoupled { (1.0 - update.lr * decay) as f32 } else { 1.0 },
            };
            let plain = adam.scale == 1.0 && adam.decay == 0.0 && adam.shrink == 1.0;
            let step = if plain { adam_plain } else { adam_general };
            values
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK))
                .zip(first.par_chunks_mut(CHUNK))
                .zip(second.par_chunks_mut(CHUNK))
                .for_each(|(((values, gradient), first), second)| step(&adam, values, gradient, first, second));
        }
        Rule::Sgd { momentum, decay } => {
            let sgd =
                Sgd { rate: update.lr as f32, momentum: momentum as f32, decay: decay as f32, scale: update.scale };
            let chunks = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
            if momentum > 0.0 {
                let chunks = chunks.zip(first.par_chunks_mut(CHUNK));
                chunks.for_each(|((values, gradient), first)| sgd_with_momentum(&sgd, values, gradient, first));
            } else {
                chunks.for_each(|(values, gradient)| sgd_alone(&sgd, values, gradient));
            }
        }
    }
}

/// The numbers of one step of Adam. Numerator and denominator are multiplied by the root of the second correction, which
/// saves a division per value.
struct Adam {
    rate: f32,
    eps: f32,
    keep: [f32; 2],
    add: [f32; 2],
    scale: f32,
    /// Share of the values that is part of the gradient.
    decay: f32,
    /// Factor on the values before the step.
    shrink: f32,
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn adam_plain(adam: &Adam, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
    let Adam { rate, eps, keep, add, .. } = *adam;
    for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
        *m = keep[0] * *m + add[0] * g;
        *v = keep[1] * *v + add[1] * g * g;
        *value -= rate * *m / (v.sqrt() + eps);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn adam_general(adam: &Adam, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
    let Adam { rate, eps, keep, add, scale, decay, shrink } = *adam;
    for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
        let g = scale * g + decay * *value;
        *m = keep[0] * *m + add[0] * g;
        *v = keep[1] * *v + add[1] * g * g;
        *value = shrink * *value - rate * *m / (v.sqrt() + eps);
    }
}

/// The numbers of one step of gradient descent.
struct Sgd {
    rate: f32,
    momentum: f32,
    decay: f32,
    scale: f32,
}

fn sgd_alone(sgd: &Sgd, values: &mut [f32], gradient: &[f32]) {
    for (value, &g) in values.iter_mut().zip(gradient) {
        *value -= sgd.rate * (sgd.scale * g + sgd.decay * *value);
    }
}

fn sgd_with_momentum(sgd: &Sgd, values: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
    for ((value, &g), velocity) in values.iter_mut().zip(gradient).zip(velocity) {
        *velocity = sgd.momentum * *velocity + sgd.scale * g + sgd.decay * *value;
        *value -= sgd.rate * *velocity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rule: &Rule, lr: f64, step: u64, values: &mut [f32], gradient: &[f32], moments: &mut [Vec<f32>; 2]) {
        let [first, second] = moments;
        apply(&Update { rule, lr, step, scale: 1.0 }, values, gradient, [first, second]);
    }

    #[test]
    fn the_first_step_of_adam_is_the_learning_rate() {
        let mut values = [1.0, 1.0, 1.0];
        let mut moments = [(); 2].map(|()| vec![0.0; 3]);
        step(&Rule::default(), 0.1, 1, &mut values, &[5.0, -0.001, 0.0], &mut moments);
        for (found, expected) in values.into_iter().zip([0.9, 1.1, 1.0]) {
            assert!((found - expected as f32).abs() < 2e-6, "{found} is not {expected}");
        }
    }

    /// Every rule in f64 by its definition, three steps on f(x) = x^2 from 1, with weight decay of both kinds.
    #[test]
    fn three_steps_on_a_parabola() {
        let adam = |decay, decoupled| Rule::Adam { betas: [0.9, 0.999], eps: 1e-8, decay, decoupled };
        for rule in [
            adam(0.0, false),
            adam(0.3, false),
            adam(0.3, true),
            Rule::Sgd { momentum: 0.0, decay: 0.3 },
            Rule::Sgd { momentum: 0.9, decay: 0.0 },
        ] {
            let mut moments = [(); 2].map(|()| vec![0.0; 1]);
            let (mut values, mut x, mut m, mut v) = ([1.0f32], 1.0f64, 0.0f64, 0.0f64);
            for number in 1..=3 {
                let gradient = [2.0 * values[0]];
                step(&rule, 0.1, number, &mut values, &gradient, &mut moments);
                let mut g = 2.0 * x;
                match rule {
                    Rule::Adam { decay, decoupled, .. } => {
                        if decoupled {
                            x -= 0.1 * decay * x;
                        } else {
                            g += decay * x;
                        }
                        m = 0.9 * m + 0.1 * g;
                        v = 0.999 * v + 0.001 * g * g;
                        let corrected = m / (1.0 - 0.9f64.powi(number as i32));
                        x -= 0.1 * corrected / ((v / (1.0 - 0.999f64.powi(number as i32))).sqrt() + 1e-8);
                    }
                    Rule::Sgd { momentum, decay } => {
                        m = momentum * m + g + decay * x;
                        x -= 0.1 * m;
                    }
                }
            }
            assert!((f64::from(values[0]) - x).abs() < 1e-6, "{rule:?}: {} is not {x}", values[0]);
        }
    }

    #[test]
    fn the_scale_is_a_factor_on_the_gradient() {
        for rule in [Rule::Sgd { momentum: 0.5, decay: 0.1 }, Rule::default()] {
            let run = |scale: f32, gradient: f32| {
                let (mut values, mut first, mut second) = ([1.0f32], [0.0f32], [0.0f32]);
                let update = Update { rule: &rule, lr: 0.1, step: 1, scale };
                apply(&update, &mut values, &[gradient], [&mut first, &mut second]);
                values[0]
            };
            assert!((run(0.25, 4.0) - run(1.0, 1.0)).abs() < 1e-7);
        }
    }
}
