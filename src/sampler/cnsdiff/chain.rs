//! Sampling: from noised positives down the denoising chain to candidates for hard negatives. Without gradient.

use tch::Tensor;

use super::denoiser::Denoiser;
use super::schedule::Schedule;

/// How chains run.
pub struct Chain<'a> {
    pub schedule: &'a Schedule,
    /// Start steps: a row is noised as after step `s - 1`, or not at all for 0.
    pub starts: &'a [usize],
    /// All steps for every start, as the released code does, instead of those from `s - 1` down.
    pub full: bool,
}

impl Chain<'_> {
    /// One candidate `[B, d]` per start step, in their order. `noise(rows)` and `mask(rows)` give the start noise and the
    /// dropout for that many rows. Chains that are under way go through the denoiser together.
    pub fn sample(
        &self,
        denoiser: &Denoiser,
        clean: &Tensor,
        user: Option<&Tensor>,
        mut noise: impl FnMut(usize) -> Tensor,
        mut mask: impl FnMut(usize) -> Option<Tensor>,
    ) -> Vec<Tensor> {
        let rows = clean.size()[0];
        let times = denoiser.times();
        let mut joined = Vec::new();
        let mut state: Option<Tensor> = None;
        for t in (0..self.schedule.steps()).rev() {
            for (index, &start) in self.starts.iter().enumerate() {
                let first = if self.full { self.schedule.steps() - 1 } else { start.max(1) - 1 };
                if first == t {
                    let fresh = match start {
                        0 => clean.shallow_clone(),
                        _ => {
                            let (signal, deviation) = self.schedule.noised(start - 1);
                            clean * signal + noise(rows as usize) * deviation
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
                let start = denoiser.at(&x, &times, t, users.as_ref(), mask(joined.len() * rows as usize).as_ref());
                start * self.schedule.mean_start[t] + x * self.schedule.mean_state[t]
            });
        }
        let candidates = state.map(|state| state.split(rows, 0)).unwrap_or_default();
        let mut ordered: Vec<_> = joined.into_iter().zip(candidates).collect();
        ordered.sort_by_key(|(index, _)| *index);
        ordered.into_iter().map(|(_, candidate)| candidate).collect()
    }
}
