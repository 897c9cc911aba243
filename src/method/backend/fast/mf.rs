//! Matrix factorisation: the vectors are the tables.

use rayon::prelude::*;

use super::layout;
use super::tables::Tables;
use crate::method::data::Histories;
use crate::method::params::Parameters;
use crate::method::rows::{Nodes, RowGradient, Vectors};
use crate::method::{Backbone, Batch, MethodError, Regularisation, Setup};

pub struct Mf(Tables);

impl Mf {
    pub fn new(setup: &Setup) -> Self {
        Self(Tables::new(setup))
    }

    fn encode(&self, nodes: Nodes, vectors: &mut Vectors) {
        let Tables { layout, users, values, .. } = &self.0;
        layout.gather(values, 0, nodes, &mut vectors.queries);
        layout.gather(values, *users, nodes, &mut vectors.items);
    }
}

impl Backbone for Mf {
    fn width(&self) -> usize {
        self.0.layout.dim
    }

    fn parameters(&mut self) -> &mut dyn Parameters {
        &mut self.0
    }

    fn forward(&mut self, _: &Batch, nodes: Nodes, vectors: &mut Vectors) -> Result<(), MethodError> {
        self.encode(nodes, vectors);
        Ok(())
    }

    fn backward(&mut self, row_gradient: &RowGradient, _: Nodes) -> Result<(), MethodError> {
        let Tables { layout, users, gradient, .. } = &mut self.0;
        let summands = layout::place(row_gradient, *users);
        let columns: Vec<_> = layout.columns().collect();
        gradient.par_chunks_mut(layout.panel()).zip(columns).for_each(|(panel, columns)| {
            layout.sum(&summands, Nodes::All, columns, panel);
        });
        Ok(())
    }

    fn regularise(&mut self, penalty: &Regularisation, users: &[u32], items: &[&[u32]], batch_size: usize) -> f64 {
        self.0.regularise(penalty, users, items, batch_size)
    }

    fn encode_all(&mut self, _: &Histories, vectors: &mut Vectors) -> Result<(), MethodError> {
        self.encode(Nodes::All, vectors);
        Ok(())
    }
}
