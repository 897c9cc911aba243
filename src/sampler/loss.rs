//! Losses over blocks of rows. Each returns the sum over its rows: the caller divides by the rows of the whole batch.

use tch::{Kind, Tensor};

use super::tensor::{dots, normalize};

/// Bayesian personalised ranking (Rendle et al., UAI 2009): `-log sigma(<u, i> - <u, j>)`, in the form that neither
/// overflows nor loses its gradient.
pub fn bpr(user: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
    -dots(user, &(positive - negative)).log_sigmoid().sum(Kind::Float)
}

/// The contrastive loss of CNSDiff: `-<a, p> / tau + logsumexp_k <a, n_k> / tau` on normalised rows. All negatives are
/// shared by every anchor and the positive is not among them, so this is not InfoNCE. `negatives` are normalised.
pub fn contrastive(anchor: &Tensor, positive: &Tensor, negatives: &Tensor, temperature: f64) -> Tensor {
    let anchor = normalize(anchor) / temperature;
    let attraction = dots(&anchor, &normalize(positive));
    let repulsion = anchor.matmul(&negatives.tr()).logsumexp([-1i64].as_slice(), false);
    (repulsion - attraction).sum(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tensor: &Tensor) -> f64 {
        tensor.double_value(&[])
    }

    fn rows(values: &[f32], dim: i64) -> Tensor {
        Tensor::from_slice(values).view([-1, dim])
    }

    #[test]
    fn bpr_at_known_margins() {
        for (margin, expected) in
            [(0.0, std::f64::consts::LN_2), (1.0, 0.313_261_69), (-1.0, 1.313_261_69), (-200.0, 200.0)]
        {
            let loss = bpr(&rows(&[1.0], 1), &rows(&[margin], 1), &rows(&[0.0], 1));
            assert!((value(&loss) - expected).abs() < 1e-6 * expected.max(1.0));
        }
    }

    #[test]
    fn contrastive_toy() {
        let anchor = rows(&[1.0, 0.0], 2);
        let loss = contrastive(&anchor, &anchor, &rows(&[0.0, 1.0, -1.0, 0.0], 2), 2.0);
        assert!((value(&loss) + 0.025_923_02).abs() < 1e-7);
    }
}
