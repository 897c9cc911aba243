//! Rows of `share (base + A table)`, `A` the normalised adjacency of a bipartite graph. One product knows
//! neither layers nor which of its operands is a gradient, nor of which columns they are.
//!
//! A row sums its neighbours in ascending order, one fused multiply-add each, whatever the width of the processor's
//! vectors and the number of threads: the bits are the same everywhere. The entry of `A` at a pair is the product of its two
//! ends' scales, so that no weights are stored: the graph is read as it is.

use multiversion::multiversion;
use rayon::prelude::*;

use super::layout::PANEL;
use crate::data::Graph;
use crate::kernel::prefetch;
use crate::method::rows::Nodes;

/// Rows per parallel task.
const ROWS: usize = 64;
/// How many neighbours before it is needed a row is asked for: neighbours lie anywhere in a table that is larger than the
/// processor's own caches.
const AHEAD: usize = 48;

/// `A` of a training graph: the entry at a pair is the scale of its row times the neighbour scale of its column.
pub struct Adjacency<'a> {
    graph: &'a Graph,
    /// Of users and of items.
    scales: [Vec<f32>; 2],
    /// Where they are others.
    neighbour_scales: Option<[Vec<f32>; 2]>,
}

/// The operands of a product, which are `[U + I, columns]`, row-major, users first.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    pub share: f32,
    pub base: &'a [f32],
    /// Outside these `base` counts as zero.
    pub base_nodes: Nodes<'a>,
    pub table: &'a [f32],
    /// What the product goes through: all edges unless there is a part.
    pub part: Option<&'a Part>,
    /// Which rows are written.
    pub wanted: Nodes<'a>,
}

/// The edges from some nodes to some nodes.
#[derive(Default)]
pub struct Part {
    users: Vec<Chunk>,
    items: Vec<Chunk>,
}

/// The edges of [`ROWS`] rows, or of the rest.
#[derive(Default)]
struct Chunk {
    /// Where the neighbours of each row end.
    ends: Vec<usize>,
    /// Followed by [`AHEAD`] that are none.
    neighbours: Vec<u32>,
}

/// The rows of one side of the graph, whose neighbours are all on the other.
#[derive(Clone, Copy)]
struct Side<'a> {
    columns: usize,
    /// Offsets into `neighbours` by row.
    ends: &'a [usize],
    neighbours: &'a [u32],
    scale: &'a [f32],
    neighbour_scale: &'a [f32],
    part: Option<&'a [Chunk]>,
    /// `base`, `base_nodes` and `wanted` are of this side's rows, `table` is of the other's.
    operands: Operands<'a>,
}

impl<'a> Adjacency<'a> {
    /// `D^{-1/2} A D^{-1/2}`.
    pub fn new(graph: &'a Graph) -> Self {
        let (users, items) = graph.inv_sqrt_degrees();
        Self { graph, scales: [users, items], neighbour_scales: None }
    }

    /// With other scales, of users and of items.
    pub fn with_scales(graph: &'a Graph, scales: [Vec<f32>; 2], neighbour_scales: [Vec<f32>; 2]) -> Self {
        Self { graph, scales, neighbour_scales: Some(neighbour_scales) }
    }

    /// Makes `part` the edges from `sources` to `wanted` nodes, unless that is all.
    pub fn restrict(&self, sources: Nodes, wanted: Nodes, part: &mut Part) {
        if let (Nodes::All, Nodes::All) = (sources, wanted) {
            return;
        }
        let Graph { n_users, n_items, user_ptr, user_items, item_ptr, item_users } = self.graph;
        let (user_sources, item_sources) = sources.split_at(*n_users);
        let (user_wanted, item_wanted) = wanted.split_at(*n_users);
        part.users.resize_with(n_users.div_ceil(ROWS), Chunk::default);
        part.items.resize_with(n_items.div_ceil(ROWS), Chunk::default);
        let chunks = |chunks: &mut [Chunk], ends: &[usize], neighbours: &[u32], sources: Nodes, wanted: Nodes| {
            chunks.par_iter_mut().enumerate().for_each(|(chunk, part)| {
                let first = chunk * ROWS;
                let last = (first + ROWS).min(ends.len() - 1);
                part.collect(first, &ends[first..=last], neighbours, sources, wanted);
            });
        };
        rayon::join(
            || chunks(&mut part.users, user_ptr, user_items, item_sources, user_wanted),
            || chunks(&mut part.items, item_ptr, item_users, user_sources, item_wanted),
        );
    }

    /// Writes the wanted rows of `share (base + A table)`.
    pub fn product(&self, operands: Operands, out: &mut [f32]) {
        let Self { graph, scales: [user_scale, item_scale], neighbour_scales } = self;
        let [user_neighbour_scale, item_neighbour_scale] = neighbour_scales.as_ref().unwrap_or(&self.scales);
        let Operands { base, base_nodes, table, part, wanted, .. } = operands;
        let users = graph.n_users;
        let columns = out.len() / (users + graph.n_items);
        let (user_base, item_base) = base.split_at(users * columns);
        let (user_base_nodes, item_base_nodes) = base_nodes.split_at(users);
        let (user_table, item_table) = table.split_at(users * columns);
        let (user_wanted, item_wanted) = wanted.split_at(users);
        let (user_out, item_out) = out.split_at_mut(users * columns);
        let of_users = Side {
            columns,
            ends: &graph.user_ptr,
            neighbours: &graph.user_items,
            scale: user_scale,
            neighbour_scale: item_neighbour_scale,
            part: part.map(|part| part.users.as_slice()),
            operands: Operands {
                base: user_base,
                base_nodes: user_base_nodes,
                table: item_table,
                wanted: user_wanted,
                ..operands
            },
        };
        let of_items = Side {
            columns,
            ends: &graph.item_ptr,
            neighbours: &graph.item_users,
            scale: item_scale,
            neighbour_scale: user_neighbour_scale,
            part: part.map(|part| part.items.as_slice()),
            operands: Operands {
                base: item_base,
                base_nodes: item_base_nodes,
                table: user_table,
                wanted: item_wanted,
                ..operands
            },
        };
        rayon::join(|| of_users.product(user_out), || of_items.product(item_out));
    }
}

