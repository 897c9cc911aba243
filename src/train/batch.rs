//! The rows of one training step: what it reads of the tables, and where its gradients go. Users and items are summed
//! side by side, each row by row in the order of the batch, so that the bits do not depend on the number of threads.

use super::regularisation::Regularisation;
use crate::model::Nodes;
use crate::sampler::{Outcome, Uniform};

/// Training pairs and their negatives. Tables are `[U + I, d]`, users first.
pub(super) struct Batch {
    n_users: usize,
    dim: usize,
    pub users: Vec<u32>,
    pub positives: Vec<u32>,
    pub negatives: Vec<u32>,
    /// Which nodes are among them.
    marks: Vec<bool>,
}

impl Batch {
    pub fn new(n_users: usize, n_items: usize, dim: usize) -> Self {
        let [users, positives, negatives] = [const { Vec::new() }; 3];
        Self { n_users, dim, users, positives, negatives, marks: vec![false; n_users + n_items] }
    }

    /// Takes the pairs of a step, and draws their negatives.
    pub fn fill(&mut self, pairs: &[(u32, u32)], uniform: &Uniform, seed: u64, step: u64) {
        let Self { n_users, users, positives, negatives, marks, .. } = self;
        users.clear();
        users.extend(pairs.iter().map(|pair| pair.0));
        positives.clear();
        positives.extend(pairs.iter().map(|pair| pair.1));
        uniform.draw(users, seed, step, negatives);
        let (user_marks, item_marks) = marks.split_at_mut(*n_users);
        users.iter().for_each(|&user| user_marks[user as usize] = true);
        positives.iter().chain(&*negatives).for_each(|&item| item_marks[item as usize] = true);
    }

    /// The nodes of the step.
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes::Marked(&self.marks)
    }

    /// Adds the gradients of the step's rows to those of the encoded vectors.
    pub fn scatter(&self, outcome: &Outcome, encoded_gradient: &mut [f32]) {
        let (of_users, of_items) = encoded_gradient.split_at_mut(self.n_users * self.dim);
        let add = |sums: &mut [f32], ids: &[u32], rows: &[f32]| {
            for (&id, row) in ids.iter().zip(rows.chunks_exact(self.dim)) {
                let sum = &mut sums[id as usize * self.dim..][..self.dim];
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        };
        rayon::join(
            || add(of_users, &self.users, &outcome.user),
            || {
                add(of_items, &self.positives, &outcome.positive);
                add(of_items, &self.negatives, &outcome.negative);
            },
        );
    }

    /// Adds the gradient of the penalty on the step's rows of the tables. Returns the penalty.
    pub fn regularise(&self, reg: &Regularisation, tables: &[f32], batch_size: usize, gradient: &mut [f32]) -> f64 {
        let first_item = self.n_users * self.dim;
        let (users, items) = tables.split_at(first_item);
        let (of_users, of_items) = gradient.split_at_mut(first_item);
        let (user, item) = rayon::join(
            || reg.add(users, self.dim, &self.users, batch_size, of_users),
            || {
                let positive = reg.add(items, self.dim, &self.positives, batch_size, of_items);
                positive + reg.add(items, self.dim, &self.negatives, batch_size, of_items)
            },
        );
        user + item
    }

    /// Ends the step: its nodes are no longer marked, and their gradients zero.
    pub fn clear(&mut self, encoded_gradient: &mut [f32]) {
        let Self { n_users, dim, users, positives, negatives, marks } = self;
        let users = users.iter().map(|&user| user as usize);
        let items = positives.iter().chain(&*negatives).map(|&item| *n_users + item as usize);
        for node in users.chain(items) {
            if std::mem::take(&mut marks[node]) {
                encoded_gradient[node * *dim..][..*dim].fill(0.0);
            }
        }
    }
}
