//! Regularisation of the raw table rows that a step uses. The literature calls three different things "L2".

use multiversion::multiversion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::prefetch;
use crate::model::{Layout, Rows};

/// Running sums of a sum of squares: fixed, so that its bits do not depend on the width of the processor's vectors.
const LANES: usize = 16;

/// The form and weight of the penalty. `X_u, X_i, X_j` are the step's rows of users, positives and negatives,
/// repetitions included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Regularisation {
    pub form: Form,
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: f64,
}

/// Which penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `weight sum_k ||X_k||_F / rows(X_k)`: the norm, not its square.
    Frob,
    /// `frob` divided once more by the configured batch size (SELFRec's LightGCN and MF, CNSDiff).
    FrobB,
    /// `weight sum_k ||X_k||_F^2 / (2 rows)` (MixGCF, DENS, AHNS).
    #[serde(rename = "sq_2b")]
    Sq2b,
}

impl Default for Regularisation {
    fn default() -> Self {
        Self { form: Form::FrobB, weight: 1e-4 }
    }
}

impl Regularisation {
    /// The penalty on some rows of a table, and the slope by which each of them, as often as it is named, is added to the
    /// gradient. The gradient of the norm is 0 where all rows are 0.
    pub fn weigh(&self, table: &[f32], layout: Layout, rows: &Rows, batch_size: usize) -> (f64, f32) {
        if self.weight == 0.0 || rows.ids.is_empty() {
            return (0.0, 0.0);
        }
        let square = sum_of_squares(table, layout, rows);
        let (norm, count) = (square.sqrt(), rows.ids.len() as f64);
        let frob = self.weight / count / if self.form == Form::FrobB { batch_size as f64 } else { 1.0 };
        let (penalty, slope) = match self.form {
            Form::Frob | Form::FrobB => (frob * norm, if norm > 0.0 { frob / norm } else { 0.0 }),
            Form::Sq2b => (self.weight * square / (2.0 * count), self.weight / count),
        };
        (penalty, slope as f32)
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn sum_of_squares(table: &[f32], layout: Layout, rows: &Rows) -> f64 {
    let mut sums = [0.0f64; LANES];
    for (row, ahead) in rows.places().zip(rows.ahead()) {
        layout.row(ahead).for_each(|(_, places)| prefetch(&table[places]));
        for (_, places) in layout.row(row) {
            let (blocks, rest) = table[places].as_chunks::<LANES>();
            for block in blocks {
                for (sum, &value) in sums.iter_mut().zip(block) {
                    *sum = f64::from(value).mul_add(f64::from(value), *sum);
                }
            }
            for (sum, &value) in sums.iter_mut().zip(rest) {
                *sum = f64::from(value).mul_add(f64::from(value), *sum);
            }
        }
    }
    sums.into_iter().sum()
}

/// Adds `slope` times each of some rows of a panel to the same row of `sum`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn add_rows(slope: f32, panel: &[f32], columns: usize, rows: &Rows, sum: &mut [f32]) {
    for (row, ahead) in rows.places().zip(rows.ahead()) {
        prefetch(&panel[ahead * columns..][..columns]);
        prefetch(&sum[ahead * columns..][..columns]);
        for (sum, value) in sum[row * columns..][..columns].iter_mut().zip(&panel[row * columns..]) {
            *sum = slope.mul_add(*value, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The penalty and slope for rows of a row-major matrix.
    fn weigh(reg: &Regularisation, matrix: &[f32], dim: usize, ids: &[u32], batch_size: usize) -> (f64, f32) {
        let layout = Layout { rows: matrix.len() / dim, dim };
        reg.weigh(&layout.arrange(matrix), layout, &Rows { first: 0, ids }, batch_size)
    }

    #[test]
    fn three_matrices_of_ones() {
        for (form, expected, slope) in
            [(Form::Frob, 3.0e-4, 2.5e-5), (Form::FrobB, 1.5e-4, 1.25e-5), (Form::Sq2b, 3.0e-4, 5e-5)]
        {
            let reg = Regularisation { form, weight: 1e-4 };
            let (penalty, found) = weigh(&reg, &[1.0; 4], 2, &[0, 1], 2);
            assert!(
                (3.0 * penalty - expected).abs() < 1e-16 && (found - slope).abs() < 1e-11,
                "{form:?}: {penalty}, {found}"
            );
        }
    }

    #[test]
    fn rows_are_added_as_often_as_they_are_named() {
        let mut sum = [1.0; 8];
        add_rows(0.5, &[0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 0.0, 0.0], 2, &Rows { first: 1, ids: &[1, 0, 1] }, &mut sum);
        assert_eq!(sum, [1.0, 1.0, 2.0, 3.0, 7.0, 9.0, 1.0, 1.0]);
    }

    #[test]
    fn nothing_to_pull_at_zero() {
        assert_eq!(weigh(&Regularisation::default(), &[0.0; 2], 2, &[0], 1), (0.0, 0.0));
    }

    /// Against the reference code's `frob` on the matrices of its BPR example, see tests/golden/README.md.
    #[test]
    fn agrees_with_the_reference_code() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../tests/golden/cnsdiff.json")).unwrap();
        let weight = golden["l2_reg"]["reg"].as_f64().unwrap();
        let reg = Regularisation { form: Form::Frob, weight };
        let found: f64 = ["user", "pos", "neg"]
            .into_iter()
            .map(|name| {
                let rows: Vec<Vec<f32>> = serde_json::from_value(golden["bpr"][name].clone()).unwrap();
                let ids: Vec<u32> = (0..rows.len() as u32).collect();
                weigh(&reg, &rows.concat(), rows[0].len(), &ids, 6).0
            })
            .sum();
        let expected = golden["l2_reg"]["value"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
    }
}
