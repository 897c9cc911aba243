//! Uniform negatives (RNS): `q(j | u) = 1 / (I - |I_u+|)` over the items that the user has not interacted with in
//! training, by rejection. Most draws are accepted by a small filter; only where that cannot tell are the user's items
//! searched.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Negatives, Sampler, SamplerMethod, SamplerTraits};
use crate::data::Graph;
use crate::method::{Batch, Method, MethodError, Setup, Step};
use crate::rng;

/// Rows that share a random stream.
const BLOCK: usize = 1024;

/// Uniform negatives among the items that the user has not interacted with in training.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uniform {}

impl Method for Uniform {
    const NAME: &'static str = "uniform";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Uniform negatives among the items that the user has not interacted with in training.";
    const SOURCE: &'static str = "Rendle et al., BPR, UAI 2009. Validation and test items may be drawn.";
}

impl SamplerMethod for Uniform {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits { candidates: 1, many: true, log_q: true, ..SamplerTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        let draws = UniformDraws::new(&setup.data.graph)?;
        Ok(Box::new(Draw { draws, negatives: setup.negatives, log_q: setup.log_q }))
    }
}

/// The sampler at work.
struct Draw<'a> {
    draws: UniformDraws<'a>,
    negatives: usize,
    /// Whether the loss asks for the probabilities.
    log_q: bool,
}

impl Sampler for Draw<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        self.draws.draw(batch, self.negatives, candidates);
        Ok(())
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        let of_row = |&user: &u32| std::iter::repeat_n(self.draws.log_q(user), self.negatives);
        let log_q = self.log_q.then(|| step.batch.users.iter().flat_map(of_row).collect());
        Ok(Negatives::Candidates { log_q })
    }
}

/// Draws uniform negatives against a training graph.
pub struct UniformDraws<'a> {
    known: Known<'a>,
}

/// Which items each user has interacted with in training.
pub struct Known<'a> {
    graph: &'a Graph,
    filter: Filter,
}

/// A Bloom filter per user with one hash function: no item of the user is missed, and about one in eight others at most
/// is taken for one. At most two bytes per interaction, and 16 per user.
struct Filter {
    /// Offsets of the users' words; their number is a power of two.
    start: Vec<usize>,
    words: Vec<u64>,
}

impl Filter {
    fn new(graph: &Graph) -> Self {
        let mut filter = Self { start: vec![0], words: Vec::new() };
        for user in 0..graph.n_users as u32 {
            let items = graph.items_of(user);
            let start = filter.words.len();
            filter.words.resize(start + items.len().div_ceil(8).next_power_of_two(), 0);
            let words = &mut filter.words[start..];
            for &item in items {
                let (word, bit) = place(item, words.len());
                words[word] |= bit;
            }
            filter.start.push(filter.words.len());
        }
        filter
    }

    /// Whether the item may be one of the user's.
    fn may_contain(&self, user: u32, item: u32) -> bool {
        let words = &self.words[self.start[user as usize]..self.start[user as usize + 1]];
        let (word, bit) = place(item, words.len());
        words[word] & bit != 0
    }
}

/// The word out of `words`, a power of two, and the bit in it of an item.
fn place(item: u32, words: usize) -> (usize, u64) {
    // Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4): the high bits are the mixed ones.
    let hash = u64::from(item).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (hash as usize >> 6 & (words - 1), 1 << (hash & 63))
}

impl<'a> Known<'a> {
    /// Fails if some user has interacted with every item: no negative exists then, and rejection would not end.
    pub fn new(graph: &'a Graph) -> Result<Self, MethodError> {
        match (0..graph.n_users as u32).find(|&user| graph.items_of(user).len() == graph.n_items) {
            Some(user) => Err(MethodError::NoNegative { user, items: graph.n_items }),
            None => Ok(Self { graph, filter: Filter::new(graph) }),
        }
    }

    pub fn users(&self) -> std::ops::Range<u32> {
        0..self.graph.n_users as u32
    }

    /// How many items of a user there are.
    pub fn count(&self, user: u32) -> usize {
        self.graph.items_of(user).len()
    }

    #[inline]
    pub fn contains(&self, user: u32, item: u32) -> bool {
        self.filter.may_contain(user, item) && self.graph.contains(user, item)
    }
}

/// Fills `items` with `per_row` items for each row, drawn for its user. Every block of rows of every step has a random stream
/// of its own, so that blocks are drawn in parallel.
pub fn draw_rows(
    batch: &Batch,
    per_row: usize,
    items: &mut Vec<u32>,
    draw: impl Fn(u32, &mut ChaCha8Rng) -> u32 + Sync,
) {
    items.resize(batch.len() * per_row, 0);
    let blocks = items.par_chunks_mut(BLOCK * per_row.max(1)).zip(batch.users.par_chunks(BLOCK)).enumerate();
    blocks.for_each(|(block, (items, users))| {
        let mut rng = rng::stream(batch.seed, "negatives", batch.step << 32 | block as u64);
        for (items, &user) in items.chunks_exact_mut(per_row).zip(users) {
            items.fill_with(|| draw(user, &mut rng));
        }
    });
}

impl<'a> UniformDraws<'a> {
    /// Fails if some user has interacted with every item.
    pub fn new(graph: &'a Graph) -> Result<Self, MethodError> {
        Ok(Self { known: Known::new(graph)? })
    }

    /// Fills `items` with `per_row` items for each row.
    pub fn draw(&self, batch: &Batch, per_row: usize, items: &mut Vec<u32>) {
        draw_rows(batch, per_row, items, |user, rng| self.negative(user, rng));
    }

