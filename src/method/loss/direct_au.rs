use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Loss, LossMethod, LossTraits, Need};
use crate::method::backend::torch::row_loss::{Differentiated, RowLoss};
use crate::method::backend::torch::tensor::normalize;
use crate::method::{Method, MethodError, Mistake, Setup};

/// DirectAU: the alignment of positive pairs, and the uniformity of users and of items on the unit sphere, without negatives.
/// Of rows divided by their norms, `mean_a ||u_a - i_a||^2 + gamma (l(u) + l(i)) / 2`, with
/// `l(x) = ln mean_{a<b} e^(-2 ||x_a - x_b||^2)`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DirectAu {
    /// Weight `gamma` of the uniformity.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub gamma: f64,
}

impl Default for DirectAu {
    fn default() -> Self {
        Self { gamma: 2.0 }
    }
}

impl Method for DirectAu {
    const NAME: &'static str = "direct_au";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Alignment of positive pairs and uniformity of users and of items on the unit sphere, without \
                               negatives.";
    const SOURCE: &'static str = "Wang et al., DirectAU, KDD 2022; gamma 2 as in SELFRec. Of users and items that a batch names \
                                  several times, each mention counts, as there. A batch of one row has uniformity 0 [our \
                                  decision].";

    fn check(&self) -> Result<(), Mistake> {
        let holds = self.gamma.is_finite() && self.gamma >= 0.0;
        Mistake::unless(holds, &["gamma"], format!("{} must be at least 0", self.gamma))
    }
}

impl LossMethod for DirectAu {
    fn traits(&self) -> LossTraits {
        LossTraits { negatives: Need::Forbidden, libtorch: true, pairs_of_rows: true, ..LossTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError> {
        Ok(Box::new(Differentiated::new(self, setup)))
    }
}

impl RowLoss for DirectAu {
    fn values(&self, queries: &Tensor, positives: &Tensor) -> Vec<(&'static str, Tensor)> {
        let (users, items) = (normalize(queries), normalize(positives));
        let align = alignment(&users, &items);
        let uniformity = (uniformity(&users) + uniformity(&items)) / 2.0;
        vec![("direct_au", &align + &uniformity * self.gamma), ("align", align), ("uniformity", uniformity)]
    }
}

/// The squared norm of each row `[rows, 1]`.
fn squares(rows: &Tensor) -> Tensor {
    rows.square().sum_dim_intlist([-1i64].as_slice(), true, Kind::Float)
}

/// The mean squared distance of the rows of `a` to those of `b`.
fn alignment(a: &Tensor, b: &Tensor) -> Tensor {
    squares(&(a - b)).mean(Kind::Float)
}

/// `ln mean_{a<b} e^(-2 ||x_a - x_b||^2)` over all pairs of rows; 0 for one row, which makes no pair.
fn uniformity(rows: &Tensor) -> Tensor {
    let count = rows.size()[0];
    if count < 2 {
        return Tensor::zeros([0i64; 0], (Kind::Float, rows.device()));
    }
    let squares = squares(rows);
    let ones = squares.ones_like();
    // `-2 ||a - b||^2` by one product: `4 <a, b> - 2 ||a||^2 - 2 ||b||^2`. It lies in -8..0, so that no power is too small.
    let left = Tensor::cat(&[rows * 4.0, &squares * -2.0, &ones * -2.0], 1);
    let right = Tensor::cat(&[rows, &ones, &squares], 1);
    // Every pair stands here twice, and on the diagonal each row with itself, which is no pair.
    let powers = left.matmul(&right.tr()).fill_diagonal_(f64::NEG_INFINITY, false).exp_();
    (powers.sum(Kind::Float) / (count * (count - 1)) as f64).log()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of width 2.
    fn rows(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([-1, 2])
    }

    fn values(gamma: f64, queries: &[f32], positives: &[f32]) -> Vec<f64> {
        let values = DirectAu { gamma }.values(&rows(queries), &rows(positives));
        values.into_iter().map(|(_, value)| value.double_value(&[])).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert!(found.len() == expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} is not {expected:?}");
    }

    #[test]
    fn antipodal_points_are_as_uniform_as_two_can_be() {
        assert_close(&[uniformity(&rows(&[0.6, 0.8, -0.6, -0.8])).double_value(&[])], &[-8.0]);
    }

    #[test]
    fn uniformity_is_the_logarithm_of_a_mean_over_pairs() {
        // Squared distances 2, 4 and 2.
        let found = uniformity(&rows(&[1.0, 0.0, 0.0, 1.0, -1.0, 0.0])).double_value(&[]);
        assert_close(&[found], &[((2.0 * (-4f64).exp() + (-8f64).exp()) / 3.0).ln()]);
        // A row that a batch names twice lies on itself.
        let twice = uniformity(&rows(&[1.0, 0.0, 1.0, 0.0, -1.0, 0.0])).double_value(&[]);
        assert_close(&[twice], &[((1.0 + 2.0 * (-8f64).exp()) / 3.0).ln()]);
        // A row without a direction stays in the middle, at distance 1 of all.
        assert_close(&[uniformity(&rows(&[0.0, 0.0, 0.0, 1.0])).double_value(&[])], &[-2.0]);
    }

    #[test]
    fn equal_rows_are_aligned_whatever_their_lengths() {
        assert_close(&values(2.0, &[3.0, 4.0, -1.0, 0.0], &[0.3, 0.4, -5.0, 0.0])[1..2], &[0.0]);
        assert_close(&values(2.0, &[3.0, 4.0, -1.0, 0.0], &[-3.0, -4.0, 0.0, 1.0])[1..2], &[(4.0 + 2.0) / 2.0]);
    }

    #[test]
    fn gamma_weighs_the_uniformity_of_both_sides() {
        // Users at distance 4 of each other, items on one point; alignments 0 and 4.
        for gamma in [0.0, 0.5, 2.0] {
            let found = values(gamma, &[1.0, 0.0, -2.0, 0.0], &[1.0, 0.0, 3.0, 0.0]);
            assert_close(&found, &[2.0 - 4.0 * gamma, 2.0, -4.0]);
        }
    }

    #[test]
    fn a_batch_of_one_row_has_no_pairs() {
        assert_close(&values(2.0, &[1.0, 0.0], &[0.0, 2.0]), &[2.0, 2.0, 0.0]);
    }
}
