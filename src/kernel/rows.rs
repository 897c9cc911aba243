//! Rows of a row-major matrix: inner products, unit vectors, and rows side by side in tiles.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{LANES, Lanes};

/// Norms below this count as this, where rows are divided by them.
const LEAST_NORM: f32 = 1e-12;

/// Rows per parallel task.
const ROWS: usize = 256;

/// The inner product of two rows: eight interleaved sums, added in order.
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = a.mul_add(*b, *sum);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (a, b)| a.mul_add(*b, sum));
    sums.into_iter().fold(rest, |total, sum| total + sum)
}

/// Adds `factor` times the values to the sums, one fused multiply-add each.
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn add_scaled(sums: &mut [f32], values: &[f32], factor: f32) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = factor.mul_add(*value, *sum));
}

/// Divides a row by its norm, or by `1e-12` if that is larger. Answers the divisor.
pub fn normalize(row: &mut [f32]) -> f32 {
    let norm = dot(row, row).sqrt().max(LEAST_NORM);
    row.iter_mut().for_each(|value| *value /= norm);
    norm
}

/// From the gradient with respect to the `unit` vector of a row to that with respect to the row itself, which was divided by
/// `norm`.
pub fn pull_back_unit(unit: &[f32], norm: f32, gradient: &mut [f32]) {
    // Below the least norm the divisor is a constant.
    let along = if norm > LEAST_NORM { dot(unit, gradient) } else { 0.0 };
    gradient.iter_mut().zip(unit).for_each(|(value, unit)| *value = (*value - along * unit) / norm);
}

/// Rows divided by their norm, and the norms, none below `1e-12`.
pub struct Unit {
    pub dim: usize,
    /// Row-major.
    pub rows: Vec<f32>,
    pub norms: Vec<f32>,
}

impl Unit {
    /// Of the row-major `rows` of width `dim`.
    pub fn new(mut rows: Vec<f32>, dim: usize) -> Self {
        let mut norms = vec![0.0; rows.len() / dim];
        rows.par_chunks_mut(ROWS * dim).zip(norms.par_chunks_mut(ROWS)).for_each(|(rows, norms)| {
            for (row, norm) in rows.chunks_exact_mut(dim).zip(norms) {
                *norm = normalize(row);
            }
        });
        Self { dim, rows, norms }
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.norms.len()
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.dim..][..self.dim]
    }

    /// From the gradient with respect to the unit vector of a row to that with respect to the row itself.
    pub fn pull_back(&self, row: usize, gradient: &mut [f32]) {
        pull_back_unit(self.row(row), self.norms[row], gradient);
    }
}

/// Up to [`LANES`] row-major rows of width `dim`, side by side; zeros in lanes without a row.
pub fn tile(rows: &[f32], dim: usize) -> Vec<Lanes> {
    let mut tile = vec![[0.0; LANES]; dim];
    for (lane, row) in rows.chunks_exact(dim).enumerate() {
        tile.iter_mut().zip(row).for_each(|(lanes, value)| lanes[lane] = *value);
    }
    tile
}

/// Writes the lanes of a tile to row-major `rows`.
pub fn untile(tile: &[Lanes], rows: &mut [f32]) {
    for (lane, row) in rows.chunks_exact_mut(tile.len()).enumerate() {
        row.iter_mut().zip(tile).for_each(|(value, lanes)| *value = lanes[lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_products_of_any_length() {
        for n in [0, 1, 7, 8, 19, 64] {
            let a: Vec<f32> = (0..n).map(|k| k as f32 - 3.0).collect();
            let exact: f32 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), exact);
        }
    }

    #[test]
    fn unit_vectors_and_their_gradient() {
        let unit = Unit::new(vec![3.0, 4.0, 0.0, 0.0], 2);
        assert_eq!((unit.row(0), unit.row(1)), (&[0.6, 0.8][..], &[0.0, 0.0][..]));
        // The norm of (3, 4) does not change along (4, -3), and the unit vector not along (3, 4).
        let mut gradient = [4.0, -3.0];
        unit.pull_back(0, &mut gradient);
        assert!((gradient[0] - 0.8).abs() < 1e-6 && (gradient[1] + 0.6).abs() < 1e-6);
        let mut gradient = [3.0, 4.0];
        unit.pull_back(0, &mut gradient);
        assert!(gradient.iter().all(|value| value.abs() < 1e-6));
    }

    #[test]
    fn tiles_hold_rows_side_by_side() {
        let rows: Vec<f32> = (0..15).map(|value| value as f32).collect();
        let side_by_side = tile(&rows, 3);
        assert_eq!((side_by_side[0][4], side_by_side[2][1], side_by_side[1][5]), (12.0, 5.0, 0.0));
        let mut back = vec![0.0; 15];
        untile(&side_by_side, &mut back);
        assert_eq!(back, rows);
    }
}
