//! Rows of `share (base + A table)`, `A` the symmetrically normalised adjacency of a bipartite graph. One product knows
//! neither layers nor which of its operands is a gradient.
//!
//! A row sums its neighbours in ascending order, one fused multiply-add each, whatever the width of the processor's
//! vectors and the number of threads: the bits are the same everywhere. The entry of `A` at a pair is the product of its two
//! ends' scales, so that no weights are stored: the graph is read as it is.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::data::Graph;
use crate::model::Nodes;

/// Rows per parallel task.
const ROWS: usize = 64;
/// Neighbours that are looked through at a time for those that count.
const GROUP: usize = 256;

/// `A` of a training graph.
pub(super) struct Adjacency<'a> {
    graph: &'a Graph,
    /// Diagonal of `D^{-1/2}` for users and for items.
    user_scale: Vec<f32>,
    item_scale: Vec<f32>,
}

/// The operands of a product; tables are `[U + I, dim]`, users first.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub dim: usize,
    pub share: f32,
    pub base: &'a [f32],
    /// Outside these `base` is zero.
    pub base_nodes: Nodes<'a>,
    pub table: &'a [f32],
    /// Outside these `table` is zero.
    pub sources: Nodes<'a>,
    /// Which rows are written.
    pub wanted: Nodes<'a>,
    /// The side whose rows the calling thread computes, while others begin with the other side. It is to be the one whose
    /// neighbours that thread has written last: they are near it where processors do not share all caches.
    pub begin: Begin,
}

/// A side of the graph.
#[derive(Clone, Copy)]
pub(super) enum Begin {
    Users,
    Items,
}

/// The rows of one side of the graph, whose neighbours are all on the other.
#[derive(Clone, Copy)]
struct Side<'a> {
    /// Offsets into `neighbours` by row.
    ends: &'a [usize],
    neighbours: &'a [u32],
    scale: &'a [f32],
    neighbour_scale: &'a [f32],
    /// `base`, `base_nodes` and `wanted` are of this side's rows, `table` and `sources` of the other's.
    operands: Operands<'a>,
}

impl<'a> Adjacency<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        let (user_scale, item_scale) = graph.inv_sqrt_degrees();
        Self { graph, user_scale, item_scale }
    }

    /// Writes the wanted rows of `share (base + A table)`.
    pub fn product(&self, operands: Operands, out: &mut [f32]) {
        let Self { graph, user_scale, item_scale } = self;
        let Operands { dim, base, base_nodes, table, sources, wanted, .. } = operands;
        let users = graph.n_users;
        let (user_base, item_base) = base.split_at(users * dim);
        let (user_base_nodes, item_base_nodes) = base_nodes.split_at(users);
        let (user_table, item_table) = table.split_at(users * dim);
        let (user_sources, item_sources) = sources.split_at(users);
        let (user_wanted, item_wanted) = wanted.split_at(users);
        let (user_out, item_out) = out.split_at_mut(users * dim);
        let of_users = Side {
            ends: &graph.user_ptr,
            neighbours: &graph.user_items,
            scale: user_scale,
            neighbour_scale: item_scale,
            operands: Operands {
                base: user_base,
                base_nodes: user_base_nodes,
                table: item_table,
                sources: item_sources,
                wanted: user_wanted,
                ..operands
            },
        };
        let of_items = Side {
            ends: &graph.item_ptr,
            neighbours: &graph.item_users,
            scale: item_scale,
            neighbour_scale: user_scale,
            operands: Operands {
                base: item_base,
                base_nodes: item_base_nodes,
                table: user_table,
                sources: user_sources,
                wanted: item_wanted,
                ..operands
            },
        };
        let (users, items) = (|| of_users.product(user_out), || of_items.product(item_out));
        match operands.begin {
            Begin::Users => rayon::join(users, items),
            Begin::Items => rayon::join(items, users),
        };
    }
}

impl Side<'_> {
    fn product(&self, out: &mut [f32]) {
        let chunks = out.par_chunks_mut(ROWS * self.operands.dim).enumerate();
        chunks.for_each(|(chunk, out)| rows(self, chunk * ROWS, out));
    }
}

/// The rows from `first` on that fit into `out`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn rows(side: &Side, first: usize, out: &mut [f32]) {
    let dim = side.operands.dim;
    for (row, out) in (first..).zip(out.chunks_exact_mut(dim)) {
        if !side.operands.wanted.contains(row) {
            continue;
        }
        let mut column = 0;
        while column < dim {
            column += match dim - column {
                64.. => columns::<64>(side, row, column, out),
                32.. => columns::<32>(side, row, column, out),
                16.. => columns::<16>(side, row, column, out),
                8.. => columns::<8>(side, row, column, out),
                _ => columns::<1>(side, row, column, out),
            };
        }
    }
}

/// `W` columns of a row, whose sums stay in registers. Returns `W`.
#[inline(always)]
fn columns<const W: usize>(side: &Side, row: usize, column: usize, out: &mut [f32]) -> usize {
    let Operands { dim, share, base, base_nodes, table, sources, .. } = side.operands;
    let mut sum = [0.0f32; W];
    let mut kept = [0u32; GROUP];
    for group in side.neighbours[side.ends[row]..side.ends[row + 1]].chunks(GROUP) {
        let group = match sources {
            Nodes::All => group,
            Nodes::Marked(marks) => keep(group, marks, &mut kept),
        };
        for &neighbour in group {
            let neighbour = neighbour as usize;
            let scale = side.neighbour_scale[neighbour];
            let values = &table[neighbour * dim + column..][..W];
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum = scale.mul_add(*value, *sum);
            }
        }
    }
    let (scale, out) = (side.scale[row], &mut out[column..][..W]);
    if base_nodes.contains(row) {
        let base = &base[row * dim + column..][..W];
        for ((out, base), sum) in out.iter_mut().zip(base).zip(sum) {
            *out = share * scale.mul_add(sum, *base);
        }
    } else {
        out.iter_mut().zip(sum).for_each(|(out, sum)| *out = share * (scale * sum));
    }
    W
}

/// The marked ones of at most [`GROUP`] neighbours, in order; without a branch, for which ones are marked is chance.
#[inline(always)]
fn keep<'a>(group: &[u32], marks: &[bool], kept: &'a mut [u32; GROUP]) -> &'a [u32] {
    let mut count = 0;
    for &neighbour in group {
        kept[count] = neighbour;
        count += usize::from(marks[neighbour as usize]);
    }
    &kept[..count]
}
