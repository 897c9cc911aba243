//! Full ranking: every candidate is scored for every user, and the best are kept.
//!
//! The order is total: score descending, then as [`Candidates`] orders equal scores. A score that is no number fails the
//! ranking. On the processor, scores are used while they are in its cache and never kept; see [`device`] for other
//! devices.

mod device;

use multiversion::multiversion;
use rayon::prelude::*;
use tch::Device;

use super::Candidates;
use crate::data::Graph;
use crate::kernel::{HEIGHT, LANES, Lanes, Packed, tile};

/// Items whose scores are computed together.
const CHUNK: usize = 16 * HEIGHT;

/// An item and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f32,
    /// Whether the next item, which may be the first that is left out, has the same score.
    pub tied: bool,
}

/// What is ranked for a user, and how much of it is kept.
pub struct Ranking<'a> {
    pub candidates: &'a Candidates,
    /// Pairs that are left out.
    pub masks: &'a [&'a Graph],
    /// Items per user.
    pub k: usize,
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

/// The best items of each of `users`, best first. Shorter lists where fewer items are left.
/// `encoded` holds the vectors `[U + I, dim]`, users first; a score is an inner product, computed on `device`.
pub fn recommend(
    encoded: &[f32],
    n_users: usize,
    dim: usize,
    users: &[u32],
    ranking: &Ranking,
    device: Device,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let (user_rows, items) = encoded.split_at(n_users * dim);
    let vectors = |users: &[u32]| -> Vec<f32> {
        users.iter().flat_map(|&user| &user_rows[user as usize * dim..][..dim]).copied().collect()
    };
    if device != Device::Cpu {
        return device::recommend(vectors, items, dim, users, ranking, device);
    }
    // In the order of equal scores, so that of two the one that comes first stands first.
    let order = ranking.candidates.order();
    let count = order.len();
    let items = Packed::new(count, dim, |place, column| items[order[place] as usize * dim + column]);
    let ranked: Result<Vec<Vec<Vec<Scored>>>, RankError> = users
        .par_chunks(LANES)
        .map(|users| {
            let vectors = tile(&vectors(users), dim);
            let mut best = Best::new(users, ranking);
            let mut scores = vec![[0.0; LANES]; CHUNK];
            for start in (0..count).step_by(CHUNK) {
                let scores = &mut scores[..CHUNK.min(count - start)];
                scores.fill([0.0; LANES]);
                let bands = start / HEIGHT..(start + scores.len()).div_ceil(HEIGHT);
                items.accumulate(bands, 0..dim, &vectors, scores);
                best.take(start, scores)?;
            }
            Ok(best.finish())
        })
        .collect();
    Ok(ranked?.into_iter().flatten().collect())
}

/// The best items of up to [`LANES`] users, as candidates come by in their order.
struct Best<'a> {
    users: &'a [u32],
    ranking: &'a Ranking<'a>,
    top: Vec<Top>,
    /// The score that an item must exceed to enter: infinity in lanes without a user.
    least: Lanes,
    /// Memory: which of the items at hand may enter some list.
    rows: Vec<usize>,
}

impl<'a> Best<'a> {
    fn new(users: &'a [u32], ranking: &'a Ranking<'a>) -> Self {
        let least = std::array::from_fn(|lane| if lane < users.len() { f32::NEG_INFINITY } else { f32::INFINITY });
        let top = users.iter().map(|_| Top::new(ranking)).collect();
        Self { users, ranking, top, least, rows: Vec::new() }
    }

