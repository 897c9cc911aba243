//! Negatives by popularity (PNS): item `j` with probability proportional to `c_j^exponent`, `c_j` its training users, again
//! where it is one of the user's. A draw takes the same time whatever the number of items.

use rand::RngExt;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::uniform::{Known, draw_rows};
use super::{Negatives, Sampler, SamplerMethod, SamplerTraits};
use crate::method::{Batch, Method, MethodError, ROWS, Setup, Step};

/// Draws that may fall on the user's own items before the others are gone through one by one.
const TRIES: usize = 100;

/// Negatives by popularity.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Popularity {
    /// Item `j` is drawn with probability proportional to its number of training users to this power: 0 makes all items alike,
    /// above 0 items without training users are never drawn.
    #[schemars(range(min = 0, max = 10))]
    pub exponent: f64,
}

impl Default for Popularity {
    fn default() -> Self {
        Self { exponent: 0.75 }
    }
}

impl Method for Popularity {
    const NAME: &'static str = "popularity";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Negatives in proportion to a power of the number of their training users, among the items that the user has \
                               not interacted with in training.";
    const SOURCE: &'static str = "Mikolov et al., NeurIPS 2013, for the power 3/4 of counts; Chen et al., On Sampling Strategies for \
                                  Neural Network-based Collaborative Filtering, KDD 2017, for recommendation. The probabilities that \
                                  `log_q` corrects by are those over all items, whoever the user [our decision].";
}

impl SamplerMethod for Popularity {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits { candidates: 1, many: true, log_q: true, ..SamplerTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        let known = Known::new(&setup.data.graph)?;
        let draws = PopularityDraws::new(known, setup.data.popularity(), self.exponent)?;
        let log_q = setup.log_q.then(|| draws.q.iter().map(|&q| libm::log(q) as f32).collect());
        Ok(Box::new(Draw { draws, log_q, negatives: setup.negatives }))
    }
}

/// The sampler at work.
struct Draw<'a> {
    draws: PopularityDraws<'a>,
    /// Of each item, where the loss asks for it.
    log_q: Option<Vec<f32>>,
    negatives: usize,
}

impl Sampler for Draw<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        draw_rows(batch, self.negatives, candidates, |user, rng| self.draws.negative(user, rng));
        Ok(())
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        let log_q = self.log_q.as_ref().map(|log_q| {
            let items = step.candidates.par_iter().with_min_len(ROWS);
            items.map(|&item| log_q[item as usize]).collect()
        });
        Ok(Negatives::Candidates { log_q })
    }
}

/// Draws negatives by popularity against a training graph.
struct PopularityDraws<'a> {
    known: Known<'a>,
    /// The probability of each item.
    q: Vec<f64>,
    table: AliasTable,
}

impl<'a> PopularityDraws<'a> {
    /// Fails if some user has interacted with every item that can be drawn.
    fn new(known: Known<'a>, counts: &[u32], exponent: f64) -> Result<Self, MethodError> {
        // Of the largest count, lest a power overflow.
        let most = f64::from(counts.iter().copied().max().unwrap_or(0).max(1));
        let mut q: Vec<f64> = counts.iter().map(|&count| libm::pow(f64::from(count) / most, exponent)).collect();
        let total: f64 = q.iter().sum();
        q.iter_mut().for_each(|q| *q /= total);
        let drawn = q.iter().filter(|&&q| q > 0.0).count();
        // Items of users have training users: all of them can be drawn.
        if let Some(user) = known.users().find(|&user| known.count(user) == drawn) {
            let message = format!(
                "user {user} has interacted with all {drawn} items that have training users, so there is no negative to draw \
                 by popularity; drop such users before training, or set `exponent: 0`"
            );
            return Err(MethodError::Unfit(message));
        }
        let table = AliasTable::new(&q);
        Ok(Self { known, q, table })
    }

    fn negative(&self, user: u32, rng: &mut impl rand::Rng) -> u32 {
        for _ in 0..TRIES {
            let item = self.table.draw(rng);
            if !self.known.contains(user, item) {
                return item;
            }
        }
        self.among_others(user, rng)
    }

