//! The trained tables of users and items on the processor.

use rayon::prelude::*;

use super::layout::{Layout, PlacedRows};
use super::penalty;
use crate::kernel::Aligned;
use crate::method::optim::{self, Update};
use crate::method::params::{NamedTensor, Parameters, find, moment_names};
use crate::method::{Regularisation, Setup, xavier_tables};

/// The sum of squares is taken over so many values at a time: fixed, so that its bits do not depend on threads.
const CHUNK: usize = 16_384;

/// Tables `[U, d]` and `[I, d]`, one after the other, as [`Layout`] says, with their gradient and moments.
pub struct Tables {
    pub layout: Layout,
    pub users: usize,
    pub values: Aligned,
    pub gradient: Aligned,
    moments: [Aligned; 2],
}

impl Tables {
    /// Xavier uniform.
    pub fn new(setup: &Setup) -> Self {
        let (users, items) = (setup.data.graph.n_users, setup.data.graph.n_items);
        let layout = Layout { rows: users + items, dim: setup.dim };
        let values = layout.arrange(&xavier_tables(setup.seed, users, items, setup.dim));
        let kept = setup.rule.moments();
        let moment = |number: usize| Aligned::zeros(if number < kept { values.len() } else { 0 });
        let moments = [moment(0), moment(1)];
        Self { layout, users, gradient: Aligned::zeros(values.len()), values, moments }
    }

    /// Adds the gradient of the penalty on these rows. Answers the penalty.
    pub fn regularise(
        &mut self,
        regularisation: &Regularisation,
        users: &[u32],
        items: &[&[u32]],
        batch_size: usize,
    ) -> f64 {
        let Self { layout, ref values, ref mut gradient, users: first, .. } = *self;
        let items = items.iter().map(|ids| PlacedRows { first, ids });
        let rows: Vec<PlacedRows> = [PlacedRows { first: 0, ids: users }].into_iter().chain(items).collect();
        let weigh = |rows: &PlacedRows| {
            let square = if regularisation.weight == 0.0 || rows.ids.is_empty() {
                0.0
            } else {
                penalty::sum_of_squares(values, layout, rows)
            };
            regularisation.weigh(square, rows.ids.len(), batch_size)
        };
        let weighed: Vec<(f64, f32)> = rows.par_iter().map(weigh).collect();
        let panels = values.par_chunks(layout.panel()).zip(gradient.par_chunks_mut(layout.panel()));
        panels.for_each(|(panel, gradient)| {
            let columns = panel.len() / layout.rows;
            for (rows, &(_, slope)) in rows.iter().zip(&weighed) {
                if slope != 0.0 {
                    penalty::add_rows(slope, panel, columns, rows, gradient);
                }
            }
        });
        // The items first, as the sum of a pair of items always was.
        let (user, items) = weighed.split_first().map_or((0.0, &[][..]), |(user, items)| (user.0, items));
        user + items.iter().map(|item| item.0).reduce(|sum, item| sum + item).unwrap_or(0.0)
    }

    /// The parts that are stored apart: name and rows.
    fn parts(&self) -> [(&'static str, std::ops::Range<usize>); 2] {
        [("users", 0..self.users), ("items", self.users..self.layout.rows)]
    }

    fn export(&self, table: &[f32], name: impl Fn(&str) -> String) -> impl Iterator<Item = NamedTensor> {
        let whole = table.len() == self.values.len();
        self.parts().into_iter().filter(move |_| whole).map(move |(part, rows)| NamedTensor {
            name: name(part),
            shape: vec![rows.len(), self.layout.dim],
            values: self.layout.rows(table, rows),
        })
    }

    /// The table whose parts have these names among `tensors`.
    fn import(&self, tensors: &[NamedTensor], name: impl Fn(&str) -> String) -> Option<Aligned> {
        let mut values = Vec::with_capacity(self.values.len());
        for (part, rows) in self.parts() {
            values.extend_from_slice(find(tensors, &name(part), &[rows.len(), self.layout.dim])?);
        }
        Some(self.layout.arrange(&values))
    }
}

impl Parameters for Tables {
    fn count(&self) -> usize {
        self.values.len()
    }

    fn squared_gradient(&self) -> f64 {
        let square = |chunk: &[f32]| chunk.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        self.gradient.par_chunks(CHUNK).map(square).collect::<Vec<f64>>().into_iter().sum()
    }

    fn update(&mut self, update: &Update) {
        let [first, second] = &mut self.moments;
        optim::apply(update, &mut self.values, &self.gradient, [first, second]);
    }

    fn values(&self) -> Vec<NamedTensor> {
        self.export(&self.values, str::to_owned).collect()
    }

    fn moments(&self) -> Vec<NamedTensor> {
        let named = |number: usize| move |part: &str| moment_names(part)[number].clone();
        self.moments.iter().enumerate().flat_map(|(number, moment)| self.export(moment, named(number))).collect()
    }

    fn restore(&mut self, tensors: &[NamedTensor], moments: bool) -> bool {
        if !moments {
            return self.import(tensors, str::to_owned).map(|values| self.values = values).is_some();
        }
        let named = |number: usize| move |part: &str| moment_names(part)[number].clone();
        let kept = self.moments.each_ref().map(|moment| !moment.is_empty());
        let found = [0, 1].map(|number| kept[number].then(|| self.import(tensors, named(number))));
        if found.iter().flatten().any(Option::is_none) {
            return false;
        }
        for (moment, found) in self.moments.iter_mut().zip(found) {
            if let Some(Some(found)) = found {
                *moment = found;
            }
        }
        true
    }
}
