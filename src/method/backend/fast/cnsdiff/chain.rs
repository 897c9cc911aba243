//! Sampling on the processor, in tiles.

use super::network::Network;
use crate::kernel::{LANES, Lanes, tile, untile};
use crate::method::sampler::cnsdiff::Chain;

/// Candidates for the rows `clean` (row-major), one set per start step in their order, row-major. `users` are the
/// rows' users, `noise()` gives the start noise of as many rows, `dropout` fills factors for tiles of rows.
pub fn sample(
    chain: &Chain,
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
    for t in (0..chain.schedule.steps()).rev() {
        for (index, &start) in chain.starts.iter().enumerate().filter(|(_, start)| chain.first(**start) == t) {
            let noised = match start {
                0 => tiles(clean),
                _ => {
                    let (signal, deviation) = chain.schedule.noised(start - 1);
                    let (signal, deviation) = (signal as f32, deviation as f32);
                    let rows = clean.iter().zip(noise()).map(|(x, noise)| x * signal + noise * deviation);
                    tiles(&rows.collect::<Vec<_>>())
                }
            };
            chains.push((index, noised));
        }
        let (of_start, of_state) = (chain.schedule.mean_start[t] as f32, chain.schedule.mean_state[t] as f32);
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
