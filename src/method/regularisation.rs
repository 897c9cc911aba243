//! Regularisation of the raw table rows that a step uses. The literature calls three different things "L2".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The form and weight of the penalty. `X_u, X_i, X_j` are the step's rows of users, positives and negatives,
/// repetitions included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Regularisation {
    pub form: PenaltyForm,
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: f64,
}

/// Which penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PenaltyForm {
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
        Self { form: PenaltyForm::FrobB, weight: 1e-4 }
    }
}

impl Regularisation {
    /// The penalty on `count` rows with this sum of squares, and the slope by which each of them, as often as it is named, is
    /// added to the gradient. The gradient of the norm is 0 where all rows are 0.
    pub fn weigh(&self, square: f64, count: usize, batch_size: usize) -> (f64, f32) {
        if self.weight == 0.0 || count == 0 {
            return (0.0, 0.0);
        }
        let (norm, count) = (square.sqrt(), count as f64);
        let frob = self.weight / count / if self.form == PenaltyForm::FrobB { batch_size as f64 } else { 1.0 };
        let (penalty, slope) = match self.form {
            PenaltyForm::Frob | PenaltyForm::FrobB => (frob * norm, if norm > 0.0 { frob / norm } else { 0.0 }),
            PenaltyForm::Sq2b => (self.weight * square / (2.0 * count), self.weight / count),
        };
        (penalty, slope as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(rows: &[f32]) -> f64 {
        rows.iter().map(|&value| f64::from(value).powi(2)).sum()
    }

    #[test]
    fn three_matrices_of_ones() {
        for (form, expected, slope) in [
            (PenaltyForm::Frob, 3.0e-4, 2.5e-5),
            (PenaltyForm::FrobB, 1.5e-4, 1.25e-5),
            (PenaltyForm::Sq2b, 3.0e-4, 5e-5),
        ] {
            let reg = Regularisation { form, weight: 1e-4 };
            let (penalty, found) = reg.weigh(square(&[1.0; 4]), 2, 2);
            assert!(
                (3.0 * penalty - expected).abs() < 1e-16 && (found - slope).abs() < 1e-11,
                "{form:?}: {penalty}, {found}"
            );
        }
    }

    #[test]
    fn nothing_to_pull_at_zero() {
        assert_eq!(Regularisation::default().weigh(0.0, 1, 1), (0.0, 0.0));
    }

    /// Against the reference code's `frob` on the matrices of its BPR example, see tests/golden/README.md.
    #[test]
    fn agrees_with_the_reference_code() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../tests/golden/cnsdiff.json")).unwrap();
        let weight = golden["l2_reg"]["reg"].as_f64().unwrap();
        let reg = Regularisation { form: PenaltyForm::Frob, weight };
        let found: f64 = ["user", "pos", "neg"]
            .into_iter()
            .map(|name| {
                let rows: Vec<Vec<f32>> = serde_json::from_value(golden["bpr"][name].clone()).unwrap();
                reg.weigh(square(&rows.concat()), rows.len(), 6).0
            })
            .sum();
        let expected = golden["l2_reg"]["value"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
    }
}
