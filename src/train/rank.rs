//! Full ranking: every item is scored for every user, and the best are kept.
//!
//! The order is total: score descending, then item id ascending. A score that is no number fails the ranking.

use rayon::prelude::*;
use tch::{Device, Tensor};

use crate::data::Graph;

/// Users per block: fixed, so that scores have the same bits for any number of threads.
const BLOCK: usize = 256;

/// An item and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f32,
}

/// A score is not a number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "the score of item {item} for user {user} is not a number: training diverged, a smaller learning rate may help"
)]
pub struct RankError {
    pub user: u32,
    pub item: u32,
}

/// The `k` best items of each of `users`, best first, without the items of the `masks`. Shorter where fewer are left.
/// `encoded` holds the vectors `[U + I, dim]`, users first; a score is an inner
/// product, computed on `device`.
pub fn recommend(
    encoded: &[f32],
    n_users: usize,
    dim: usize,
    users: &[u32],
    masks: &[&Graph],
    k: usize,
    device: Device,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let items = Tensor::from_slice(&encoded[n_users * dim..]).view([-1, dim as i64]).to_device(device).tr();
    let blocks: Vec<_> = users.chunks(BLOCK).map(|users| (users, items.shallow_clone())).collect();
    let ranked: Result<Vec<_>, RankError> = blocks
        .into_par_iter()
        .map(|(users, items)| {
            let vectors = |user: &u32| &encoded[*user as usize * dim..][..dim];
            let flat: Vec<f32> = users.iter().flat_map(vectors).copied().collect();
            let vectors = Tensor::from_slice(&flat).view([-1, dim as i64]).to_device(device);
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
    for (item, &score) in scores.iter().enumerate() {
        // Written so that NaN does not pass by. Items come in ascending order: an equal score never enters a full list.
        if score <= least {
            continue;
        }
        let item = item as u32;
        if score.is_nan() {
            return Err(item);
        }
        if top.len() == k {
            top.pop();
        }
        let place = top.partition_point(|better| better.score >= score);
        top.insert(place, Scored { item, score });
        if top.len() == k {
            least = top[k - 1].score;
        }
    }
    Ok(top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interactions;
    use crate::rng;
    use rand::RngExt;

    fn ids(top: &[Scored]) -> Vec<u32> {
        top.iter().map(|scored| scored.item).collect()
    }

    #[test]
    fn ties_go_by_item() {
        assert_eq!(ids(&best(&[0.5; 9], 4).unwrap()), [0, 1, 2, 3]);
        assert_eq!(ids(&best(&[1.0, 3.0, 2.0, 3.0, 2.0], 4).unwrap()), [1, 3, 2, 4]);
    }

    #[test]
    fn agrees_with_sorting() {
        let mut rng = rng::stream(1, "test", 0);
        let scores: Vec<f32> = (0..500).map(|_| rng.random_range(0..60) as f32).collect();
        let mut sorted: Vec<u32> = (0..500).collect();
        sorted.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        for k in [1, 7, 100, 500] {
            assert_eq!(ids(&best(&scores, k).unwrap()), sorted[..k]);
        }
    }

    #[test]
    fn not_a_number_fails_wherever_it_is() {
        assert_eq!(best(&[9.0, 8.0, f32::NAN], 1), Err(2));
        assert_eq!(best(&[f32::NAN, 8.0], 1), Err(0));
    }

    #[test]
    fn masked_items_are_left_out() {
        let pairs = |user: &[u32], item: &[u32]| {
            Graph::with_size(
                2,
                3,
                &Interactions { user: user.to_vec(), item: item.to_vec(), ..Interactions::default() },
            )
        };
        let (train, valid) = (pairs(&[0, 1], &[2, 0]), pairs(&[0], &[0]));
        // Users 1 and 2, items 1, 2 and 3, width 1.
        let encoded = [1.0, 2.0, 1.0, 2.0, 3.0];
        let lists = recommend(&encoded, 2, 1, &[0, 1], &[&train, &valid], 3, Device::Cpu).unwrap();
        assert_eq!(lists[0], [Scored { item: 1, score: 2.0 }]);
        assert_eq!(lists[1], [Scored { item: 2, score: 6.0 }, Scored { item: 1, score: 4.0 }]);
    }
}
