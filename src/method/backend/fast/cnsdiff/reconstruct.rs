//! The diffusion loss on the processor, tile by tile, with its gradient: reconstruction of clean rows from noised ones,
//! and the causal regulariser. The same as that of [`torch`](crate::method::backend::torch), which differentiates automatically.

use super::network::{Gradient, Network};
use crate::kernel::{LANES, Lanes, tile, untile};
use crate::method::sampler::cnsdiff::{Cnsdiff, Diffusion, Dropout, Rows, Schedule, Wanted, normals};

/// What each step means for the loss.
#[derive(Clone, Copy, Debug)]
struct Level {
    signal: f32,
    deviation: f32,
    weight: f32,
    /// The causal regulariser is `causal` times a mean squared error, plus `constant`; before its weight.
    causal: f32,
    constant: f32,
}

/// One level per step.
pub struct Levels(Vec<Level>);

impl Levels {
    /// With the reconstruction error weighted by the fall of the signal-to-noise ratio if `reweight`.
    pub fn new(schedule: &Schedule, reweight: bool) -> Self {
        let level = |t: usize| {
            let (signal, deviation) = schedule.noised(t);
            let before = schedule.log_variance_before(t);
            let gap = schedule.posterior_log_variance[t] - before;
            Level {
                signal: signal as f32,
                deviation: deviation as f32,
                weight: if reweight { schedule.snr_weight(t) as f32 } else { 1.0 },
                causal: (0.5 * libm::exp(-before)) as f32,
                constant: (0.5 * (libm::exp(gap) - gap - 1.0)) as f32,
            }
        };
        Self((0..schedule.steps()).map(level).collect())
    }
}

/// The loss of the rows at steps drawn for them.
pub fn reconstruct(
    network: &Network,
    levels: &Levels,
    rows: &Rows,
    params: &Cnsdiff,
    weight: f64,
    wanted: Wanted,
) -> Diffusion {
    let (dim, draws) = (rows.dim, rows.draws);
    let steps: Vec<usize> = draws.steps(rows.count(), params.schedule.steps).into_iter().map(|t| t as usize).collect();
    let noise = normals(&mut draws.stream("diffusion noise"), rows.clean.len());
    let mut masks = draws.stream("diffusion dropout");
    let dropout = Dropout::new(params.denoiser.dropout);
    let mut mask = vec![[0.0; LANES]; dim];

    let mut loss = 0.0;
    let mut clean = if wanted.clean { vec![0.0; rows.clean.len()] } else { Vec::new() };
    let mut weights = wanted.weights.then(|| Gradient::new(network));
    for (index, steps) in steps.chunks(LANES).enumerate() {
        let at = index * LANES * dim..(index * LANES + steps.len()) * dim;
        let users = rows.condition(params).map(|users| tile(&users[at.clone()], dim));
        if let Some(dropout) = &dropout {
            dropout.fill(&mut masks, &mut mask);
        }
        let mut part = Part {
            network,
            levels: &levels.0,
            steps,
            clean: &tile(&rows.clean[at.clone()], dim),
            noise: &tile(&noise[at.clone()], dim),
            users: users.as_deref(),
            mask: dropout.is_some().then_some(&mask[..]),
            causal_weight: params.causal_weight as f32,
            weight: weight as f32,
            weights: weights.as_mut(),
        };
        let (part_loss, gradient) = part.differentiate(wanted);
        loss += part_loss;
        if wanted.clean {
            untile(&gradient, &mut clean[at]);
        }
    }
    Diffusion { loss, clean, weights: weights.map(|weights| weights.flat(network)).unwrap_or_default() }
}

/// A tile of rows.
struct Part<'a> {
    network: &'a Network,
    levels: &'a [Level],
    steps: &'a [usize],
    clean: &'a [Lanes],
    noise: &'a [Lanes],
    users: Option<&'a [Lanes]>,
    mask: Option<&'a [Lanes]>,
    causal_weight: f32,
    weight: f32,
    weights: Option<&'a mut Gradient>,
}

impl Part<'_> {
    /// The value for each row; 0 in lanes without a row.
    fn lanes(&self, value: impl Fn(usize) -> f32) -> Lanes {
        std::array::from_fn(|lane| self.steps.get(lane).map_or(0.0, |&t| value(t)))
    }

    /// The state after the steps for which `signal` and `deviation` are given.
    fn noised(&self, signal: &Lanes, deviation: &Lanes) -> Vec<Lanes> {
        let row = |(clean, noise): (&Lanes, &Lanes)| -> Lanes {
            std::array::from_fn(|lane| clean[lane] * signal[lane] + noise[lane] * deviation[lane])
        };
        self.clean.iter().zip(self.noise).map(row).collect()
    }

    /// The loss, and its gradient with respect to the clean rows if wanted; adds the one with respect to the weights.
    fn differentiate(&mut self, wanted: Wanted) -> (f64, Vec<Lanes>) {
        let (network, levels, dim) = (self.network, self.levels, self.clean.len());
        let signal = self.lanes(|t| levels[t].signal);
        let before = self.lanes(|t| levels[t.saturating_sub(1)].signal);
        let state = self.noised(&signal, &self.lanes(|t| levels[t].deviation));
        let state_before = self.noised(&before, &self.lanes(|t| levels[t.saturating_sub(1)].deviation));
        let users = self.users.map(|users| network.users(users));
        let mut scratch = network.scratch();
        let mut prediction = vec![[0.0; LANES]; dim];
        let time = |row: usize| self.lanes(|t| network.time(t)[row]);
        network.predict(&state, time, users.as_deref(), self.mask, &mut scratch, &mut prediction);

        // Slopes of the loss in the two mean squared errors.
        let reconstruction = self.lanes(|t| levels[t].weight);
        let causal = self.lanes(|t| self.causal_weight * levels[t].causal);
        let mut loss: f64 = self.steps.iter().map(|&t| f64::from(self.causal_weight * levels[t].constant)).sum();
        let mut to_clean = vec![[0.0; LANES]; dim];
        let mut errors = [[0.0f32; LANES]; 2];
        let factor = 2.0 * self.weight / dim as f32;
        for (row, prediction) in prediction.iter_mut().enumerate() {
            for lane in 0..LANES {
                let error = prediction[lane] - self.clean[row][lane];
                let error_before = prediction[lane] - state_before[row][lane];
                errors[0][lane] = error.mul_add(error, errors[0][lane]);
                errors[1][lane] = error_before.mul_add(error_before, errors[1][lane]);
                let slope = factor * reconstruction[lane] * error;
                let slope_before = factor * causal[lane] * error_before;
                to_clean[row][lane] = -slope - slope_before * before[lane];
                prediction[lane] = slope + slope_before;
            }
        }
        for lane in 0..LANES {
            let [error, error_before] = [errors[0][lane], errors[1][lane]].map(|sum| sum / dim as f32);
            loss += f64::from(reconstruction[lane] * error + causal[lane] * error_before);
        }

        if wanted.clean || wanted.weights {
            let hidden = network.to_hidden(&prediction, &scratch);
            if let Some(weights) = &mut self.weights {
                weights.add(&prediction, &hidden, &scratch, self.steps, self.users);
            }
            if wanted.clean {
                for (to_clean, gradient) in
                    to_clean.iter_mut().zip(network.to_rows(&hidden, &state, self.mask, &scratch))
                {
                    for lane in 0..LANES {
                        to_clean[lane] += signal[lane] * gradient[lane];
                    }
                }
            }
        }
        (loss, to_clean)
    }
}