    /// The logarithm of the probability with which an item is drawn for a user.
    pub fn log_q(&self, user: u32) -> f32 {
        -libm::log((self.known.graph.n_items - self.known.count(user)) as f64) as f32
    }

    fn negative(&self, user: u32, rng: &mut impl rand::Rng) -> u32 {
        loop {
            let item = rng.random_range(0..self.known.graph.n_items as u32);
            if !self.known.contains(user, item) {
                return item;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, chi_square, setup};
    use super::*;
    use crate::method::Vectors;

    fn graph(items: usize, owned: &[u32]) -> Graph {
        testing::graph(1, items, &owned.iter().map(|&item| (0, item)).collect::<Vec<_>>()).graph
    }

    fn draw(graph: &Graph, users: &[u32], seed: u64) -> Vec<u32> {
        draw_for(&UniformDraws::new(graph).unwrap(), users, 1, seed, 0)
    }

    fn draw_for(draws: &UniformDraws, users: &[u32], per_row: usize, seed: u64, step: u64) -> Vec<u32> {
        let mut drawn = Vec::new();
        draws.draw(&Batch::of_pairs(seed, step, users, users), per_row, &mut drawn);
        drawn
    }

    #[test]
    fn several_for_each_row_are_drawn_of_the_row_s_user() {
        let graph = testing::graph(2, 4, &[(0, 0), (0, 1), (1, 2), (1, 3)]).graph;
        let drawn = draw_for(&UniformDraws::new(&graph).unwrap(), &[0, 1, 0], 50, 1, 0);
        assert_eq!(drawn.len(), 150);
        for (row, own) in drawn.chunks_exact(50).zip([[2, 3], [0, 1], [2, 3]]) {
            assert!(own.iter().all(|item| row.contains(item)) && row.iter().all(|item| own.contains(item)), "{row:?}");
        }
    }

    #[test]
    fn uniform_over_the_complement() {
        let graph = graph(50, &[0, 3, 4, 20, 49]);
        let drawn = draw(&graph, &vec![0; 90_000], 7);
        let mut counts = [0usize; 50];
        drawn.iter().for_each(|&item| counts[item as usize] += 1);
        let weights: Vec<f64> = (0..50).map(|item| if graph.contains(0, item) { 0.0 } else { 1.0 }).collect();
        let p = chi_square(&counts, &weights);
        assert!(p > 0.001, "{counts:?}: p {p}");
    }

    #[test]
    fn the_filter_misses_nothing_and_accepts_most() {
        for n in [1, 8, 30, 300, 5_000] {
            let owned: Vec<u32> = (0..n).map(|index| index * 7 + index % 3).collect();
            let graph = graph(8 * n as usize, &owned);
            let filter = Filter::new(&graph);
            assert!(owned.iter().all(|&item| filter.may_contain(0, item)));
            let others = || (0..8 * n).filter(|&item| !graph.contains(0, item));
            let wrong = others().filter(|&item| filter.may_contain(0, item)).count();
            assert!(wrong <= others().count() * 3 / 20, "{wrong} of {} for {n} items", others().count());
            assert!(8 * filter.words.len() <= (2 * owned.len()).max(8));
        }
    }

    #[test]
    fn blocks_and_steps_are_drawn_apart() {
        let graph = graph(1000, &[1]);
        let uniform = UniformDraws::new(&graph).unwrap();
        let draw = |users: usize, step: u64| draw_for(&uniform, &vec![0; users], 1, 3, step);
        let all = draw(2 * BLOCK + 5, 0);
        assert_eq!(all[..BLOCK], draw(BLOCK, 0));
        assert_ne!(all[..BLOCK], all[BLOCK..2 * BLOCK]);
        assert_ne!(all[..BLOCK], draw(BLOCK, 1));
        assert_ne!(all[BLOCK..2 * BLOCK], draw(BLOCK, 1));
    }

    #[test]
    fn all_items_but_one_leave_that_one() {
        let owned: Vec<u32> = (0..40).filter(|&item| item != 17).collect();
        let graph = graph(40, &owned);
        let drawn = draw(&graph, &[0; 100], 1);
        assert_eq!(drawn, [17; 100]);
    }

    #[test]
    fn a_user_of_every_item_is_refused() {
        let graph = graph(3, &[0, 1, 2]);
        let error = UniformDraws::new(&graph).err().unwrap().to_string();
        assert!(error.contains("user 0") && error.contains("3 items"), "{error}");
    }

    #[test]
    fn the_logarithm_of_the_probability_of_each_negative() {
        let data = testing::graph(2, 5, &[(0, 0), (1, 1), (1, 2), (1, 3)]);
        let (users, vectors) = ([1, 0], Vectors::new(2, 5, 1));
        for log_q in [true, false] {
            let mut sampler = Uniform {}.start(&Setup { log_q, negatives: 2, ..setup(&data) }).unwrap();
            let batch = Batch::of_pairs(1, 0, &users, &users);
            let mut candidates = Vec::new();
            sampler.propose(&batch, &mut candidates).unwrap();
            let step = Step { batch, vectors: &vectors, candidates: &candidates, per_row: 2 };
            let expected = [2.0f64, 2.0, 4.0, 4.0].map(|others| (1.0 / others).ln() as f32).to_vec();
            let expected = Negatives::Candidates { log_q: log_q.then_some(expected) };
            assert_eq!(sampler.choose(&step).unwrap(), expected);
        }
    }
}