    /// From the same distribution, in time proportional to the number of items: for a user whose items are nearly all that is
    /// ever drawn.
    fn among_others(&self, user: u32, rng: &mut impl rand::Rng) -> u32 {
        let others = || (0..).zip(&self.q).filter(|&(item, &q)| q > 0.0 && !self.known.contains(user, item));
        let mut left = others().map(|(_, q)| q).sum::<f64>() * rng.random::<f64>();
        let mut drawn = 0;
        for (item, q) in others() {
            drawn = item;
            left -= q;
            if left < 0.0 {
                break;
            }
        }
        drawn
    }
}

/// Draws from a distribution over `0..n` in constant time: a uniform column, and then the column itself or the other number
/// that shares it (Walker, ACM TOMS 1977; built as by Vose, IEEE TSE 1991).
struct AliasTable {
    /// How much of each column is its own.
    own: Vec<f64>,
    other: Vec<u32>,
}

impl AliasTable {
    /// Of probabilities that sum to 1.
    fn new(q: &[f64]) -> Self {
        let mut own: Vec<f64> = q.iter().map(|share| share * q.len() as f64).collect();
        let mut other: Vec<u32> = (0..q.len() as u32).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            other.iter().partition(|&&column| own[column as usize] < 1.0);
        // What rounding leaves of either kind is 1 to the last places, and shares its column with nobody.
        while let (Some(&from), Some(to)) = (large.last(), small.pop()) {
            other[to as usize] = from;
            own[from as usize] -= 1.0 - own[to as usize];
            if own[from as usize] < 1.0 {
                small.extend(large.pop());
            }
        }
        Self { own, other }
    }

    fn draw(&self, rng: &mut impl rand::Rng) -> u32 {
        let column = rng.random_range(0..self.own.len());
        if rng.random::<f64>() < self.own[column] { column as u32 } else { self.other[column] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chi_square, graph, setup};
    use super::*;
    use crate::kernel::Aligned;
    use crate::method::TrainingData;
    use crate::method::rows::Vectors;
    use crate::rng;

    /// User 0 has the items `owned`; item `i` has `counts[i]` training users with it.
    fn counted(counts: &[u32], owned: &[u32]) -> TrainingData {
        let mut pairs: Vec<(u32, u32)> = owned.iter().map(|&item| (0, item)).collect();
        let mut users = 1;
        for (item, &count) in (0..).zip(counts) {
            let others = count - u32::from(owned.contains(&item));
            pairs.extend((users..users + others).map(|user| (user, item)));
            users += others;
        }
        graph(users as usize, counts.len(), &pairs)
    }

    fn draws(data: &TrainingData, exponent: f64) -> PopularityDraws<'_> {
        PopularityDraws::new(Known::new(&data.graph).unwrap(), data.popularity(), exponent).unwrap()
    }

    /// How often each item is drawn for user 0.
    fn frequencies(draws: &PopularityDraws, draw: impl Fn(&mut rand_chacha::ChaCha8Rng) -> u32) -> Vec<usize> {
        let mut rng = rng::stream(5, "test draws", 0);
        let mut found = vec![0; draws.q.len()];
        (0..60_000).for_each(|_| found[draw(&mut rng) as usize] += 1);
        found
    }

    /// Draws for user 0 against probabilities up to a factor.
    fn follows(draws: &PopularityDraws, weights: &[f64]) {
        let found = frequencies(draws, |rng| draws.negative(0, rng));
        let p = chi_square(&found, weights);
        assert!(p > 0.001, "{found:?} for {weights:?}: p {p}");
    }

    #[test]
    fn counts_to_the_power_of_three_quarters() {
        let data = counted(&[1, 16, 81], &[]);
        let draws = draws(&data, 0.75);
        for (found, expected) in draws.q.iter().zip([1.0, 8.0, 27.0]) {
            assert!((found - expected / 36.0).abs() < 1e-15);
        }
        follows(&draws, &[1.0, 8.0, 27.0]);
    }

