//! Ranking: every candidate, or those of a user, are scored for every user, and the best are kept.
//!
//! The order is total: score descending, then as [`Candidates`] orders equal scores. A score that is no number fails the
//! ranking. Inner products on the processor are used while they are in its cache and never kept.

use multiversion::multiversion;
use rayon::prelude::*;

use super::Candidates;
use crate::data::Graph;
use crate::kernel::{HEIGHT, LANES, Lanes, Packed, tile};
use crate::method::backend::torch::Products;
use crate::method::{Device, Recommender, Vectors};

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

/// Users per block, where their scores are kept.
const BLOCK: usize = 256;

/// What scores come from.
#[derive(Clone, Copy)]
pub enum Scorer<'a> {
    /// Inner products of vectors, computed on `device`.
    Vectors { vectors: &'a Vectors, device: Device },
    /// A fitted recommender, which is told the items that a user has in `train`.
    Recommender { recommender: &'a dyn Recommender, train: &'a Graph },
}

/// The best items of each of `users`, best first. Shorter lists where fewer items are left.
pub fn recommend(scorer: &Scorer, users: &[u32], ranking: &Ranking) -> Result<Vec<Vec<Scored>>, RankError> {
    match *scorer {
        Scorer::Vectors { vectors, device: Device::Cpu } => by_tiles(vectors, users, ranking),
        Scorer::Vectors { vectors, device } => by_libtorch(vectors, device, users, ranking),
        Scorer::Recommender { recommender, train } => {
            let n_items = train.n_items;
            let rank = |all: &mut (Vec<f32>, Vec<f32>), &user: &u32| {
                let (all, scores) = all;
                recommender.scores(user, train.items_of(user), all);
                scores.clear();
                scores.extend(ranking.candidates.order().iter().map(|&item| all[item as usize]));
                best_of_row(user, scores, ranking)
            };
            users.par_iter().map_init(|| (vec![0.0; n_items], Vec::new()), rank).collect()
        }
    }
}

/// As [`recommend`], but only the candidates that `sets` has for a user are ranked for him or her, and scored. Inner products
/// are computed on the processor, and have the bits that tiles give them.
pub fn recommend_among(
    scorer: &Scorer,
    users: &[u32],
    ranking: &Ranking,
    sets: &Graph,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let rank = |all: &mut Vec<f32>, &user: &u32| {
        let shown = |item: &u32| !ranking.masks.iter().any(|mask| mask.contains(user, *item));
        let own = sets.items_of(user).iter().copied().filter(shown);
        let mut places: Vec<usize> = own.filter_map(|item| ranking.candidates.place(item)).collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        places.sort_unstable();
        let items = places.into_iter().map(|place| ranking.candidates.order()[place]);
        match *scorer {
            Scorer::Vectors { vectors, .. } => {
                let query = vectors.query(user);
                best(user, items.map(|item| (item, product(query, vectors.item(item)))), ranking)
            }
            Scorer::Recommender { recommender, train } => {
                all.resize(train.n_items, 0.0);
                recommender.scores(user, train.items_of(user), all);
                best(user, items.map(|item| (item, all[item as usize])), ranking)
            }
        }
    };
    users.par_iter().map_init(Vec::new, rank).collect()
}

/// The query vectors of users, one after the other.
fn queries(vectors: &Vectors, users: &[u32]) -> Vec<f32> {
    users.iter().flat_map(|&user| vectors.query(user)).copied().collect()
}

