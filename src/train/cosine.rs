//! `score: cosine`: vectors are divided by their norm once they are known, for samplers, loss and ranking alike, and the
//! gradient with respect to the unit vectors becomes that of the vectors themselves.

use rayon::prelude::*;

use crate::kernel::{Aligned, normalize, pull_back_unit};
use crate::method::{Nodes, Vectors};

/// Rows per parallel task.
const ROWS: usize = 256;

/// The norms that vectors were divided by.
#[derive(Default)]
pub struct Norms {
    queries: Vec<f32>,
    items: Vec<f32>,
}

impl Norms {
    /// Divides the rows by their norms: those of the queries and items among `nodes`, which are users where queries are.
    pub fn divide(&mut self, vectors: &mut Vectors, users: Option<Nodes>, items: Nodes) {
        let Vectors { width, queries, items: item_vectors } = vectors;
        divide(queries, *width, users.unwrap_or(Nodes::All), &mut self.queries);
        divide(item_vectors, *width, items, &mut self.items);
    }

    /// Makes gradients with respect to the unit vectors of these queries those of the vectors.
    pub fn pull_back_queries(&self, vectors: &Vectors, ids: &[u32], gradient: &mut [f32]) {
        pull_back(&vectors.queries, &self.queries, vectors.width, ids, gradient);
    }

    /// As [`Self::pull_back_queries`], of items.
    pub fn pull_back_items(&self, vectors: &Vectors, ids: &[u32], gradient: &mut [f32]) {
        pull_back(&vectors.items, &self.items, vectors.width, ids, gradient);
    }
}

fn divide(rows: &mut Aligned, width: usize, nodes: Nodes, norms: &mut Vec<f32>) {
    norms.resize(rows.len() / width.max(1), 1.0);
    let chunks = rows.par_chunks_mut(ROWS * width).zip(norms.par_chunks_mut(ROWS)).enumerate();
    chunks.for_each(|(chunk, (rows, norms))| {
        let rows = rows.chunks_exact_mut(width).zip(norms).enumerate();
        for (_, (row, norm)) in rows.filter(|(row, _)| nodes.contains(chunk * ROWS + row)) {
            *norm = normalize(row);
        }
    });
}

fn pull_back(unit: &[f32], norms: &[f32], width: usize, ids: &[u32], gradient: &mut [f32]) {
    let chunks = gradient.par_chunks_mut(ROWS * width).zip(ids.par_chunks(ROWS));
    chunks.for_each(|(gradient, ids)| {
        for (gradient, &id) in gradient.chunks_exact_mut(width).zip(ids) {
            pull_back_unit(&unit[id as usize * width..][..width], norms[id as usize], gradient);
        }
    });
}
