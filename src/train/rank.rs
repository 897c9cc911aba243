//! Full ranking: every item is scored for every user, and the best are kept.
//!
//! The order is total: score descending, then item id ascending. A score that is no number fails the ranking. On the
//! processor, scores are used while they are in its cache and never kept; see [`device`] for other devices.

mod device;

use multiversion::multiversion;
use rayon::prelude::*;
use tch::Device;

use crate::data::Graph;
use crate::kernel::{HEIGHT, LANES, Lanes, Packed, tile};

/// Items whose scores are computed together.
const CHUNK: usize = 16 * HEIGHT;

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
/// `encoded` holds the vectors `[U + I, dim]`, users first; a score is an inner product, computed on `device`.
pub fn recommend(
    encoded: &[f32],
    n_users: usize,
    dim: usize,
    users: &[u32],
    masks: &[&Graph],
    k: usize,
    device: Device,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let (user_rows, items) = encoded.split_at(n_users * dim);
    let vectors = |users: &[u32]| -> Vec<f32> {
        users.iter().flat_map(|&user| &user_rows[user as usize * dim..][..dim]).copied().collect()
    };
    if device != Device::Cpu {
        return device::recommend(vectors, items, dim, users, masks, k, device);
    }
    let count = items.len() / dim;
    let items = Packed::new(count, dim, |item, column| items[item * dim + column]);
    let ranked: Result<Vec<Vec<Vec<Scored>>>, RankError> = users
        .par_chunks(LANES)
        .map(|users| {
            let vectors = tile(&vectors(users), dim);
            let mut best = Best::new(users, masks, k);
            let mut scores = vec![[0.0; LANES]; CHUNK];
            for start in (0..count).step_by(CHUNK) {
                let scores = &mut scores[..CHUNK.min(count - start)];
                scores.fill([0.0; LANES]);
                let bands = start / HEIGHT..(start + scores.len()).div_ceil(HEIGHT);
                items.accumulate(bands, 0..dim, &vectors, scores);
                best.take(start, scores)?;
            }
            Ok(best.top)
        })
        .collect();
    Ok(ranked?.into_iter().flatten().collect())
}

/// The best items of up to [`LANES`] users, as items come by in ascending order.
struct Best<'a> {
    users: &'a [u32],
    masks: &'a [&'a Graph],
    k: usize,
    top: Vec<Vec<Scored>>,
    /// The score that an item must exceed to enter: infinity in lanes without a user.
    least: Lanes,
    /// Memory: which of the items at hand may enter some list.
    rows: Vec<usize>,
}

impl<'a> Best<'a> {
    fn new(users: &'a [u32], masks: &'a [&'a Graph], k: usize) -> Self {
        let least = std::array::from_fn(|lane| if lane < users.len() { f32::NEG_INFINITY } else { f32::INFINITY });
        Self { users, masks, k, top: vec![Vec::with_capacity(k); users.len()], least, rows: Vec::new() }
    }

    /// Takes the scores of the items from `first` on.
    fn take(&mut self, first: usize, scores: &[Lanes]) -> Result<(), RankError> {
        let mut rows = std::mem::take(&mut self.rows);
        candidates(scores, &self.least, &mut rows);
        for &row in &rows {
            for (lane, &user) in self.users.iter().enumerate() {
                let (item, score) = ((first + row) as u32, scores[row][lane]);
                // Written so that NaN does not pass by. An equal score never enters a full list.
                if score <= self.least[lane] || self.masks.iter().any(|mask| mask.contains(user, item)) {
                    continue;
                }
                if score.is_nan() {
                    return Err(RankError { user, item });
                }
                enter(&mut self.top[lane], Scored { item, score }, self.k);
                if self.top[lane].len() == self.k {
                    self.least[lane] = self.top[lane][self.k - 1].score;
                }
            }
        }
        self.rows = rows;
        Ok(())
    }
}

/// Enters an item into a list of the `k` best, behind those with the same score.
fn enter(top: &mut Vec<Scored>, scored: Scored, k: usize) {
    if top.len() == k {
        top.pop();
    }
    let place = top.partition_point(|better| better.score >= scored.score);
    top.insert(place, scored);
}

/// The rows in which some score exceeds `least` or is no number.
#[multiversion(targets("x86_64+avx2+fma"))]
fn candidates(scores: &[Lanes], least: &Lanes, rows: &mut Vec<usize>) {
    rows.clear();
    for (row, scores) in scores.iter().enumerate() {
        let passed =
            scores.iter().zip(least).map(|(score, least)| u32::from(score > least) | u32::from(score.is_nan()));
        if passed.fold(0, |any, passed| any | passed) != 0 {
            rows.push(row);
        }
    }
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

    /// The best of `scores` for one user, whose vector is 1 as the items' are their scores.
    fn best(scores: &[f32], k: usize) -> Result<Vec<Scored>, RankError> {
        let encoded: Vec<f32> = [1.0].iter().chain(scores).copied().collect();
        recommend(&encoded, 1, 1, &[0], &[], k, Device::Cpu).map(|mut lists| lists.remove(0))
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
        assert_eq!(best(&[9.0, 8.0, f32::NAN], 1), Err(RankError { user: 0, item: 2 }));
        assert_eq!(best(&[f32::NAN, 8.0], 1), Err(RankError { user: 0, item: 0 }));
    }

    #[test]
    fn items_below_everything_are_left_out() {
        assert_eq!(ids(&best(&[f32::NEG_INFINITY, 2.0], 2).unwrap()), [1]);
    }

    /// More users than a tile and more items than a chunk, both ways.
    #[test]
    fn libtorch_agrees() {
        let (users, items, dim) = (70, 400, 12);
        let mut rng = rng::stream(2, "test", 0);
        let encoded: Vec<f32> = (0..(users + items) * dim).map(|_| rng.random_range(-1.0..1.0)).collect();
        let ranked: Vec<u32> = (0..users as u32).rev().collect();
        let in_tiles = recommend(&encoded, users, dim, &ranked, &[], 10, Device::Cpu).unwrap();
        let vectors = |users: &[u32]| -> Vec<f32> {
            users.iter().flat_map(|&user| &encoded[user as usize * dim..][..dim]).copied().collect()
        };
        let items = &encoded[users * dim..];
        let by_libtorch = device::recommend(vectors, items, dim, &ranked, &[], 10, Device::Cpu).unwrap();
        for (tiles, libtorch) in in_tiles.iter().flatten().zip(by_libtorch.iter().flatten()) {
            assert!(tiles.item == libtorch.item && (tiles.score - libtorch.score).abs() < 1e-5);
        }
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
