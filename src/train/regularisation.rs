//! Regularisation of the raw table rows that a step uses. The literature calls three different things "L2".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Adds the gradient for the rows `nodes` of `tables` to `gradient`, and returns the penalty. The gradient of the
    /// norm is 0 where all rows are 0.
    pub fn add(&self, tables: &[f32], dim: usize, nodes: &[usize], batch_size: usize, gradient: &mut [f32]) -> f64 {
        if self.weight == 0.0 || nodes.is_empty() {
            return 0.0;
        }
        let row = |node: usize| node * dim..(node + 1) * dim;
        let square: f64 =
            nodes.iter().flat_map(|&node| &tables[row(node)]).map(|&value| f64::from(value).powi(2)).sum();
        let (norm, rows) = (square.sqrt(), nodes.len() as f64);
        let frob = self.weight / rows / if self.form == Form::FrobB { batch_size as f64 } else { 1.0 };
        let (penalty, slope) = match self.form {
            Form::Frob | Form::FrobB => (frob * norm, if norm > 0.0 { frob / norm } else { 0.0 }),
            Form::Sq2b => (self.weight * square / (2.0 * rows), self.weight / rows),
        };
        let slope = slope as f32;
        for &node in nodes {
            for (gradient, value) in gradient[row(node)].iter_mut().zip(&tables[row(node)]) {
                *gradient += slope * value;
            }
        }
        penalty
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
                let nodes: Vec<usize> = (0..rows.len()).collect();
                reg.add(&rows.concat(), rows[0].len(), &nodes, 6, &mut vec![0.0; 6 * 64])
            })
            .sum();
        let expected = golden["l2_reg"]["value"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
    }
}
