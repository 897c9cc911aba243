//! Bayesian personalised ranking (Rendle et al., UAI 2009): `-ln sigma(<u, i> - <u, j>)`.
//!
//! The gradient is written down, not derived by libtorch: for a margin `s = <u, i - j>`, the loss has the slope
//! `-sigma(-s)` in `s`. Rows are few and short, so the processor computes them whatever the device.

use multiversion::multiversion;

/// Running sums of an inner product: fixed, so that its bits do not depend on the width of the processor's vectors.
const LANES: usize = 16;

/// The loss of a user `u` with a positive `i` and a negative `j`; writes the gradients of `weight` times it.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn pair(u: &[f32], i: &[f32], j: &[f32], weight: f64, du: &mut [f32], di: &mut [f32], dj: &mut [f32]) -> f64 {
    let (loss, slope) = minus_log_sigmoid(margin(u, i, j));
    let slope = (weight * slope) as f32;
    for (((((du, di), dj), u), i), j) in du.iter_mut().zip(di).zip(dj).zip(u).zip(i).zip(j) {
        *du = slope * (i - j);
        *di = slope * u;
        *dj = -*di;
    }
    loss
}

/// `<u, i - j>`.
#[inline(always)]
fn margin(u: &[f32], i: &[f32], j: &[f32]) -> f64 {
    let (u_blocks, u_rest) = u.as_chunks::<LANES>();
    let (i_blocks, i_rest) = i.as_chunks::<LANES>();
    let (j_blocks, j_rest) = j.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for ((u, i), j) in u_blocks.iter().zip(i_blocks).zip(j_blocks) {
        for (((sum, u), i), j) in sums.iter_mut().zip(u).zip(i).zip(j) {
            *sum = u.mul_add(i - j, *sum);
        }
    }
    for (((sum, u), i), j) in sums.iter_mut().zip(u_rest).zip(i_rest).zip(j_rest) {
        *sum = u.mul_add(i - j, *sum);
    }
    sums.into_iter().map(f64::from).sum()
}

/// `-ln sigma(margin)` and its slope, in the form that neither overflows nor loses the slope.
#[inline(always)]
fn minus_log_sigmoid(margin: f64) -> (f64, f64) {
    let small = libm::exp(-margin.abs());
    let slope = if margin > 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
    ((-margin).max(0.0) + libm::log1p(small), -slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_at_known_margins() {
        for (margin, expected) in
            [(0.0, std::f64::consts::LN_2), (1.0, 0.313_261_69), (-1.0, 1.313_261_69), (-200.0, 200.0), (800.0, 0.0)]
        {
            let (loss, slope) = minus_log_sigmoid(margin);
            assert!((loss - expected).abs() < 1e-8 * expected.max(1.0), "{loss} at {margin}");
            assert!((slope + 1.0 / (1.0 + margin.exp())).abs() < 1e-15, "{slope} at {margin}");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let (loss, slope) = minus_log_sigmoid(f64::NAN);
        assert!(loss.is_nan() && slope.is_nan());
    }
}
