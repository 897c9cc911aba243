//! Full ranking by libtorch: scores on any device that it knows, the best of them on the processor.

use rayon::prelude::*;
use tch::{Device, Tensor};

use super::{RankError, Scored, enter};
use crate::data::Graph;

/// Users per block.
const BLOCK: usize = 256;

/// As [`super::recommend`], with the vectors that `vectors` gives for users and those of the `items`, row-major.
pub fn recommend(
    vectors: impl Fn(&[u32]) -> Vec<f32> + Sync,
    items: &[f32],
    dim: usize,
    users: &[u32],
    masks: &[&Graph],
    k: usize,
    device: Device,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let items = Tensor::from_slice(items).view([-1, dim as i64]).to_device(device).tr();
    let blocks: Vec<_> = users.chunks(BLOCK).map(|users| (users, items.shallow_clone())).collect();
    let ranked: Result<Vec<_>, RankError> = blocks
        .into_par_iter()
        .map(|(users, items)| {
            let vectors = Tensor::from_slice(&vectors(users)).view([-1, dim as i64]).to_device(device);
            let scores = tch::no_grad(|| vectors.mm(&items));
            let mut values = vec![0.0f32; scores.numel()];
            scores.copy_data(&mut values, scores.numel());
            let width = values.len() / users.len();
            let rows = users.iter().zip(values.chunks_exact_mut(width));
            rows.map(|(&user, scores)| {
                for mask in masks {
                    for &item in mask.items_of(user) {
                        scores[item as usize] = f32::NEG_INFINITY;
                    }
                }
                best(scores, k).map_err(|item| RankError { user, item })
            })
            .collect::<Result<Vec<_>, _>>()
        })
        .collect();
    Ok(ranked?.into_iter().flatten().collect())
}

/// The `k` largest scores, or the item whose score is not a number. Scores of minus infinity are left out.
fn best(scores: &[f32], k: usize) -> Result<Vec<Scored>, u32> {
    let mut top: Vec<Scored> = Vec::with_capacity(k);
    let mut least = f32::NEG_INFINITY;
    for (item, &score) in (0u32..).zip(scores) {
        // Written so that NaN does not pass by. An equal score never enters a full list.
        if score <= least {
            continue;
        }
        if score.is_nan() {
            return Err(item);
        }
        enter(&mut top, Scored { item, score }, k);
        if top.len() == k {
            least = top[k - 1].score;
        }
    }
    Ok(top)
}
