//! Loss terms that several methods add, of tensors.

use tch::{Kind, Tensor};

use super::tensor::{dots, normalize};

/// InfoNCE between two views `[n, d]` of the same rows, with `c` their cosines:
/// `-mean_a ln(e^(c_aa / tau) / sum_b e^(c_ab / tau))`. The positive is in the denominator. Takes memory for `n^2` cosines.
pub fn info_nce(first: &Tensor, second: &Tensor, temperature: f64) -> Tensor {
    let (first, second) = (normalize(first) / temperature, normalize(second));
    let agreement = dots(&first, &second);
    (first.matmul(&second.tr()).logsumexp([-1i64].as_slice(), false) - agreement).mean(Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn info_nce_of_orthonormal_rows() {
        // Normalised first, so that lengths count for nothing.
        let rows = Tensor::eye(4, (Kind::Float, Device::Cpu));
        let loss = info_nce(&(&rows * 3.0), &rows, 0.2).double_value(&[]);
        assert!((loss - 0.020_012_25).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn info_nce_of_rows_without_direction_is_that_of_chance() {
        let rows = Tensor::zeros([5, 3], (Kind::Float, Device::Cpu));
        let loss = info_nce(&rows, &rows, 0.2).double_value(&[]);
        assert!((loss - 5f64.ln()).abs() < 1e-6, "{loss}");
    }
}
