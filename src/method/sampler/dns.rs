//! Dynamic negative sampling: of a few uniform candidates the one that the user scores highest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Negatives, Sampler, SamplerMethod, SamplerTraits, UniformDraws};
use crate::kernel::dot;
use crate::method::{Batch, Method, MethodError, Setup, Step};

/// Of `candidates` uniform negatives the one with the highest score.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Uniform candidates for each negative.
    #[schemars(range(min = 1, max = 1_000))]
    pub candidates: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self { candidates: 5 }
    }
}

impl Method for Dns {
    const NAME: &'static str = "dns";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Of a few uniform negatives the one that the user scores highest.";
    const SOURCE: &'static str = "Zhang et al., Optimizing top-N collaborative filtering via dynamic negative item sampling, \
                                  SIGIR 2013; 5 candidates as in the code of IRGAN.";
}

impl SamplerMethod for Dns {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits { candidates: self.candidates, many: true, ..SamplerTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        let draws = UniformDraws::new(&setup.data.graph)?;
        Ok(Box::new(Hardest { draws, candidates: self.candidates, negatives: setup.negatives }))
    }
}

/// The sampler at work.
struct Hardest<'a> {
    draws: UniformDraws<'a>,
    /// For each negative.
    candidates: usize,
    negatives: usize,
}

impl Sampler for Hardest<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        self.draws.draw(batch, self.candidates * self.negatives, candidates);
        Ok(())
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        Ok(Negatives::Items {
            ids: step.pick(self.candidates, |row, item| dot(step.query(row), step.item(item))),
            log_q: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::testing::{graph, setup};
    use super::*;
    use crate::kernel::Aligned;
    use crate::method::{TrainingData, Vectors};
    use crate::rng;

    const ITEMS: usize = 5_000;

    /// A user of a few items and random scores: vectors have one column, 1 for the user and the score for each item.
    fn scored() -> (TrainingData, Vectors) {
        let data = graph(1, ITEMS, &[(0, 3), (0, 77), (0, 4_000)]);
        let mut rng = rng::stream(2, "test scores", 0);
        let scores: Vec<f32> = (0..ITEMS).map(|_| rng.random()).collect();
        (data, Vectors { width: 1, queries: Aligned::from(&[1.0][..]), items: Aligned::from(&scores[..]) })
    }

    /// What is proposed and what is chosen for `rows` rows.
    fn choose(
        data: &TrainingData,
        vectors: &Vectors,
        rows: usize,
        candidates: usize,
        negatives: usize,
    ) -> (Vec<u32>, Vec<u32>) {
        let mut sampler = Dns { candidates }.start(&Setup { negatives, ..setup(data) }).unwrap();
        let users = vec![0; rows];
        let batch = Batch::of_pairs(9, 4, &users, &users);
        let mut proposed = Vec::new();
        sampler.propose(&batch, &mut proposed).unwrap();
        let step = Step { batch, vectors, candidates: &proposed, per_row: candidates * negatives };
        match sampler.choose(&step).unwrap() {
            Negatives::Items { ids, log_q: None } => (proposed, ids),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_candidate_is_the_uniform_draw() {
        let (data, vectors) = scored();
        for negatives in [1, 3] {
            let (_, chosen) = choose(&data, &vectors, 200, 1, negatives);
            let mut uniform = Vec::new();
            let users = [0; 200];
            UniformDraws::new(&data.graph).unwrap().draw(
                &Batch::of_pairs(9, 4, &users, &users),
                negatives,
                &mut uniform,
            );
            assert_eq!(chosen, uniform);
        }
    }

    #[test]
    fn the_chosen_score_is_the_highest() {
        let (data, vectors) = scored();
        let (proposed, chosen) = choose(&data, &vectors, 300, 6, 2);
        assert_eq!((proposed.len(), chosen.len()), (3_600, 600));
        for (group, &chosen) in proposed.chunks_exact(6).zip(&chosen) {
            let highest = group.iter().map(|&item| vectors.items[item as usize]).fold(f32::MIN, f32::max);
            assert!(group.contains(&chosen) && vectors.items[chosen as usize] == highest);
        }
    }

    #[test]
    fn of_equal_scores_the_first_is_chosen() {
        let (data, _) = scored();
        let (proposed, chosen) = choose(&data, &Vectors::new(1, ITEMS, 1), 100, 4, 1);
        assert!(proposed.chunks_exact(4).map(|group| group[0]).eq(chosen));
    }

    #[test]
    fn percentiles_of_the_highest_of_eight() {
        const N: f64 = 8.0;
        const ROWS: usize = 40_000;
        let (data, vectors) = scored();
        let (_, chosen) = choose(&data, &vectors, ROWS, N as usize, 1);
        let mut sorted: Vec<f32> = (0..ITEMS as u32)
            .filter(|&item| !data.graph.contains(0, item))
            .map(|item| vectors.items[item as usize])
            .collect();
        sorted.sort_by(f32::total_cmp);
        // The share of the scores below, the item itself counting half.
        let percentile = |&item: &u32| {
            let below = sorted.partition_point(|&score| score < vectors.items[item as usize]);
            (below as f64 + 0.5) / sorted.len() as f64
        };
        let found: Vec<f64> = chosen.iter().map(percentile).collect();
        let rows = ROWS as f64;
        let mean = found.iter().sum::<f64>() / rows;
        let spread = (N / ((N + 1.0) * (N + 1.0) * (N + 2.0)) / rows).sqrt();
        assert!((mean - N / (N + 1.0)).abs() < 4.0 * spread, "mean {mean}, standard error {spread}");
        let above = found.iter().filter(|&&percentile| percentile > 0.9).count() as f64 / rows;
        let expected = 1.0 - 0.9f64.powi(8);
        let spread = (expected * (1.0 - expected) / rows).sqrt();
        assert!((above - expected).abs() < 4.0 * spread, "{above} above, standard error {spread}");
    }
}
