//! How trainable tables lie in memory.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernel::{Aligned, prefetch};
use crate::method::rows::{Nodes, RowGradient, Summands};

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

    /// Copies the rows of `nodes` from row `first` on to row-major `values`, which are as many as fit there.
    pub fn gather(self, table: &[f32], first: usize, nodes: Nodes, values: &mut [f32]) {
        values.par_chunks_mut(ROWS * self.dim).enumerate().for_each(|(chunk, values)| {
            let rows = (first + chunk * ROWS..).zip(values.chunks_exact_mut(self.dim));
            for (row, values) in rows.filter(|(row, _)| nodes.contains(*row)) {
                self.row(row).for_each(|(columns, places)| values[columns].copy_from_slice(&table[places]));
            }
        });
    }

    /// The row-major values of `rows`.
    pub fn rows(self, table: &[f32], rows: Range<usize>) -> Vec<f32> {
        let mut values = vec![0.0; rows.len() * self.dim];
        self.gather(table, rows.start, Nodes::All, &mut values);
        values
    }

    /// Makes the rows of `nodes` of a panel, which has these columns, the sums of the summands for them. Where there are more
    /// threads than panels, they share the rows of a panel; each row is summed in the order given.
    pub fn sum(self, summands: &[PlacedSummands], nodes: Nodes, columns: Range<usize>, panel: &mut [f32]) {
        let threads = rayon::current_num_threads().div_ceil(self.columns().count().max(1));
        let share = self.rows.div_ceil(threads.max(1)).max(1);
        if share >= self.rows {
            return self.sum_rows(summands, nodes, columns, 0, panel);
        }
        panel.par_chunks_mut(share * columns.len()).enumerate().for_each(|(number, rows)| {
            self.sum_rows(summands, nodes, columns.clone(), number * share, rows);
        });
    }

    /// As [`Self::sum`], for the rows from `first` on that `out` has room for.
    fn sum_rows(self, summands: &[PlacedSummands], nodes: Nodes, columns: Range<usize>, first: usize, out: &mut [f32]) {
        let width = columns.len();
        let of_nodes = (first..).zip(out.chunks_exact_mut(width)).filter(|(node, _)| nodes.contains(*node));
        of_nodes.for_each(|(_, row)| row.fill(0.0));
        // Where a row lies in `out`; those of others wrap around to beyond its end.
        let place = |row: usize| row.wrapping_sub(first).saturating_mul(width);
        for PlacedSummands { rows, values } in summands {
            for ((row, ahead), values) in rows.places().zip(rows.ahead()).zip(values.chunks_exact(self.dim)) {
                if let Some(ahead) = out.get(place(ahead)..).and_then(|rest| rest.get(..width)) {
                    prefetch(ahead);
                }
                let Some(sum) = out.get_mut(place(row)..).and_then(|rest| rest.get_mut(..width)) else { continue };
                sum.iter_mut().zip(&values[columns.clone()]).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

/// Rows of a table, repetitions included.
#[derive(Clone, Copy)]
pub struct PlacedRows<'a> {
    /// The row that `ids` count from.
    pub first: usize,
    pub ids: &'a [u32],
}

impl PlacedRows<'_> {
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
pub struct PlacedSummands<'a> {
    pub rows: PlacedRows<'a>,
    /// Row-major: one for each of the rows.
    pub values: &'a [f32],
}

/// The summands of a table of users and items, whose first item lies at row `first_item`.
pub fn place<'a>(gradient: &RowGradient<'a>, first_item: usize) -> Vec<PlacedSummands<'a>> {
    let placed = |first: usize, summands: &Summands<'a>| PlacedSummands {
        rows: PlacedRows { first, ids: summands.ids },
        values: summands.values,
    };
    let items = gradient.items.iter().map(|summands| placed(first_item, summands));
    [placed(0, &gradient.queries)].into_iter().chain(items).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_threads() {
        let (layout, ids) = (Layout { rows: 50, dim: 40 }, (0..200).map(|k| k * 7 % 40).collect::<Vec<u32>>());
        let values: Vec<f32> = (0..200 * 40).map(|value| (value as f32).sqrt()).collect();
        let summands = [PlacedSummands { rows: PlacedRows { first: 5, ids: &ids }, values: &values }];
        let sums = |threads: usize| {
            let mut table = Aligned::zeros(50 * 40);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                for (panel, columns) in table.chunks_mut(layout.panel()).zip(layout.columns()) {
                    layout.sum(&summands, Nodes::All, columns, panel);
                }
            });
            table
        };
        assert!(sums(1)[5 * PANEL..].iter().any(|&sum| sum > 0.0));
        assert!([2, 3, 8, 64].into_iter().all(|threads| sums(threads) == sums(1)));
    }

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
            layout.gather(&table, 0, Nodes::All, &mut all);
            layout.gather(&table, 0, Nodes::Marked(&[false, true, false]), &mut some);
            assert_eq!(layout.rows(&table, 1..3), values[dim..]);
            assert_eq!(all, values);
            let twice = PlacedRows { first: 1, ids: &[1, 1] };
            let once = PlacedRows { first: 0, ids: &[0] };
            let summands = [
                PlacedSummands { rows: twice, values: &values[..2 * dim] },
                PlacedSummands { rows: once, values: &values[dim..] },
            ];
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
