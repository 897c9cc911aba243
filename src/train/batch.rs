//! The rows of one training step: what it reads of the tables, and where its gradients go. Panels are summed side by side,
//! each row by row in the order of the batch, so that the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::regularisation::{Regularisation, add_rows};
use crate::model::{Layout, Nodes, Rows, Summands};
use crate::sampler::{Outcome, Uniform};

/// Training pairs and their negatives. Tables are as `layout` says, `[U + I, d]`, users first.
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

    fn rows(&self) -> [Rows<'_>; 3] {
        let first = self.n_users;
        [
            Rows { first: 0, ids: &self.users },
            Rows { first, ids: &self.positives },
            Rows { first, ids: &self.negatives },
        ]
    }

    /// The summands of the gradient with respect to encoded vectors.
    pub fn summands<'a>(&'a self, outcome: &'a Outcome) -> [Summands<'a>; 3] {
        let [users, positives, negatives] = self.rows();
        [(users, &outcome.user), (positives, &outcome.positive), (negatives, &outcome.negative)]
            .map(|(rows, values)| Summands { rows, values })
    }

    /// Adds the gradient of the penalty on the step's rows of the tables. Returns the penalty.
    pub fn regularise(&self, reg: &Regularisation, tables: &[f32], batch_size: usize, gradient: &mut [f32]) -> f64 {
        let layout = self.layout;
        let [users, positives, negatives] = self.rows();
        let weigh = |rows: &Rows| reg.weigh(tables, layout, rows, batch_size);
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

    /// Ends the step: its nodes are no longer marked.
    pub fn clear(&mut self) {
        let Self { n_users, users, positives, negatives, marks, .. } = self;
        users.iter().for_each(|&user| marks[user as usize] = false);
        positives.iter().chain(&*negatives).for_each(|&item| marks[*n_users + item as usize] = false);
    }
}