    #[test]
    fn items_of_the_user_and_items_without_users_are_never_drawn() {
        let data = counted(&[1, 16, 81, 0, 16], &[2]);
        follows(&draws(&data, 0.75), &[1.0, 8.0, 0.0, 0.0, 8.0]);
    }

    #[test]
    fn equal_counts_and_exponent_0_are_uniform() {
        let even = counted(&[4; 7], &[3]);
        follows(&draws(&even, 0.75), &[1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
        // As by the uniform sampler, items without training users included.
        let uneven = counted(&[0, 1, 50, 3, 0], &[2]);
        follows(&draws(&uneven, 0.0), &[1.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn alias_tables_hold_their_probabilities() {
        let mut rng = rng::stream(6, "test weights", 0);
        for n in [1usize, 2, 50, 1_001] {
            let weights: Vec<f64> =
                (0..n).map(|item| if item % 7 == 3 { 0.0 } else { rng.random::<f64>().powi(9) }).collect();
            let total: f64 = weights.iter().sum();
            let q: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
            let table = AliasTable::new(&q);
            let mut held = vec![0.0; n];
            for (column, (&own, &other)) in table.own.iter().zip(&table.other).enumerate() {
                let own = own.min(1.0);
                held[column] += own / n as f64;
                held[other as usize] += (1.0 - own) / n as f64;
            }
            for (held, q) in held.iter().zip(&q) {
                assert!((held - q).abs() < 1e-12 && (*q > 0.0 || *held == 0.0), "{held} for {q}");
            }
        }
    }

    #[test]
    fn a_user_of_nearly_everything_is_drawn_for_in_time() {
        // The others have a share of 2e-19.
        let data = counted(&[1, 81, 1, 0], &[1]);
        let draws = draws(&data, 10.0);
        follows(&draws, &[1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn going_through_all_items_is_the_same_distribution() {
        let data = counted(&[1, 16, 81, 0, 16], &[4]);
        let draws = draws(&data, 0.75);
        let found = frequencies(&draws, |rng| draws.among_others(0, rng));
        let p = chi_square(&found, &[1.0, 8.0, 27.0, 0.0, 0.0]);
        assert!(p > 0.001, "{found:?}: p {p}");
    }

    #[test]
    fn a_user_of_all_items_that_can_be_drawn_is_refused() {
        let data = counted(&[3, 2, 0], &[0, 1]);
        let start = |exponent: f64| Popularity { exponent }.start(&setup(&data)).err().map(|error| error.to_string());
        let error = start(0.75).unwrap();
        assert!(error.contains("user 0") && error.contains("all 2 items"), "{error}");
        assert_eq!(start(0.0), None);
        let everything = counted(&[1, 1], &[0, 1]);
        let error = Popularity::default().start(&setup(&everything)).err().unwrap();
        assert_eq!(error, MethodError::NoNegative { user: 0, items: 2 });
    }

    #[test]
    fn the_logarithms_of_the_probabilities_are_given_where_they_are_asked_for() {
        let data = counted(&[1, 16, 81], &[]);
        let vectors = Vectors { width: 1, queries: Aligned::zeros(98), items: Aligned::zeros(3) };
        let users = [0; 50];
        for log_q in [true, false] {
            let mut sampler = Popularity::default().start(&Setup { log_q, negatives: 2, ..setup(&data) }).unwrap();
            let batch = Batch::of_pairs(1, 0, &users, &users);
            let mut candidates = Vec::new();
            sampler.propose(&batch, &mut candidates).unwrap();
            assert_eq!(candidates.len(), 100);
            let step = Step { batch, vectors: &vectors, candidates: &candidates, per_row: 2 };
            let expected: Vec<f32> =
                candidates.iter().map(|&item| ([1.0, 8.0, 27.0][item as usize] / 36.0f64).ln() as f32).collect();
            match sampler.choose(&step).unwrap() {
                Negatives::Candidates { log_q: Some(found) } if log_q => {
                    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
                }
                Negatives::Candidates { log_q: None } if !log_q => (),
                other => panic!("{other:?}"),
            }
        }
    }
}
