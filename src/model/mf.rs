//! Matrix factorisation: the encoded vectors are the tables.

use rayon::prelude::*;

use super::{Encoder, Layout, Nodes, Summands};

pub struct Mf(pub Layout);

impl Encoder for Mf {
    fn encode(&mut self, tables: &[f32], nodes: Nodes, encoded: &mut [f32]) {
        self.0.gather(tables, nodes, encoded);
    }

    fn pull_back(&mut self, encoded_gradient: &[Summands], _: Nodes, table_gradient: &mut [f32]) {
        let columns: Vec<_> = self.0.columns().collect();
        table_gradient.par_chunks_mut(self.0.panel()).zip(columns).for_each(|(panel, columns)| {
            self.0.sum(encoded_gradient, Nodes::All, columns, panel);
        });
    }
}
