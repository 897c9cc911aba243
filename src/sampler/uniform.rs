//! Uniform negatives (RNS): `q(j | u) = 1 / (I - |I_u+|)` over the items that the user has not interacted with in
//! training, by rejection.

use rand::{Rng, RngExt};

use super::SamplerError;
use crate::data::Graph;

/// Draws uniform negatives against a training graph.
pub struct Uniform<'a> {
    graph: &'a Graph,
}

impl<'a> Uniform<'a> {
    /// Fails if some user has interacted with every item: no negative exists then, and rejection would not end.
    pub fn new(graph: &'a Graph) -> Result<Self, SamplerError> {
        match (0..graph.n_users as u32).find(|&user| graph.items_of(user).len() == graph.n_items) {
            Some(user) => Err(SamplerError::NoNegative { user, items: graph.n_items }),
            None => Ok(Self { graph }),
        }
    }

    /// One negative per entry of `users`.
    pub fn draw(&self, users: &[u32], rng: &mut impl Rng) -> Vec<u32> {
        let items = self.graph.n_items as u32;
        users
            .iter()
            .map(|&user| {
                loop {
                    let item = rng.random_range(0..items);
                    if !self.graph.contains(user, item) {
                        break item;
                    }
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interactions;
    use crate::rng;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    fn graph(items: usize, owned: &[u32]) -> Graph {
        Graph::with_size(
            1,
            items,
            &Interactions { user: vec![0; owned.len()], item: owned.to_vec(), ..Interactions::default() },
        )
    }

    #[test]
    fn uniform_over_the_complement() {
        let graph = graph(50, &[0, 3, 4, 20, 49]);
        let draws = 90_000;
        let drawn = Uniform::new(&graph).unwrap().draw(&vec![0; draws], &mut rng::stream(7, "negatives", 0));
        let mut counts = [0usize; 50];
        drawn.iter().for_each(|&item| counts[item as usize] += 1);
        assert!(graph.items_of(0).iter().all(|&item| counts[item as usize] == 0));
        let expected = draws as f64 / 45.0;
        let statistic: f64 = (0..50u32)
            .filter(|&item| !graph.contains(0, item))
            .map(|item| (counts[item as usize] as f64 - expected).powi(2) / expected)
            .sum();
        let p = 1.0 - ChiSquared::new(44.0).unwrap().cdf(statistic);
        assert!(p > 0.001, "chi-square {statistic}, p {p}");
    }

    #[test]
    fn all_items_but_one_leave_that_one() {
        let owned: Vec<u32> = (0..40).filter(|&item| item != 17).collect();
        let graph = graph(40, &owned);
        let drawn = Uniform::new(&graph).unwrap().draw(&[0; 100], &mut rng::stream(1, "negatives", 0));
        assert_eq!(drawn, [17; 100]);
    }

    #[test]
    fn a_user_of_every_item_is_refused() {
        let graph = graph(3, &[0, 1, 2]);
        let error = Uniform::new(&graph).err().unwrap().to_string();
        assert!(error.contains("user 0") && error.contains("3 items"), "{error}");
    }
}
