//! Initial embedding tables.

use rand::RngExt;

use crate::rng;

/// Xavier-uniform tables `[U + I, d]`: users within `sqrt(6 / (U + d))`, items within `sqrt(6 / (I + d))`.
pub fn xavier_tables(seed: u64, users: usize, items: usize, dim: usize) -> Vec<f32> {
    let mut tables = Vec::with_capacity((users + items) * dim);
    for (side, rows) in [users, items].into_iter().enumerate() {
        let bound = (6.0 / (rows + dim) as f64).sqrt() as f32;
        let mut rng = rng::stream(seed, "init", side as u64);
        tables.extend((0..rows * dim).map(|_| rng.random_range(-bound..bound)));
    }
    tables
}

/// Xavier-uniform values of a `rows x columns` matrix of this name: within `sqrt(6 / (rows + columns))`.
pub fn xavier(seed: u64, name: &str, rows: usize, columns: usize) -> Vec<f32> {
    let bound = (6.0 / (rows + columns) as f64).sqrt() as f32;
    let mut rng = rng::stream(seed, &format!("init {name}"), 0);
    (0..rows * columns).map(|_| rng.random_range(-bound..bound)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_number_of_rows() {
        let (users, items, dim) = (8_093, 13_879, 64);
        let tables = xavier_tables(1, users, items, dim);
        let (user, item) = tables.split_at(users * dim);
        let largest = |table: &[f32]| table.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let deviation =
            |table: &[f32]| (table.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / table.len() as f64).sqrt();
        for (table, bound) in [(user, 0.02712), (item, 0.02074)] {
            assert!((f64::from(largest(table)) - bound).abs() < 1e-5);
            assert!((deviation(table) / (bound / 3f64.sqrt()) - 1.0).abs() < 0.005);
        }
    }
}
