//! How trainable tables lie in memory.

use std::ops::Range;

use rayon::prelude::*;

use super::Nodes;
use crate::kernel::Aligned;

/// Rows that are copied by one parallel task.
const ROWS: usize = 256;

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

    /// Copies the rows of `nodes` of row-major `values` to a panel, which has these columns.
    pub fn scatter(self, values: &[f32], nodes: Nodes, columns: Range<usize>, panel: &mut [f32]) {
        for (node, row) in panel.chunks_exact_mut(columns.len()).enumerate().filter(|(node, _)| nodes.contains(*node)) {
            row.copy_from_slice(&values[node * self.dim..][columns.clone()]);
        }
    }
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
            assert_eq!(some, [vec![0.0; dim], values[dim..2 * dim].to_vec(), vec![0.0; dim]].concat());
        }
    }
}