impl Side<'_> {
    fn product(&self, out: &mut [f32]) {
        out.par_chunks_mut(ROWS * self.columns).enumerate().for_each(|(chunk, out)| {
            let (first, last) = (chunk * ROWS, chunk * ROWS + out.len() / self.columns);
            match self.part {
                None => rows(self, first, self.neighbours, self.ends[first], &self.ends[first + 1..=last], out),
                Some(part) => rows(self, first, &part[chunk].neighbours, 0, &part[chunk].ends, out),
            }
        });
    }
}

impl Chunk {
    /// The edges of the rows from `first` on, whose neighbours lie between these `ends`.
    fn collect(&mut self, first: usize, ends: &[usize], neighbours: &[u32], sources: Nodes, wanted: Nodes) {
        let kept = &mut self.neighbours;
        kept.clear();
        self.ends.clear();
        for (row, ends) in (first..).zip(ends.windows(2)) {
            if wanted.contains(row) {
                let (row, mut count) = (&neighbours[ends[0]..ends[1]], kept.len());
                kept.extend(row);
                if let Nodes::Marked(marks) = sources {
                    // Without a branch, for which ones are marked is chance.
                    for &neighbour in row {
                        kept[count] = neighbour;
                        count += usize::from(marks[neighbour as usize]);
                    }
                    kept.truncate(count);
                }
            }
            self.ends.push(kept.len());
        }
        kept.resize(kept.len() + AHEAD, 0);
    }
}

/// The rows from `first` on that fit into `out`, whose neighbours lie from `start` to `ends`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn rows(side: &Side, first: usize, neighbours: &[u32], mut start: usize, ends: &[usize], out: &mut [f32]) {
    let width = side.columns;
    for ((row, &end), out) in (first..).zip(ends).zip(out.chunks_exact_mut(width)) {
        if side.operands.wanted.contains(row) {
            // Those after the row's own are likely to be needed next.
            let (own, ahead) =
                (&neighbours[start..end], neighbours.get(start + AHEAD..end + AHEAD).unwrap_or_default());
            if width == PANEL {
                out.copy_from_slice(&sums(side, row, own, ahead, whole::<PANEL>));
            } else {
                let mut column = 0;
                while column < width {
                    column += match width - column {
                        32.. => part::<32>(side, row, own, ahead, column, out),
                        16.. => part::<16>(side, row, own, ahead, column, out),
                        8.. => part::<8>(side, row, own, ahead, column, out),
                        _ => part::<1>(side, row, own, ahead, column, out),
                    };
                }
            }
        }
        start = end;
    }
}

/// A row of `W` columns.
#[inline(always)]
fn whole<const W: usize>(table: &[f32], row: usize) -> &[f32; W] {
    &table.as_chunks().0[row]
}

/// Writes the `W` columns from `column` on of a row. Returns `W`.
#[inline(always)]
fn part<const W: usize>(side: &Side, row: usize, own: &[u32], ahead: &[u32], column: usize, out: &mut [f32]) -> usize {
    let sums: [f32; W] = sums(side, row, own, ahead, |table, row| {
        table[row * side.columns + column..].first_chunk().unwrap_or(&[0.0; W])
    });
    out[column..][..W].copy_from_slice(&sums);
    W
}

/// `W` columns of a row, which `at` finds in a table; the sums stay in registers. `own` are the row's neighbours, `ahead`
/// as many whose rows are asked for meanwhile, or none.
#[inline(always)]
fn sums<const W: usize>(
    side: &Side,
    row: usize,
    own: &[u32],
    ahead: &[u32],
    at: impl for<'t> Fn(&'t [f32], usize) -> &'t [f32; W],
) -> [f32; W] {
    let Operands { share, base, base_nodes, table, .. } = side.operands;
    let mut sums = [0.0f32; W];
    let mut add = |neighbour: u32| {
        let scale = side.neighbour_scale[neighbour as usize];
        for (sum, value) in sums.iter_mut().zip(at(table, neighbour as usize)) {
            *sum = scale.mul_add(*value, *sum);
        }
    };
    if ahead.is_empty() {
        own.iter().for_each(|&neighbour| add(neighbour));
    } else {
        for (&neighbour, &next) in own.iter().zip(ahead) {
            prefetch(at(table, next as usize));
            add(neighbour);
        }
    }
    let scale = side.scale[row];
    if base_nodes.contains(row) {
        for (sum, base) in sums.iter_mut().zip(at(base, row)) {
            *sum = share * scale.mul_add(*sum, *base);
        }
    } else {
        sums.iter_mut().for_each(|sum| *sum = share * (scale * *sum));
    }
    sums
}