fn by_tiles(vectors: &Vectors, users: &[u32], ranking: &Ranking) -> Result<Vec<Vec<Scored>>, RankError> {
    // In the order of equal scores, so that of two the one that comes first stands first.
    let (order, dim) = (ranking.candidates.order(), vectors.width);
    let count = order.len();
    let items = Packed::new(count, dim, |place, column| vectors.items[order[place] as usize * dim + column]);
    let ranked: Result<Vec<Vec<Vec<Scored>>>, RankError> = users
        .par_chunks(LANES)
        .map(|users| {
            let vectors = tile(&queries(vectors, users), dim);
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

/// Scores on any device that libtorch knows, the best of them on the processor.
fn by_libtorch(
    vectors: &Vectors,
    device: Device,
    users: &[u32],
    ranking: &Ranking,
) -> Result<Vec<Vec<Scored>>, RankError> {
    let order = ranking.candidates.order();
    let items: Vec<f32> = order.iter().flat_map(|&item| vectors.item(item)).copied().collect();
    let products = Products::new(&items, vectors.width, device);
    let blocks: Vec<_> = users.chunks(BLOCK).map(|users| (users, products.share())).collect();
    let ranked: Result<Vec<_>, RankError> = blocks
        .into_par_iter()
        .map(|(users, products)| {
            let mut scores = products.scores(&queries(vectors, users));
            let rows = users.iter().zip(scores.chunks_exact_mut(order.len().max(1)));
            rows.map(|(&user, scores)| best_of_row(user, scores, ranking)).collect::<Result<Vec<_>, _>>()
        })
        .collect();
    Ok(ranked?.into_iter().flatten().collect())
}

/// The best of the scores of all candidates, in their order. Scores of minus infinity are left out.
fn best_of_row(user: u32, scores: &mut [f32], ranking: &Ranking) -> Result<Vec<Scored>, RankError> {
    for mask in ranking.masks {
        for place in mask.items_of(user).iter().filter_map(|&item| ranking.candidates.place(item)) {
            scores[place] = f32::NEG_INFINITY;
        }
    }
    best(user, ranking.candidates.order().iter().copied().zip(scores.iter().copied()), ranking)
}

/// The best of a user's items and scores, which come in the order of the candidates.
fn best(user: u32, scored: impl Iterator<Item = (u32, f32)>, ranking: &Ranking) -> Result<Vec<Scored>, RankError> {
    let mut top = Top::new(ranking);
    let mut least = f32::NEG_INFINITY;
    for (item, score) in scored {
        // Written so that NaN does not pass by. An equal score never enters a full list.
        if score <= least {
            continue;
        }
        if score.is_nan() {
            return Err(RankError { user, item });
        }
        least = top.enter(item, score);
    }
    Ok(top.finish())
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

/// The inner product of two rows, summed in the order of the columns as a tile does it.
#[multiversion(targets("x86_64+avx2+fma"))]
fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| a.mul_add(*b, sum))
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
    use crate::kernel::Aligned;
    use crate::rng;
    use rand::RngExt;

    /// A recommender of these scores.
    struct Given(Vec<f32>);

    impl Recommender for Given {
        fn scores(&self, _: u32, _: &[u32], scores: &mut [f32]) {
            scores.copy_from_slice(&self.0);
        }
    }

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
        let vectors = Vectors { width: 1, queries: Aligned::from(&[1.0][..]), items: Aligned::from(scores) };
        let ranking = Ranking { candidates, masks: &[], k };
        let lists = recommend(&Scorer::Vectors { vectors: &vectors, device: Device::Cpu }, &[0], &ranking);
        assert_eq!(lists, by_libtorch(&vectors, Device::Cpu, &[0], &ranking));
        let train = Graph::with_size(1, scores.len(), &Interactions::default());
        let scorer = Scorer::Recommender { recommender: &Given(scores.to_vec()), train: &train };
        assert_eq!(lists, recommend(&scorer, &[0], &ranking));
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
        let mut draw = |rows: usize| (0..rows * dim).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let (of_users, of_items) = (draw(users), draw(items));
        let vectors =
            Vectors { width: dim, queries: Aligned::from(&of_users[..]), items: Aligned::from(&of_items[..]) };
        let ranked: Vec<u32> = (0..users as u32).rev().collect();
        // Every third item is none.
        let candidates = Candidates::in_order((0..items as u32).rev().filter(|item| item % 3 != 0).collect(), items);
        let seen = Interactions { user: vec![0, 5, 69], item: vec![1, 200, 398], ..Interactions::default() };
        let mask = Graph::with_size(users, items, &seen);
        let ranking = Ranking { candidates: &candidates, masks: &[&mask], k: 10 };
        let scorer = Scorer::Vectors { vectors: &vectors, device: Device::Cpu };
        let in_tiles = recommend(&scorer, &ranked, &ranking).unwrap();
        let by_libtorch = by_libtorch(&vectors, Device::Cpu, &ranked, &ranking).unwrap();
        for (tiles, libtorch) in in_tiles.iter().flatten().zip(by_libtorch.iter().flatten()) {
            assert!(tiles.item == libtorch.item && (tiles.score - libtorch.score).abs() < 1e-5);
            assert!(tiles.item % 3 != 0);
        }
    }

    /// What a user's own candidates rank as is the full ranking without the others, to the last bit.
    #[test]
    fn own_candidates_are_ranked_as_among_all() {
        let (users, items, dim) = (70, 400, 13);
        let mut rng = rng::stream(3, "test", 0);
        let mut draw = |rows: usize| (0..rows * dim).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let (of_users, of_items) = (draw(users), draw(items));
        let vectors =
            Vectors { width: dim, queries: Aligned::from(&of_users[..]), items: Aligned::from(&of_items[..]) };
        let candidates = Candidates::in_order((0..items as u32).rev().filter(|item| item % 3 != 0).collect(), items);
        let mut pairs = |count: usize| {
            let mut ids = |below: usize| (0..count).map(|_| rng.random_range(0..below as u32)).collect::<Vec<u32>>();
            Graph::with_size(
                users,
                items,
                &Interactions { user: ids(users), item: ids(items), ..Interactions::default() },
            )
        };
        let (mask, sets, train) = (pairs(900), pairs(1_500), pairs(90));
        let everyone: Vec<u32> = (0..users as u32).rev().collect();
        let given = Given((0..items).map(|item| (item % 7) as f32).collect());
        for scorer in [
            Scorer::Vectors { vectors: &vectors, device: Device::Cpu },
            Scorer::Recommender { recommender: &given, train: &train },
        ] {
            let all = Ranking { candidates: &candidates, masks: &[&mask], k: items };
            let whole = recommend(&scorer, &everyone, &all).unwrap();
            let among = recommend_among(&scorer, &everyone, &Ranking { k: 6, ..all }, &sets).unwrap();
            for ((&user, whole), among) in everyone.iter().zip(&whole).zip(&among) {
                let own = whole.iter().filter(|scored| sets.contains(user, scored.item));
                let own: Vec<(u32, f32)> = own.map(|scored| (scored.item, scored.score)).collect();
                let among_own: Vec<(u32, f32)> = among.iter().map(|scored| (scored.item, scored.score)).collect();
                assert_eq!(among_own, own[..own.len().min(6)]);
                let ties = own.windows(2).map(|pair| pair[0].1 == pair[1].1).chain([false]);
                assert!(among.iter().map(|scored| scored.tied).eq(ties.take(among.len())));
            }
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
        let (of_users, of_items) = (Aligned::from(&[1.0, 2.0][..]), Aligned::from(&[1.0, 2.0, 3.0][..]));
        let vectors = Vectors { width: 1, queries: of_users, items: of_items };
        let ranking = Ranking { candidates: &ascending(3), masks: &[&train, &valid], k: 3 };
        let lists = recommend(&Scorer::Vectors { vectors: &vectors, device: Device::Cpu }, &[0, 1], &ranking).unwrap();
        let scored = |item, score| Scored { item, score, tied: false };
        assert_eq!(lists[0], [scored(1, 2.0)]);
        assert_eq!(lists[1], [scored(2, 6.0), scored(1, 4.0)]);
    }
}
