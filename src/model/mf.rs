//! Matrix factorisation: the encoded vectors are the tables.

use rayon::prelude::*;

use super::{Encoder, Layout, Nodes};

pub struct Mf(pub Layout);

impl Encoder for Mf {
    fn encode(&mut self, tables: &[f32], nodes: Nodes, encoded: &mut [f32]) {
        self.0.gather(tables, nodes, encoded);
    }

    fn pull_back(&mut self, encoded_gradient: &[f32], nodes: Nodes, table_gradient: &mut [f32]) {
        let columns: Vec<_> = self.0.columns().collect();
        table_gradient.par_chunks_mut(self.0.panel()).zip(columns).for_each(|(panel, columns)| {
            panel.fill(0.0);
            self.0.scatter(encoded_gradient, nodes, columns, panel);
        });
    }
}
