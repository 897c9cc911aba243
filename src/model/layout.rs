//! How trainable tables lie in memory.

use std::ops::Range;

use rayon::prelude::*;

use super::Nodes;
use crate::kernel::{Aligned, prefetch};

/// Rows that are copied by one parallel task.
const ROWS: usize = 256;

/// How many rows before it is needed a row is asked for.
const AHEAD: usize = 8;

/// Columns of a panel: two cache lines.
pub const PANEL: usize = 32;

/// A table `[rows, dim]` as panels of [`PANEL`] columns, one after the other, each row-major; the last has the columns that
/// remain. What concerns all rows is done panel by panel: columns do not mix, so that the thread that has written a value
/// reads it again, and a panel is nearer to it than the whole table.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub rows: usize,
    pub dim: usize,
}

impl Layout {
    /// Values of all panels but the last.
    pub fn panel(self) -> usize {
        (self.rows * PANEL).max(1)
    }

    /// The columns of each panel.
    pub fn columns(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.dim).step_by(PANEL).map(move |first| first..self.dim.min(first + PANEL))
    }

    /// Where the parts of a row lie: their columns and their places.
    #[inline(always)]
    pub fn row(self, row: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        self.columns().map(move |columns| {
            let place = self.rows * columns.start + row * columns.len();
            (columns.clone(), place..place + columns.len())
        })
    }

    /// The table of row-major `values`.
    pub fn arrange(self, values: &[f32]) -> Aligned {
        let mut table = Aligned::zeros(values.len());
        for (row, values) in values.chunks_exact(self.dim).enumerate() {
            self.row(row).for_each(|(columns, places)| table[places].copy_from_slice(&values[columns]));
        }
        table
    }

    /// Copies the rows of `nodes` to row-major `values`.
    pub fn gather(self, table: &[f32], nodes: Nodes, values: &mut [f32]) {
        values.par_chunks_mut(ROWS * self.dim).enumerate().for_each(|(chunk, values)| {
            let rows = (chunk * ROWS..).zip(values.chunks_exact_mut(self.dim));
            for (row, values) in rows.filter(|(row, _)| nodes.contains(*row)) {
                self.row(row).for_each(|(columns, places)| values[columns].copy_from_slice(&table[places]));
            }
        });
    }

    /// Makes the rows of `nodes` of a panel, which has these columns, the sums of the summands for them.
    pub fn sum(self, summands: &[Summands], nodes: Nodes, columns: Range<usize>, panel: &mut [f32]) {
        let width = columns.len();
        let of_nodes = panel.chunks_exact_mut(width).enumerate().filter(|(node, _)| nodes.contains(*node));
        of_nodes.for_each(|(_, row)| row.fill(0.0));
        for Summands { rows, values } in summands {
            for ((row, ahead), values) in rows.places().zip(rows.ahead()).zip(values.chunks_exact(self.dim)) {
                prefetch(&panel[ahead * width..][..width]);
                let sum = &mut panel[row * width..][..width];
                sum.iter_mut().zip(&values[columns.clone()]).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

/// Rows of a table, repetitions included.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The row that `ids` count from.
    pub first: usize,
    pub ids: &'a [u32],
}

impl Rows<'_> {
    pub fn places(&self) -> impl Iterator<Item = usize> + Clone {
        self.ids.iter().map(|&id| self.first + id as usize)
    }

    /// For each row one that comes soon after it.
    pub fn ahead(&self) -> impl Iterator<Item = usize> {
        self.places().cycle().skip(AHEAD)
    }
}

/// Summands of some rows of a table.
#[derive(Clone, Copy)]
pub struct Summands<'a> {
    pub rows: Rows<'a>,
    /// Row-major: one for each of the rows.
    pub values: &'a [f32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_place() {
        for dim in [1, 31, 32, 64, 70] {
            let layout = Layout { rows: 3, dim };
            let values: Vec<f32> = (0..3 * dim).map(|value| value as f32).collect();
            let table = layout.arrange(&values);
            for (panel, columns) in table.chunks(layout.panel()).zip(layout.columns()) {
                assert_eq!(panel.len(), 3 * columns.len());
                assert_eq!(panel[columns.len()], (dim + columns.start) as f32);
            }
            let (mut all, mut some) = (vec![0.0; 3 * dim], vec![0.0; 3 * dim]);
            layout.gather(&table, Nodes::All, &mut all);
            layout.gather(&table, Nodes::Marked(&[false, true, false]), &mut some);
            assert_eq!(all, values);
            let (twice, once) = (Rows { first: 1, ids: &[1, 1] }, Rows { first: 0, ids: &[0] });
            let summands =
                [Summands { rows: twice, values: &values[..2 * dim] }, Summands { rows: once, values: &values[dim..] }];
            let mut sums = Aligned::zeros(3 * dim);
            sums.fill(7.0);
            for (panel, columns) in sums.chunks_mut(layout.panel()).zip(layout.columns()) {
                layout.sum(&summands, Nodes::Marked(&[true, false, true]), columns, panel);
            }
            let both = values[..dim].iter().zip(&values[dim..]).map(|(a, b)| a + b);
            let expected = [values[dim..2 * dim].to_vec(), vec![7.0; dim], both.collect()].concat();
            assert_eq!(sums, layout.arrange(&expected));
            assert_eq!(some, [vec![0.0; dim], values[dim..2 * dim].to_vec(), vec![0.0; dim]].concat());
        }
    }
}
