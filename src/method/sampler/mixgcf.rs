//! MixGCF: a negative for each hop, made of the positive and of the hardest of some uniform candidates.

use rand::RngExt;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Negatives, Sampler, SamplerMethod, SamplerOutcome, SamplerTraits, StepGradient, UniformDraws};
use crate::kernel::dot;
use crate::method::{Batch, Method, MethodError, Pooling, ROWS, Setup, Step};
use crate::rng;

/// Negatives whose shares are drawn from one random stream.
const BLOCK: usize = 1024;

/// At each hop `a e_i + (1 - a) e_j`, `a` uniform in `[0, 1)`, for the hardest of `candidates` uniform negatives `j`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixGcf {
    /// Uniform candidates for each negative.
    #[schemars(range(min = 1, max = 1_000))]
    pub candidates: usize,
}

impl Default for MixGcf {
    fn default() -> Self {
        Self { candidates: 64 }
    }
}

impl Method for MixGcf {
    const NAME: &'static str = "mixgcf";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "Negatives mixed hop by hop of the positive and of the hardest of some uniform candidates.";
    const SOURCE: &'static str = "Huang et al., MixGCF, KDD 2021, checked against its public code, which draws one share for each \
                                  negative and hop (SELFRec's port: one for each number). The penalty is on the table rows of the \
                                  candidates of hop 0, not on what they are mixed to [our decision].";
}

impl SamplerMethod for MixGcf {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits {
            candidates: self.candidates,
            many: true,
            by_hops: true,
            makes_vectors: true,
            ..SamplerTraits::default()
        }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        Ok(Box::new(Mixing::new(&self, setup)?))
    }
}

/// The sampler at work. Its negatives stand row by row, those of a row one after the other.
struct Mixing<'a> {
    draws: UniformDraws<'a>,
    /// For each negative.
    candidates: usize,
    negatives: usize,
    hops: usize,
    /// Width of a hop.
    dim: usize,
    pooling: Pooling,
    /// Of the step under way: the share of the positive at each hop of each negative.
    shares: Vec<f32>,
    /// Of the step under way: for each hop the candidate that each negative takes there.
    chosen: Vec<Vec<u32>>,
}

impl<'a> Mixing<'a> {
    fn new(params: &MixGcf, setup: &Setup<'a>) -> Result<Self, MethodError> {
        Ok(Self {
            draws: UniformDraws::new(&setup.data.graph)?,
            candidates: params.candidates,
            negatives: setup.negatives,
            hops: setup.hops,
            dim: setup.dim,
            pooling: setup.pooling,
            shares: Vec::new(),
            chosen: Vec::new(),
        })
    }

    /// Width of a negative.
    fn width(&self) -> usize {
        match self.pooling {
            Pooling::Mean => self.dim,
            Pooling::Concatenation => self.hops * self.dim,
        }
    }

