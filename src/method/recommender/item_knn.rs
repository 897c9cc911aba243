use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Recommender, RecommenderMethod, RecommenderTraits};
use crate::data::Graph;
use crate::method::{Method, MethodError, TrainingData};

/// Item-based neighbours: `s_ui = sum_j w_ij` over the items `j` of the user that are among the `neighbours` items most similar
/// to `i`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ItemKnn {
    /// Neighbours of each item.
    #[schemars(range(min = 1, max = 10_000))]
    pub neighbours: usize,
    /// Taken to the common users of two items is the root of the product of their users plus this (shrinkage).
    #[schemars(range(min = 0, max = 1_000_000))]
    pub shrink: f64,
}

impl Default for ItemKnn {
    fn default() -> Self {
        Self { neighbours: 100, shrink: 0.0 }
    }
}

impl Method for ItemKnn {
    const NAME: &'static str = "item_knn";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Similarity of an item to the items of the user: cosine of the sets of their users, over the nearest \
                               neighbours of each item.";
    const SOURCE: &'static str = "Sarwar et al., WWW 2001; cosine of binary columns and neighbours per target item as in Ferrari \
                                  Dacrema et al., RecSys 2019. Equal similarities go by ascending item [our decision].";
}

impl RecommenderMethod for ItemKnn {
    fn traits(&self) -> RecommenderTraits {
        // An item and a similarity of each neighbour, by item and by neighbour.
        RecommenderTraits { per_item: (self.neighbours as u64).saturating_mul(4) }
    }

    fn fit(self, data: &TrainingData, _: u64) -> Result<Box<dyn Recommender>, MethodError> {
        Ok(Box::new(Neighbours::new(&data.graph, self.neighbours, self.shrink)))
    }
}

/// Of each item the target items that have it among their neighbours, with the similarity.
struct Neighbours {
    start: Vec<usize>,
    targets: Vec<(u32, f32)>,
}

impl Neighbours {
    fn new(graph: &Graph, neighbours: usize, shrink: f64) -> Self {
        let degree = |item: u32| graph.users_of(item).len() as f64;
        let nearest = |common: &mut (Vec<u32>, Vec<u32>), item: u32| -> Vec<(u32, f32)> {
            let (counts, seen) = common;
            for &user in graph.users_of(item) {
                for &other in graph.items_of(user) {
                    if counts[other as usize] == 0 {
                        seen.push(other);
                    }
                    counts[other as usize] += 1;
                }
            }
            let of =
                |other: u32, count: u32| (f64::from(count) / ((degree(item) * degree(other)).sqrt() + shrink)) as f32;
            let others = seen.iter().filter(|&&other| other != item);
            let mut nearest: Vec<(u32, f32)> =
                others.map(|&other| (other, of(other, counts[other as usize]))).collect();
            seen.drain(..).for_each(|other| counts[other as usize] = 0);
            let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if nearest.len() > neighbours {
                nearest.select_nth_unstable_by(neighbours, order);
                nearest.truncate(neighbours);
            }
            nearest
        };
        let items = 0..graph.n_items as u32;
        let memory = || (vec![0u32; graph.n_items], Vec::new());
        let lists: Vec<Vec<(u32, f32)>> = items.clone().into_par_iter().map_init(memory, nearest).collect();
        let mut start = vec![0; graph.n_items + 1];
        lists.iter().flatten().for_each(|(other, _)| start[*other as usize + 1] += 1);
        for item in 0..graph.n_items {
            start[item + 1] += start[item];
        }
        let (mut next, mut targets) = (start.clone(), vec![(0, 0.0); lists.iter().map(Vec::len).sum()]);
        for (item, list) in items.zip(&lists) {
            for &(other, similarity) in list {
                targets[next[other as usize]] = (item, similarity);
                next[other as usize] += 1;
            }
        }
        Self { start, targets }
    }
}

impl Recommender for Neighbours {
    fn scores(&self, _: u32, items: &[u32], scores: &mut [f32]) {
        scores.fill(0.0);
        for &item in items {
            for &(target, similarity) in &self.targets[self.start[item as usize]..self.start[item as usize + 1]] {
                scores[target as usize] += similarity;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interactions;

    /// Items 0 and 1 share two of their users, item 2 one with each.
    #[test]
    fn cosines_of_the_nearest_neighbours() {
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 2)];
        let interactions = Interactions {
            user: pairs.iter().map(|pair| pair.0).collect(),
            item: pairs.iter().map(|pair| pair.1).collect(),
            ..Interactions::default()
        };
        let graph = Graph::from_interactions(&interactions);
        let scores = |neighbours: usize, shrink: f64, items: &[u32]| {
            let mut scores = [0.0; 3];
            Neighbours::new(&graph, neighbours, shrink).scores(0, items, &mut scores);
            scores
        };
        let (near, far) = (2.0 / 3.0f32, 1.0 / 6f32.sqrt());
        let close = |found: [f32; 3], expected: [f32; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} is not {expected:?}");
        };
        close(scores(2, 0.0, &[0]), [0.0, near, far]);
        close(scores(2, 0.0, &[0, 1]), [near, near, 2.0 * far]);
        // The nearest neighbour of item 2 is item 0, the first of two.
        close(scores(1, 0.0, &[0]), [0.0, near, far]);
        close(scores(1, 0.0, &[1]), [near, 0.0, 0.0]);
        close(scores(2, 1.0, &[0]), [0.0, 0.5, 1.0 / (6f32.sqrt() + 1.0)]);
    }
}
