//! Matrix products on tiles: a packed left side by a right side of [`LANES`] columns, and the outer product of two
//! tiles.

use std::ops::Range;

use multiversion::multiversion;

/// Columns of a tile.
pub const LANES: usize = 32;

/// One value for each column of a tile.
pub type Lanes = [f32; LANES];

/// Rows that are computed together.
pub const HEIGHT: usize = 6;

/// Columns that are computed together: with [`HEIGHT`] rows, 12 registers of 8 sums.
const WIDTH: usize = 16;

/// A matrix in bands of [`HEIGHT`] rows, each band column by column; the last band is filled up with zeros.
pub struct Packed {
    columns: usize,
    bands: Vec<[f32; HEIGHT]>,
}

impl Packed {
    /// The matrix of `rows` by `columns` with these values.
    pub fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let mut bands = Vec::with_capacity(rows.div_ceil(HEIGHT) * columns);
        for first in (0..rows).step_by(HEIGHT) {
            for column in 0..columns {
                bands
                    .push(std::array::from_fn(|row| if first + row < rows { value(first + row, column) } else { 0.0 }));
            }
        }
        Self { columns, bands }
    }

    /// `c += A b` with the bands `bands` and the columns `columns` of the matrix `A`: `b` has a row for each of these
    /// columns, `c` one for each row of these bands (the last may lack those that were filled up).
    pub fn accumulate(&self, bands: Range<usize>, columns: Range<usize>, b: &[Lanes], c: &mut [Lanes]) {
        accumulate(&self.bands[bands.start * self.columns..bands.end * self.columns], self.columns, columns, b, c);
    }

    /// `c += A b` with the whole matrix `A`.
    pub fn accumulate_all(&self, b: &[Lanes], c: &mut [Lanes]) {
        accumulate(&self.bands, self.columns, 0..self.columns, b, c);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn accumulate(bands: &[[f32; HEIGHT]], stride: usize, columns: Range<usize>, b: &[Lanes], c: &mut [Lanes]) {
    for (band, c) in bands.chunks_exact(stride).zip(c.chunks_mut(HEIGHT)) {
        let band = &band[columns.clone()];
        for at in (0..LANES).step_by(WIDTH) {
            let mut sum = [[0.0f32; WIDTH]; HEIGHT];
            for (sum, c) in sum.iter_mut().zip(c.iter()) {
                sum.copy_from_slice(&c[at..at + WIDTH]);
            }
            for (a, b) in band.iter().zip(b) {
                let b: &[f32; WIDTH] = b[at..].first_chunk().unwrap_or(&[0.0; WIDTH]);
                for (sum, a) in sum.iter_mut().zip(a) {
                    for (sum, b) in sum.iter_mut().zip(b) {
                        *sum = a.mul_add(*b, *sum);
                    }
                }
            }
            for (sum, c) in sum.iter().zip(c.iter_mut()) {
                c[at..at + WIDTH].copy_from_slice(sum);
            }
        }
    }
}

/// A sum of outer products of tiles: `[rows, columns]`, in panels of [`WIDTH`] columns.
pub struct Outer {
    columns: usize,
    panels: Vec<Vec<[f32; WIDTH]>>,
}

impl Outer {
    /// Of no products yet.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { columns, panels: vec![vec![[0.0; WIDTH]; rows]; columns.div_ceil(WIDTH)] }
    }

    /// Adds `a b^T`, summed over the lanes: `a` has the rows, `b` the columns.
    pub fn add(&mut self, a: &[Lanes], b: &[Lanes]) {
        for (sums, b) in self.panels.iter_mut().zip(b.chunks(WIDTH)) {
            let mut panel = [[0.0; WIDTH]; LANES];
            for (column, lanes) in b.iter().enumerate() {
                panel.iter_mut().zip(lanes).for_each(|(values, value)| values[column] = *value);
            }
            outer(a, &panel, sums);
        }
    }

    /// Writes the sums to `rows` from the column `first` on: row-major, of width `width`.
    pub fn write(&self, rows: &mut [f32], width: usize, first: usize) {
        for (panel, at) in self.panels.iter().zip((0..self.columns).step_by(WIDTH)) {
            let count = WIDTH.min(self.columns - at);
            for (row, values) in rows.chunks_exact_mut(width).zip(panel) {
                row[first + at..][..count].copy_from_slice(&values[..count]);
            }
        }
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn outer(a: &[Lanes], b: &[[f32; WIDTH]; LANES], c: &mut [[f32; WIDTH]]) {
    let (bands, rest) = a.as_chunks::<HEIGHT>();
    let (sums, last) = c.as_chunks_mut::<HEIGHT>();
    for (a, c) in bands.iter().zip(sums) {
        band(a, b, c);
    }
    for (a, c) in rest.iter().zip(last) {
        band(std::array::from_ref(a), b, std::array::from_mut(c));
    }
}

#[inline(always)]
fn band<const ROWS: usize>(a: &[Lanes; ROWS], b: &[[f32; WIDTH]; LANES], c: &mut [[f32; WIDTH]; ROWS]) {
    let mut sum = *c;
    for (lane, b) in b.iter().enumerate() {
        for (sum, a) in sum.iter_mut().zip(a) {
            for (sum, b) in sum.iter_mut().zip(b) {
                *sum = a[lane].mul_add(*b, *sum);
            }
        }
    }
    *c = sum;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number between -1 and 1 for a place.
    fn value(row: usize, column: usize) -> f32 {
        ((row * 37 + column * 101) % 64) as f32 / 32.0 - 1.0
    }

    /// To the bit: the sequence of operations is part of the promise.
    #[test]
    fn products_are_those_of_the_definition() {
        for (rows, columns) in [(1, 1), (6, 64), (13, 5), (64, 130)] {
            let a = Packed::new(rows, columns, |row, column| value(row, column) / 3.0);
            let b: Vec<Lanes> = (0..columns).map(|k| std::array::from_fn(|lane| value(k, lane + 3))).collect();
            let mut c = vec![[1.0; LANES]; rows];
            a.accumulate_all(&b, &mut c);
            for (row, found) in c.iter().enumerate() {
                for (lane, &found) in found.iter().enumerate() {
                    let expected = (0..columns).fold(1.0, |sum, k| (value(row, k) / 3.0).mul_add(b[k][lane], sum));
                    assert_eq!(found, expected, "{rows} x {columns}, {row}, {lane}");
                }
            }
        }
    }

    #[test]
    fn a_part_of_a_product() {
        let a = Packed::new(14, 10, value);
        let b: Vec<Lanes> = (4..9).map(|k| [value(k, 1); LANES]).collect();
        let mut c = vec![[0.0; LANES]; 8];
        a.accumulate(1..3, 4..9, &b, &mut c);
        for (row, found) in (6..14).zip(&c) {
            let exact: f32 = (4..9).map(|k| value(row, k) * value(k, 1)).sum();
            assert!(found.iter().all(|found| (found - exact).abs() < 1e-5));
        }
    }

    #[test]
    fn outer_products_are_those_of_the_definition() {
        let tile = |rows: usize, by: usize| -> Vec<Lanes> {
            (0..rows).map(|row| std::array::from_fn(|lane| value(row * by, lane))).collect()
        };
        let (a, b) = (tile(15, 1), tile(21, 3));
        let mut sums = Outer::new(15, 21);
        sums.add(&a, &b);
        sums.add(&a, &b);
        let mut rows = vec![0.5; 15 * 23];
        sums.write(&mut rows, 23, 2);
        for (row, found) in rows.chunks_exact(23).enumerate() {
            assert_eq!(found[..2], [0.5; 2]);
            for (column, &found) in found[2..].iter().enumerate() {
                let exact: f32 = a[row].iter().zip(&b[column]).map(|(a, b)| 2.0 * a * b).sum();
                assert!((found - exact).abs() < 1e-5, "{row}, {column}");
            }
        }
    }
}