    /// The columns of a hop among all.
    fn hop<'v>(&self, row: &'v [f32], hop: usize) -> &'v [f32] {
        &row[hop * self.dim..][..self.dim]
    }

    /// The columns of a negative that a hop goes to, and its weight there.
    fn pooled(&self, hop: usize) -> (std::ops::Range<usize>, f32) {
        match self.pooling {
            Pooling::Mean => (0..self.dim, 1.0 / self.hops as f32),
            Pooling::Concatenation => (hop * self.dim..(hop + 1) * self.dim, 1.0),
        }
    }

    fn draw_shares(&self, batch: &Batch) -> Vec<f32> {
        let mut shares = vec![0.0f32; batch.len() * self.negatives * self.hops];
        shares.par_chunks_mut(BLOCK * self.hops).enumerate().for_each(|(block, shares)| {
            let mut rng = rng::stream(batch.seed, "positive mixing", batch.step << 32 | block as u64);
            shares.fill_with(|| rng.random());
        });
        shares
    }

    /// Hop mixing: the candidate with the highest `<q_u, e'_j>` at each hop. Since all candidates take in the same share of the
    /// same positive, and none that is whole, the order is that of `<q_u, e_j>`.
    fn hardest(&self, step: &Step) -> Vec<Vec<u32>> {
        let queries: Vec<f32> = match self.pooling {
            // Sums rank candidates as means do.
            Pooling::Mean => (0..step.batch.len())
                .into_par_iter()
                .with_min_len(ROWS)
                .flat_map_iter(|row| {
                    let query = step.query(row);
                    (0..self.dim)
                        .map(move |column| (0..self.hops).map(|hop| query[hop * self.dim + column]).sum::<f32>())
                })
                .collect(),
            Pooling::Concatenation => Vec::new(),
        };
        let query = |row: usize, hop: usize| match self.pooling {
            Pooling::Mean => &queries[row * self.dim..][..self.dim],
            Pooling::Concatenation => self.hop(step.query(row), hop),
        };
        (0..self.hops)
            .map(|hop| step.pick(self.candidates, |row, item| dot(query(row, hop), self.hop(step.item(item), hop))))
            .collect()
    }

    /// Positive mixing, and the pool over the hops.
    fn mix(&self, step: &Step) -> Vec<f32> {
        let width = self.width();
        let mut mixed = vec![0.0; step.batch.len() * self.negatives * width];
        mixed.par_chunks_mut(width).with_min_len(ROWS).enumerate().for_each(|(negative, mixed)| {
            let positive = step.positive(negative / self.negatives);
            for (hop, chosen) in self.chosen.iter().enumerate() {
                let share = self.shares[negative * self.hops + hop];
                let (columns, weight) = self.pooled(hop);
                let ends = self.hop(positive, hop).iter().zip(self.hop(step.item(chosen[negative]), hop));
                mixed[columns].iter_mut().zip(ends).for_each(|(mixed, (positive, candidate))| {
                    *mixed += weight * (share * positive + (1.0 - share) * candidate);
                });
            }
        });
        mixed
    }

    /// The gradient of the chosen candidates of a hop, in its columns.
    fn of_candidates(&self, hop: usize, negatives: &[f32]) -> Vec<f32> {
        let (width, row) = (self.width(), self.hops * self.dim);
        let (columns, weight) = self.pooled(hop);
        let mut gradient = vec![0.0; negatives.len() / width * row];
        let rows = gradient.par_chunks_mut(row).zip(negatives.par_chunks(width)).with_min_len(ROWS);
        rows.enumerate().for_each(|(negative, (to_item, slopes))| {
            let scale = weight * (1.0 - self.shares[negative * self.hops + hop]);
            let values = to_item[hop * self.dim..].iter_mut().zip(&slopes[columns.clone()]);
            values.for_each(|(value, slope)| *value = scale * slope);
        });
        gradient
    }

    /// Adds the gradient of the positives as far as negatives are made of them.
    fn add_of_positives(&self, negatives: &[f32], positives: &mut [f32]) {
        let width = self.width();
        let rows = positives.par_chunks_mut(self.hops * self.dim).zip(negatives.par_chunks(self.negatives * width));
        rows.with_min_len(ROWS).enumerate().for_each(|(row, (to_positive, slopes))| {
            for (number, slopes) in slopes.chunks_exact(width).enumerate() {
                for (hop, to_positive) in to_positive.chunks_exact_mut(self.dim).enumerate() {
                    let (columns, weight) = self.pooled(hop);
                    let scale = weight * self.shares[(row * self.negatives + number) * self.hops + hop];
                    let values = to_positive.iter_mut().zip(&slopes[columns]);
                    values.for_each(|(value, slope)| *value += scale * slope);
                }
            }
        });
    }
}

