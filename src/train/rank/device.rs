//! Full ranking by libtorch: scores on any device that it knows, the best of them on the processor.

use rayon::prelude::*;
use tch::{Device, Tensor};

use super::{RankError, Ranking, Scored, Top};

/// Users per block.
const BLOCK: usize = 256;

/// As [`super::recommend`], with the vectors that `vectors` gives for users and those of the `items`, row-major.
pub fn recommend(
    vectors: impl Fn(&[u32]) -> Vec<f32> + Sync,
    items: &[f32],
    dim: usize,
    users: &[u32],
    ranking: &Ranking,
    device: Device,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let candidates = ranking.candidates;
    let places: Vec<i64> = candidates.order().iter().map(|&item| i64::from(item)).collect();
    let items = Tensor::from_slice(items).view([-1, dim as i64]).index_select(0, &Tensor::from_slice(&places));
    let items = items.to_device(device).tr();
    let blocks: Vec<_> = users.chunks(BLOCK).map(|users| (users, items.shallow_clone())).collect();
    let ranked: Result<Vec<_>, RankError> = blocks
        .into_par_iter()
        .map(|(users, items)| {
            let vectors = Tensor::from_slice(&vectors(users)).view([-1, dim as i64]).to_device(device);
            let scores = tch::no_grad(|| vectors.mm(&items));
            let mut values = vec![0.0f32; scores.numel()];
            scores.copy_data(&mut values, scores.numel());
            let width = candidates.len().max(1);
            let rows = users.iter().zip(values.chunks_exact_mut(width));
            rows.map(|(&user, scores)| {
                for mask in ranking.masks {
                    for place in mask.items_of(user).iter().filter_map(|&item| candidates.place(item)) {
                        scores[place] = f32::NEG_INFINITY;
                    }
                }
                best(scores, ranking).map_err(|item| RankError { user, item })
            })
            .collect::<Result<Vec<_>, _>>()
        })
        .collect();
    Ok(ranked?.into_iter().flatten().collect())
}

/// The largest scores of candidates, or the item whose score is not a number. Scores of minus infinity are left out.
fn best(scores: &[f32], ranking: &Ranking) -> Result<Vec<Scored>, u32> {
    let mut top = Top::new(ranking);
    let mut least = f32::NEG_INFINITY;
    for (&item, &score) in ranking.candidates.order().iter().zip(scores) {
        // Written so that NaN does not pass by. An equal score never enters a full list.
        if score <= least {
            continue;
        }
        if score.is_nan() {
            return Err(item);
        }
        least = top.enter(item, score);
    }
    Ok(top.finish())
}