    /// Takes the scores of the candidates from place `first` on.
    fn take(&mut self, first: usize, scores: &[Lanes]) -> Result<(), RankError> {
        let mut rows = std::mem::take(&mut self.rows);
        candidates(scores, &self.least, &mut rows);
        for &row in &rows {
            for (lane, &user) in self.users.iter().enumerate() {
                let score = scores[row][lane];
                // Written so that NaN does not pass by. An equal score never enters a full list.
                if score <= self.least[lane] {
                    continue;
                }
                let item = self.ranking.candidates.order()[first + row];
                if self.ranking.masks.iter().any(|mask| mask.contains(user, item)) {
                    continue;
                }
                if score.is_nan() {
                    return Err(RankError { user, item });
                }
                self.least[lane] = self.top[lane].enter(item, score);
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn finish(self) -> Vec<Vec<Scored>> {
        self.top.into_iter().map(Top::finish).collect()
    }
}

/// The best items of a user: one more than are asked for, to tell whether the last of them is tied.
struct Top {
    k: usize,
    scored: Vec<Scored>,
}

impl Top {
    fn new(ranking: &Ranking) -> Self {
        let k = ranking.k.min(ranking.candidates.len());
        Self { k, scored: Vec::with_capacity(k + 1) }
    }

    /// Enters an item behind those with the same score. Returns the score that the next one must exceed.
    fn enter(&mut self, item: u32, score: f32) -> f32 {
        if self.scored.len() > self.k {
            self.scored.pop();
        }
        let place = self.scored.partition_point(|better| better.score >= score);
        self.scored.insert(place, Scored { item, score, tied: false });
        self.scored.get(self.k).map_or(f32::NEG_INFINITY, |last| last.score)
    }

    fn finish(mut self) -> Vec<Scored> {
        for place in 1..self.scored.len() {
            self.scored[place - 1].tied = self.scored[place - 1].score == self.scored[place].score;
        }
        self.scored.truncate(self.k);
        self.scored
    }
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

    /// All of `n` items, equal scores by ascending item.
    fn ascending(n: usize) -> Candidates {
        Candidates::in_order((0..n as u32).collect(), n)
    }

    /// The best of `scores` for one user, whose vector is 1 as the items' are their scores: on the processor, and the
    /// same by libtorch.
    fn best_of(scores: &[f32], candidates: &Candidates, k: usize) -> Result<Vec<Scored>, RankError> {
        let encoded: Vec<f32> = [1.0].iter().chain(scores).copied().collect();
        let ranking = Ranking { candidates, masks: &[], k };
        let lists = recommend(&encoded, 1, 1, &[0], &ranking, Device::Cpu);
        let by_libtorch = device::recommend(|_| vec![1.0], scores, 1, &[0], &ranking, Device::Cpu);
        assert_eq!(lists, by_libtorch);
        lists.map(|mut lists| lists.remove(0))
    }

    fn best(scores: &[f32], k: usize) -> Result<Vec<Scored>, RankError> {
        best_of(scores, &ascending(scores.len()), k)
    }

    #[test]
    fn ties_go_in_the_order_of_the_candidates() {
        assert_eq!(ids(&best(&[0.5; 9], 4).unwrap()), [0, 1, 2, 3]);
        assert_eq!(ids(&best(&[1.0, 3.0, 2.0, 3.0, 2.0], 4).unwrap()), [1, 3, 2, 4]);
        let order = Candidates::in_order(vec![4, 0, 3, 2, 1], 5);
        assert_eq!(ids(&best_of(&[0.5; 5], &order, 3).unwrap()), [4, 0, 3]);
        assert_eq!(ids(&best_of(&[1.0, 3.0, 2.0, 3.0, 2.0], &order, 4).unwrap()), [3, 1, 4, 2]);
    }

    #[test]
    fn ties_are_told_also_at_the_end_of_a_list() {
        let tied =
            |scores: &[f32], k| -> Vec<bool> { best(scores, k).unwrap().iter().map(|scored| scored.tied).collect() };
        let scores = [1.0, 3.0, 2.0, 3.0, 2.0];
        assert_eq!(tied(&scores, 5), [true, false, true, false, false]);
        assert_eq!(tied(&scores, 3), [true, false, true]);
        assert_eq!(tied(&scores, 2), [true, false]);
        assert_eq!(tied(&scores, 1), [true]);
        // An item that comes late takes the place of the one that was tied.
        assert_eq!(tied(&[2.0, 2.0, 3.0], 2), [false, true]);
        assert_eq!(tied(&[2.0, 1.0, 1.0, 3.0], 2), [false, false]);
    }

    #[test]
    fn only_candidates_are_ranked() {
        let odd = Candidates::in_order(vec![3, 1], 5);
        let ranked = best_of(&[9.0, 2.0, 8.0, 2.0, f32::NAN], &odd, 4).unwrap();
        assert_eq!(ids(&ranked), [3, 1]);
        assert_eq!(ranked.iter().map(|scored| scored.tied).collect::<Vec<_>>(), [true, false]);
    }

    /// Whatever its items are called, and wherever they stand in the data: 20 of 400 items are found by chance.
    #[test]
    fn a_model_that_knows_nothing_recommends_items_by_chance() {
        let keys: Vec<String> = (0..400).map(|item| format!("i{item}")).collect();
        let hits = |seed| {
            let candidates = Candidates::new(seed, keys.iter().map(String::as_str), |_| true);
            let top = best_of(&[0.5; 400], &candidates, 20).unwrap();
            assert!(top.iter().all(|scored| scored.tied));
            // Relevant: the first items of the data, which order by id would favour.
            top.iter().filter(|scored| scored.item < 20).count()
        };
        let found: usize = (0..200).map(hits).sum();
        // One of 20 on average; the standard deviation of the sum is 13.
        assert!((150..250).contains(&found), "{found} hits in 200 lists");
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
        // Every third item is none.
        let candidates = Candidates::in_order((0..items as u32).rev().filter(|item| item % 3 != 0).collect(), items);
        let seen = Interactions { user: vec![0, 5, 69], item: vec![1, 200, 398], ..Interactions::default() };
        let mask = Graph::with_size(users, items, &seen);
        let ranking = Ranking { candidates: &candidates, masks: &[&mask], k: 10 };
        let in_tiles = recommend(&encoded, users, dim, &ranked, &ranking, Device::Cpu).unwrap();
        let vectors = |users: &[u32]| -> Vec<f32> {
            users.iter().flat_map(|&user| &encoded[user as usize * dim..][..dim]).copied().collect()
        };
        let items = &encoded[users * dim..];
        let by_libtorch = device::recommend(vectors, items, dim, &ranked, &ranking, Device::Cpu).unwrap();
        for (tiles, libtorch) in in_tiles.iter().flatten().zip(by_libtorch.iter().flatten()) {
            assert!(tiles.item == libtorch.item && (tiles.score - libtorch.score).abs() < 1e-5);
            assert!(tiles.item % 3 != 0);
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
        let ranking = Ranking { candidates: &ascending(3), masks: &[&train, &valid], k: 3 };
        let lists = recommend(&encoded, 2, 1, &[0, 1], &ranking, Device::Cpu).unwrap();
        let scored = |item, score| Scored { item, score, tied: false };
        assert_eq!(lists[0], [scored(1, 2.0)]);
        assert_eq!(lists[1], [scored(2, 6.0), scored(1, 4.0)]);
    }
}
