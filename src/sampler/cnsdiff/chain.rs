//! Sampling: from noised positives down the denoising chain to candidates for hard negatives. Without gradient. On the
//! processor in tiles, on another device by libtorch.

use tch::Tensor;

use super::denoiser::Denoiser;
use super::network::Network;
use super::schedule::Schedule;
use crate::kernel::{LANES, Lanes, tile, untile};

/// How chains run.
pub struct Chain<'a> {
    pub schedule: &'a Schedule,
    /// Start steps: a row is noised as after step `s - 1`, or not at all for 0.
    pub starts: &'a [usize],
    /// All steps for every start, as the released code does, instead of those from `s - 1` down.
    pub full: bool,
}

impl Chain<'_> {
    /// The step that the chain of the start step `start` begins with.
    fn first(&self, start: usize) -> usize {
        if self.full { self.schedule.steps() - 1 } else { start.max(1) - 1 }
    }

    /// Candidates for the rows `clean` (row-major), one set per start step in their order, row-major. `users` are the
    /// rows' users, `noise()` gives the start noise of as many rows, `dropout` fills factors for tiles of rows.
    pub fn sample(
        &self,
        network: &Network,
        clean: &[f32],
        users: Option<&[f32]>,
        mut noise: impl FnMut() -> Vec<f32>,
        mut dropout: Option<impl FnMut(&mut [Lanes])>,
    ) -> Vec<Vec<f32>> {
        let dim = network.dim();
        let tiles = |rows: &[f32]| rows.chunks(LANES * dim).map(|rows| tile(rows, dim)).collect::<Vec<_>>();
        let users: Vec<_> = users.map(tiles).unwrap_or_default().iter().map(|tile| network.users(tile)).collect();
        let mut scratch = network.scratch();
        let (mut mask, mut predicted) = (vec![[0.0; LANES]; dim], vec![[0.0; LANES]; dim]);
        // The chains under way and their states, tile by tile.
        let mut chains: Vec<(usize, Vec<Vec<Lanes>>)> = Vec::new();
        for t in (0..self.schedule.steps()).rev() {
            for (index, &start) in self.starts.iter().enumerate().filter(|(_, start)| self.first(**start) == t) {
                let noised = match start {
                    0 => tiles(clean),
                    _ => {
                        let (signal, deviation) = self.schedule.noised(start - 1);
                        let (signal, deviation) = (signal as f32, deviation as f32);
                        let rows = clean.iter().zip(noise()).map(|(x, noise)| x * signal + noise * deviation);
                        tiles(&rows.collect::<Vec<_>>())
                    }
                };
                chains.push((index, noised));
            }
            let (of_start, of_state) = (self.schedule.mean_start[t] as f32, self.schedule.mean_state[t] as f32);
            for (_, states) in &mut chains {
                for (index, state) in states.iter_mut().enumerate() {
                    if let Some(dropout) = &mut dropout {
                        dropout(&mut mask);
                    }
                    let mask = dropout.is_some().then_some(&mask[..]);
                    let (time, users) = (network.time(t), users.get(index).map(Vec::as_slice));
                    network.predict(state, |row| [time[row]; LANES], users, mask, &mut scratch, &mut predicted);
                    let values = state.as_flattened_mut().iter_mut().zip(predicted.as_flattened());
                    values.for_each(|(state, start)| *state = start * of_start + *state * of_state);
                }
            }
        }
        chains.sort_by_key(|(index, _)| *index);
        let rows = |states: Vec<Vec<Lanes>>| {
            let mut rows = vec![0.0; clean.len()];
            rows.chunks_mut(LANES * dim).zip(&states).for_each(|(rows, state)| untile(state, rows));
            rows
        };
        chains.into_iter().map(|(_, states)| rows(states)).collect()
    }

    /// As [`Self::sample`], by libtorch: one candidate `[B, d]` per start step, in their order. `noise()` gives the start
    /// noise of as many rows, `mask(chains)` the dropout of the rows of as many chains. Chains that are under way go through the
    /// denoiser together.
    pub fn sample_tensors(
        &self,
        denoiser: &Denoiser,
        clean: &Tensor,
        user: Option<&Tensor>,
        mut noise: impl FnMut() -> Tensor,
        mut mask: impl FnMut(usize) -> Option<Tensor>,
    ) -> Vec<Tensor> {
        let rows = clean.size()[0];
        let times = denoiser.times();
        let mut joined = Vec::new();
        let mut state: Option<Tensor> = None;
        for t in (0..self.schedule.steps()).rev() {
            for (index, &start) in self.starts.iter().enumerate() {
                if self.first(start) == t {
                    let fresh = match start {
                        0 => clean.shallow_clone(),
                        _ => {
                            let (signal, deviation) = self.schedule.noised(start - 1);
                            clean * signal + noise() * deviation
                        }
                    };
                    state = Some(match state {
                        Some(state) => Tensor::cat(&[state, fresh], 0),
                        None => fresh,
                    });
                    joined.push(index);
                }
            }
            state = state.map(|x| {
                let users = user.map(|user| user.repeat([joined.len() as i64, 1]));
                let start = denoiser.at(&x, &times, t, users.as_ref(), mask(joined.len()).as_ref());
                start * self.schedule.mean_start[t] + x * self.schedule.mean_state[t]
            });
        }
        let candidates = state.map(|state| state.split(rows, 0)).unwrap_or_default();
        let mut ordered: Vec<_> = joined.into_iter().zip(candidates).collect();
        ordered.sort_by_key(|(index, _)| *index);
        ordered.into_iter().map(|(_, candidate)| candidate).collect()
    }
}
