//! Regularisation of the raw table rows that a step uses. The literature calls three different things "L2".

use std::ops::Range;

use multiversion::multiversion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Running sums of a sum of squares: fixed, so that its bits do not depend on the width of the processor's vectors.
const LANES: usize = 16;

/// The form and weight of the penalty. `X_u, X_i, X_j` are the step's rows of users, positives and negatives,
/// repetitions included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Regularisation {
    pub form: Form,
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
    /// Adds the gradient for the rows `ids` of `table` to `gradient`, and returns the penalty. The gradient of the
    /// norm is 0 where all rows are 0.
    pub fn add(&self, table: &[f32], dim: usize, ids: &[u32], batch_size: usize, gradient: &mut [f32]) -> f64 {
        if self.weight == 0.0 || ids.is_empty() {
            return 0.0;
        }
        let square = sum_of_squares(table, dim, ids);
        let (norm, rows) = (square.sqrt(), ids.len() as f64);
        let frob = self.weight / rows / if self.form == Form::FrobB { batch_size as f64 } else { 1.0 };
        let (penalty, slope) = match self.form {
            Form::Frob | Form::FrobB => (frob * norm, if norm > 0.0 { frob / norm } else { 0.0 }),
            Form::Sq2b => (self.weight * square / (2.0 * rows), self.weight / rows),
        };
        add_rows(slope as f32, table, dim, ids, gradient);
        penalty
    }
}

#[inline(always)]
fn range(id: u32, dim: usize) -> Range<usize> {
    id as usize * dim..(id as usize + 1) * dim
}

/// Over the rows `ids` of `table`, repetitions included.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn sum_of_squares(table: &[f32], dim: usize, ids: &[u32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    for &id in ids {
        let (blocks, rest) = table[range(id, dim)].as_chunks::<LANES>();
        for block in blocks {
            for (sum, &value) in sums.iter_mut().zip(block) {
                *sum = f64::from(value).mul_add(f64::from(value), *sum);
            }
        }
        for (sum, &value) in sums.iter_mut().zip(rest) {
            *sum = f64::from(value).mul_add(f64::from(value), *sum);
        }
    }
    sums.into_iter().sum()
}

/// Adds `slope` times each of the rows `ids` of `table` to the same row of `sum`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn add_rows(slope: f32, table: &[f32], dim: usize, ids: &[u32], sum: &mut [f32]) {
    for &id in ids {
        for (sum, value) in sum[range(id, dim)].iter_mut().zip(&table[range(id, dim)]) {
            *sum = slope.mul_add(*value, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalty(form: Form) -> (f64, f32) {
        let mut gradient = [0.0; 12];
        let reg = Regularisation { form, weight: 1e-4 };
        let total = (0..3).map(|k| reg.add(&[1.0; 12], 2, &[2 * k, 2 * k + 1], 2, &mut gradient)).sum();
        (total, gradient[0])
    }

    #[test]
    fn three_matrices_of_ones() {
        for (form, expected, slope) in
            [(Form::Frob, 3.0e-4, 2.5e-5), (Form::FrobB, 1.5e-4, 1.25e-5), (Form::Sq2b, 3.0e-4, 5e-5)]
        {
            let (found, gradient) = penalty(form);
            assert!(
                (found - expected).abs() < 1e-16 && (gradient - slope).abs() < 1e-11,
                "{form:?}: {found}, {gradient}"
            );
        }
    }

    #[test]
    fn nothing_to_pull_at_zero() {
        let mut gradient = [0.0; 2];
        assert_eq!(Regularisation::default().add(&[0.0; 2], 2, &[0], 1, &mut gradient), 0.0);
        assert_eq!(gradient, [0.0; 2]);
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
                reg.add(&rows.concat(), rows[0].len(), &ids, 6, &mut vec![0.0; 6 * 64])
            })
            .sum();
        let expected = golden["l2_reg"]["value"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
    }
}
