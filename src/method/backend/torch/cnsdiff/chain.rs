//! Sampling by libtorch.

use tch::Tensor;

use super::denoiser::Denoiser;
use crate::method::sampler::cnsdiff::Chain;

/// Candidates for the rows `clean`: one `[B, d]` per start step, in their order. `noise()` gives the start
/// noise of as many rows, `mask(chains)` the dropout of the rows of as many chains. Chains that are under way go through the
/// denoiser together.
pub fn sample(
    chain: &Chain,
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
    for t in (0..chain.schedule.steps()).rev() {
        for (index, &start) in chain.starts.iter().enumerate() {
            if chain.first(start) == t {
                let fresh = match start {
                    0 => clean.shallow_clone(),
                    _ => {
                        let (signal, deviation) = chain.schedule.noised(start - 1);
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
            start * chain.schedule.mean_start[t] + x * chain.schedule.mean_state[t]
        });
    }
    let candidates = state.map(|state| state.split(rows, 0)).unwrap_or_default();
    let mut ordered: Vec<_> = joined.into_iter().zip(candidates).collect();
    ordered.sort_by_key(|(index, _)| *index);
    ordered.into_iter().map(|(_, candidate)| candidate).collect()
}
