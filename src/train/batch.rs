//! The rows of one training step: what it reads of the tables, and where its gradients go. Users and items are summed
//! side by side, each row by row in the order of the batch, so that the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::regularisation::{Regularisation, Rows, add_rows};
use crate::kernel::prefetch;
use crate::model::{Layout, Nodes};
use crate::sampler::{Outcome, Uniform};

/// How many rows before it is needed a row is asked for.
const AHEAD: usize = 8;

/// Training pairs and their negatives. Tables are as `layout` says, encoded vectors row-major; both `[U + I, d]`, users
/// first.
pub(super) struct Batch {
    n_users: usize,
    layout: Layout,
    pub users: Vec<u32>,
    pub positives: Vec<u32>,
    pub negatives: Vec<u32>,
    /// Which nodes are among them.
    marks: Vec<bool>,
}

impl Batch {
    pub fn new(n_users: usize, layout: Layout) -> Self {
        let [users, positives, negatives] = [const { Vec::new() }; 3];
        Self { n_users, layout, users, positives, negatives, marks: vec![false; layout.rows] }
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
        let dim = self.layout.dim;
        let (of_users, of_items) = encoded_gradient.split_at_mut(self.n_users * dim);
        let add = |sums: &mut [f32], ids: &[u32], rows: &[f32]| {
            for (place, (&id, row)) in ids.iter().zip(rows.chunks_exact(dim)).enumerate() {
                if let Some(&next) = ids.get(place + AHEAD) {
                    prefetch(&sums[next as usize * dim..][..dim]);
                }
                let sum = &mut sums[id as usize * dim..][..dim];
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
        let Self { n_users, layout, users, positives, negatives, .. } = self;
        let users = Rows { first: 0, ids: users };
        let [positives, negatives] = [positives, negatives].map(|ids| Rows { first: *n_users, ids });
        let weigh = |rows: &Rows| reg.weigh(tables, *layout, rows, batch_size);
        let (user, (positive, negative)) = rayon::join(|| weigh(&users), || (weigh(&positives), weigh(&negatives)));
        let panels = tables.par_chunks(layout.panel()).zip(gradient.par_chunks_mut(layout.panel()));
        panels.for_each(|(panel, gradient)| {
            let columns = panel.len() / layout.rows;
            for (rows, (_, slope)) in [(&users, user), (&positives, positive), (&negatives, negative)] {
                if slope != 0.0 {
                    add_rows(slope, panel, columns, rows, gradient);
                }
            }
        });
        user.0 + (positive.0 + negative.0)
    }

    /// Ends the step: its nodes are no longer marked, and their gradients zero.
    pub fn clear(&mut self, encoded_gradient: &mut [f32]) {
        let Self { n_users, layout: Layout { dim, .. }, users, positives, negatives, marks } = self;
        let (of_users, of_items) = encoded_gradient.split_at_mut(*n_users * *dim);
        let (user_marks, item_marks) = marks.split_at_mut(*n_users);
        let clear = |ids: &[u32], marks: &mut [bool], gradient: &mut [f32]| {
            for id in ids.iter().map(|&id| id as usize) {
                if std::mem::take(&mut marks[id]) {
                    gradient[id * *dim..][..*dim].fill(0.0);
                }
            }
        };
        rayon::join(
            || clear(users, user_marks, of_users),
            || {
                clear(positives, item_marks, of_items);
                clear(negatives, item_marks, of_items);
            },
        );
    }
}