impl Sampler for Mixing<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        self.draws.draw(batch, self.candidates * self.negatives, candidates);
        Ok(())
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        self.shares = self.draw_shares(&step.batch);
        self.chosen = self.hardest(step);
        Ok(Negatives::Vectors(self.mix(step)))
    }

    fn after(&mut self, _: &Step, gradient: &mut StepGradient) -> Result<SamplerOutcome, MethodError> {
        let StepGradient { positives, negatives, .. } = gradient;
        self.add_of_positives(negatives, positives);
        let chosen = std::mem::take(&mut self.chosen).into_iter().enumerate();
        let items = chosen.map(|(hop, ids)| (ids, self.of_candidates(hop, negatives))).collect();
        Ok(SamplerOutcome { items, ..SamplerOutcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, setup};
    use super::*;
    use crate::kernel::Aligned;
    use crate::method::loss::{LossRows, minus_log_sigmoid, start_loss};
    use crate::method::rows::{Gathered, Vectors};
    use crate::method::sampler::dns::Dns;
    use crate::method::{Choice, TrainingData};

    const USERS: usize = 3;
    const ITEMS: usize = 9;
    const DIM: usize = 2;

    /// Users and positives of a batch in which all of them come by, some twice.
    const ROWS_OF: ([u32; 4], [u32; 4]) = ([0, 1, 2, 0], [0, 1, 2, 3]);

    fn data() -> TrainingData {
        let (users, items) = ROWS_OF;
        graph(USERS, ITEMS, &std::iter::zip(users, items).collect::<Vec<_>>())
    }

    /// Random rows, all hops of a row one after the other.
    fn vectors(hops: usize) -> Vectors {
        let mut rng = rng::stream(3, "test vectors", 0);
        let mut draw = |rows: usize| {
            let values: Vec<f32> = (0..rows * hops * DIM).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
            Aligned::from(&values[..])
        };
        Vectors { width: hops * DIM, queries: draw(USERS), items: draw(ITEMS) }
    }

    /// A sampler, what it proposes, and its step.
    struct Made<'a> {
        sampler: Mixing<'a>,
        candidates: Vec<u32>,
        batch: Batch<'a>,
    }

    impl<'a> Made<'a> {
        fn new(data: &'a TrainingData, candidates: usize, negatives: usize, hops: usize, pooling: Pooling) -> Self {
            let setup = Setup { negatives, hops, pooling, by_hops: true, dim: DIM, ..setup(data) };
            let mut sampler = Mixing::new(&MixGcf { candidates }, &setup).unwrap();
            let batch = Batch::of_pairs(7, 2, &ROWS_OF.0, &ROWS_OF.1);
            let mut candidates = Vec::new();
            sampler.propose(&batch, &mut candidates).unwrap();
            Self { sampler, candidates, batch }
        }

        fn step<'v>(&'v self, vectors: &'v Vectors) -> Step<'v> {
            let per_row = self.candidates.len() / self.batch.len();
            Step { batch: self.batch, vectors, candidates: &self.candidates, per_row }
        }

        /// Chooses, with the given share of the positive everywhere in place of the drawn ones.
        fn choose(&mut self, vectors: &Vectors, share: f32) -> Vec<f32> {
            self.sampler.shares = vec![share; self.batch.len() * self.sampler.negatives * self.sampler.hops];
            self.sampler.chosen = self.sampler.hardest(&self.step(vectors));
            self.sampler.mix(&self.step(vectors))
        }

        /// Chooses, as a training does.
        fn choose_drawn(&mut self, vectors: &Vectors) -> Vec<f32> {
            let candidates = self.candidates.clone();
            let step = Step { batch: self.batch, vectors, candidates: &candidates, per_row: candidates.len() / 4 };
            match self.sampler.choose(&step).unwrap() {
                Negatives::Vectors(vectors) => vectors,
                other => panic!("{other:?}"),
            }
        }
    }

    fn mean(row: &[f32], hops: usize) -> Vec<f32> {
        (0..DIM).map(|column| (0..hops).map(|hop| row[hop * DIM + column]).sum::<f32>() / hops as f32).collect()
    }

    #[test]
    fn without_positive_and_hops_it_is_dynamic_negative_sampling() {
        let (data, vectors) = (data(), vectors(1));
        let mut made = Made::new(&data, 5, 2, 1, Pooling::Mean);
        let mixed = made.choose(&vectors, 0.0);
        let mut dns = Dns { candidates: 5 }.start(&Setup { negatives: 2, ..setup(&data) }).unwrap();
        let mut candidates = Vec::new();
        dns.propose(&made.batch, &mut candidates).unwrap();
        assert_eq!(candidates, made.candidates);
        let Negatives::Items { ids, .. } = dns.choose(&made.step(&vectors)).unwrap() else { panic!() };
        let expected: Vec<f32> = ids.iter().flat_map(|&item| vectors.item(item)).copied().collect();
        assert_eq!(mixed, expected);
    }

    #[test]
    fn the_whole_positive_leaves_no_margin() {
        let (data, vectors) = (data(), vectors(3));
        for pooling in [Pooling::Mean, Pooling::Concatenation] {
            let mut made = Made::new(&data, 4, 1, 3, pooling);
            let mixed = made.choose(&vectors, 1.0);
            for (row, negative) in mixed.chunks_exact(made.sampler.width()).enumerate() {
                let of = |row: &[f32]| match pooling {
                    Pooling::Mean => mean(row, 3),
                    Pooling::Concatenation => row.to_vec(),
                };
                let step = made.step(&vectors);
                let (query, positive) = (of(step.query(row)), of(step.positive(row)));
                let margin = f64::from(dot(&query, &positive) - dot(&query, negative));
                assert!((minus_log_sigmoid(margin).0 - std::f64::consts::LN_2).abs() < 1e-6, "{margin}");
            }
        }
    }

    #[test]
    fn one_candidate_is_mixed_with_the_positive() {
        let (data, vectors) = (data(), vectors(2));
        let mut made = Made::new(&data, 1, 1, 2, Pooling::Concatenation);
        let mixed = made.choose_drawn(&vectors);
        let step = made.step(&vectors);
        for (row, negative) in mixed.chunks_exact(2 * DIM).enumerate() {
            let candidate = step.item(made.candidates[row]);
            for column in 0..2 * DIM {
                let share = made.sampler.shares[row * 2 + column / DIM];
                let expected = share * step.positive(row)[column] + (1.0 - share) * candidate[column];
                assert!((negative[column] - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn each_hop_takes_the_candidate_with_the_highest_mixed_score() {
        let (data, vectors) = (data(), vectors(3));
        for pooling in [Pooling::Mean, Pooling::Concatenation] {
            let mut made = Made::new(&data, 6, 2, 3, pooling);
            made.choose_drawn(&vectors);
            let step = made.step(&vectors);
            let mut apart = false;
            for negative in 0..2 * made.batch.len() {
                let (row, group) = (negative / 2, &made.candidates[negative * 6..][..6]);
                for hop in 0..3 {
                    let query = match pooling {
                        Pooling::Mean => mean(step.query(row), 3),
                        Pooling::Concatenation => step.query(row)[hop * DIM..][..DIM].to_vec(),
                    };
                    let share = made.sampler.shares[negative * 3 + hop];
                    let score = |item: u32| -> f32 {
                        let columns = hop * DIM..(hop + 1) * DIM;
                        let ends = step.positive(row)[columns.clone()].iter().zip(&step.item(item)[columns]);
                        let mixed = ends.map(|(positive, candidate)| share * positive + (1.0 - share) * candidate);
                        query.iter().zip(mixed).map(|(query, mixed)| query * mixed).sum()
                    };
                    let highest = group.iter().map(|&item| score(item)).fold(f32::MIN, f32::max);
                    let chosen = made.sampler.chosen[hop][negative];
                    assert!(group.contains(&chosen) && (score(chosen) - highest).abs() < 1e-6);
                    apart |= chosen != made.sampler.chosen[0][negative];
                }
            }
            assert!(apart, "hops of some negative come from different items");
        }
    }

    #[test]
    fn shares_are_uniform_and_differ_between_hops_and_steps() {
        let data = data();
        let made = Made::new(&data, 1, 1, 4, Pooling::Mean);
        let users = vec![0; 5_000];
        let drawn = |step| made.sampler.draw_shares(&Batch::of_pairs(7, step, &users, &users));
        let (shares, next) = (drawn(0), drawn(1));
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        for hop in 0..4 {
            let of_hop: Vec<f64> = shares.iter().skip(hop).step_by(4).map(|&share| f64::from(share)).collect();
            let mean = of_hop.iter().sum::<f64>() / 5_000.0;
            // Four standard errors of the mean of 5000 uniform numbers.
            assert!((mean - 0.5).abs() < 4.0 * (1.0f64 / 12.0 / 5_000.0).sqrt(), "{mean}");
        }
        assert!(shares.iter().zip(&shares[1..]).filter(|(a, b)| a == b).count() < 10);
        assert!(shares.iter().zip(&next).filter(|(a, b)| a == b).count() < 10);
        let blocks: Vec<&[f32]> = shares.chunks_exact(BLOCK * 4).collect();
        assert_ne!(blocks[0], blocks[1]);
    }

    /// `mean ln(1 + sum_k e^(s_uk - s_ui))` over the pooled vectors, in f64, from the definition of the negatives with the
    /// choice held fixed.
    fn loss(queries: &[f64], items: &[f64], sampler: &Mixing, batch: &Batch) -> f64 {
        let Mixing { hops, negatives, pooling, ref shares, ref chosen, .. } = *sampler;
        let score = |query: &[f64], vector: &[f64]| -> f64 {
            match pooling {
                Pooling::Concatenation => query.iter().zip(vector).map(|(a, b)| a * b).sum(),
                Pooling::Mean => (0..DIM)
                    .map(|column| {
                        let mean =
                            |row: &[f64]| (0..hops).map(|hop| row[hop * DIM + column]).sum::<f64>() / hops as f64;
                        mean(query) * mean(vector)
                    })
                    .sum(),
            }
        };
        let width = hops * DIM;
        let row_of = |matrix: &[f64], row: u32| matrix[row as usize * width..][..width].to_vec();
        let total: f64 = (0..batch.len())
            .map(|row| {
                let (query, positive) = (row_of(queries, batch.queries[row]), row_of(items, batch.positives[row]));
                let powers = (row * negatives..(row + 1) * negatives).map(|negative| {
                    let mixed: Vec<f64> = (0..width)
                        .map(|column| {
                            let hop = column / DIM;
                            let share = f64::from(shares[negative * hops + hop]);
                            let candidate = row_of(items, chosen[hop][negative])[column];
                            share * positive[column] + (1.0 - share) * candidate
                        })
                        .collect();
                    libm::exp(score(&query, &mixed) - score(&query, &positive))
                });
                libm::log1p(powers.sum())
            })
            .sum();
        total / batch.len() as f64
    }

    /// The gradient of a step with respect to queries and items, by the loss and the sampler.
    fn gradient(made: &mut Made, vectors: &Vectors) -> (Vec<f32>, Vec<f32>) {
        let negatives = made.choose_drawn(vectors);
        let candidates = made.candidates.clone();
        let (hops, width, pooling) = (made.sampler.hops, made.sampler.width(), made.sampler.pooling);
        let step = Step { batch: made.batch, vectors, candidates: &candidates, per_row: candidates.len() / 4 };
        let pooled = |row: &[f32]| match pooling {
            Pooling::Mean => mean(row, hops),
            Pooling::Concatenation => row.to_vec(),
        };
        let queries: Vec<f32> = (0..4).flat_map(|row| pooled(step.query(row))).collect();
        let positives: Vec<f32> = (0..4).flat_map(|row| pooled(step.positive(row))).collect();
        let rows = LossRows {
            width,
            per_row: made.sampler.negatives,
            queries: Gathered::all(&queries, width),
            positives: Gathered::all(&positives, width),
            negatives: Gathered::all(&negatives, width),
            log_q: None,
            users: made.batch.users,
            items: made.batch.positives,
        };
        let data = data();
        let choice = Choice::new("softmax", &serde_json::json!({})).unwrap();
        let mut gradient = StepGradient::default();
        start_loss(&choice, &setup(&data)).unwrap().evaluate(&rows, &mut gradient).unwrap();
        if pooling == Pooling::Mean {
            for rows in [&mut gradient.queries, &mut gradient.positives] {
                let of_row =
                    |row: &[f32]| row.repeat(hops).into_iter().map(|value| value / hops as f32).collect::<Vec<_>>();
                *rows = rows.chunks_exact(width).flat_map(of_row).collect();
            }
        }
        let outcome = made.sampler.after(&step, &mut gradient).unwrap();
        let row = hops * DIM;
        let (mut of_queries, mut of_items) = (vec![0.0; USERS * row], vec![0.0; ITEMS * row]);
        let add = |sums: &mut [f32], ids: &[u32], values: &[f32]| {
            assert_eq!(ids.len() * row, values.len());
            for (&id, values) in ids.iter().zip(values.chunks_exact(row)) {
                sums[id as usize * row..][..row].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        };
        add(&mut of_queries, made.batch.queries, &gradient.queries);
        add(&mut of_items, made.batch.positives, &gradient.positives);
        outcome.items.iter().for_each(|(ids, values)| add(&mut of_items, ids, values));
        (of_queries, of_items)
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        const STEP: f64 = 1e-5;
        let data = data();
        for (pooling, hops, negatives) in
            [(Pooling::Mean, 3, 2), (Pooling::Concatenation, 3, 2), (Pooling::Mean, 1, 1), (Pooling::Mean, 4, 1)]
        {
            let vectors = vectors(hops);
            let mut made = Made::new(&data, 4, negatives, hops, pooling);
            let (of_queries, of_items) = gradient(&mut made, &vectors);
            // The choice again, which the sampler has given away.
            made.choose_drawn(&vectors);
            let exact = |rows: &[f32]| -> Vec<f64> { rows.iter().map(|&value| f64::from(value)).collect() };
            let (queries, items) = (exact(&vectors.queries), exact(&vectors.items));
            let at = |queries: &[f64], items: &[f64]| loss(queries, items, &made.sampler, &made.batch);
            for (place, found) in of_queries.iter().enumerate() {
                let shifted = |by: f64| {
                    let mut queries = queries.clone();
                    queries[place] += by;
                    at(&queries, &items)
                };
                let slope = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
                assert!((f64::from(*found) - slope).abs() < 1e-6, "{found} is not {slope}, {pooling:?}");
            }
            for (place, found) in of_items.iter().enumerate() {
                let shifted = |by: f64| {
                    let mut items = items.clone();
                    items[place] += by;
                    at(&queries, &items)
                };
                let slope = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
                assert!((f64::from(*found) - slope).abs() < 1e-6, "{found} is not {slope}, {pooling:?}");
            }
            assert!(of_items.iter().any(|value| value.abs() > 1e-3));
        }
    }
}
