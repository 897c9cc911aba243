//! Exponential and hyperbolic tangent in f32, made of operations that compilers turn into vector code.
//!
//! Coefficients are minimax fits made for this file (weighted least squares on Chebyshev nodes, iterated).

use std::f32::consts::LOG2_E;

use multiversion::multiversion;

use super::Lanes;

/// [`exp`] of every value.
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn exp_all(rows: &mut [Lanes]) {
    rows.as_flattened_mut().iter_mut().for_each(|value| *value = exp(*value));
}

/// [`tanh`] of every value.
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn tanh_all(rows: &mut [Lanes]) {
    rows.as_flattened_mut().iter_mut().for_each(|value| *value = tanh(*value));
}

/// `e^x`, to 1 unit in the last place or so; 0 or infinity are never reached: `x` is clamped to -87..88. NaN stays.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to a whole number, which the low bits of the sum hold.
    const ROUND: f32 = 12_582_912.0;
    // LN_2 in two parts: the first has zeros in its last bits, so that its multiples are exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = (std::f64::consts::LN_2 - HIGH as f64) as f32;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LOW, n.mul_add(-HIGH, x));
    let p = 0.001_381_446_3_f32
        .mul_add(r, 0.008_368_781)
        .mul_add(r, 0.041_668_393)
        .mul_add(r, 0.166_665_2)
        .mul_add(r, 0.499_999_93)
        .mul_add(r * r, r)
        + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The hyperbolic tangent, to 2 units in the last place or so. NaN stays.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let near = (-0.006_282_458_5_f32)
        .mul_add(z, 0.021_077_747)
        .mul_add(z, -0.053_853_855)
        .mul_add(z, 0.133_326_02)
        .mul_add(z, -0.333_333_2)
        .mul_add(z * size, size);
    let e = exp(-2.0 * size);
    let far = (1.0 - e) / (1.0 + e);
    (if size < 0.55 { near } else { far }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error relative to the exact value over `from..to`.
    fn worst(from: f32, to: f32, ours: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        const POINTS: usize = 200_001;
        (0..POINTS)
            .map(|point| from + (to - from) * (point as f32 / (POINTS - 1) as f32))
            .filter(|&x| x != 0.0)
            .map(|x| (f64::from(ours(x)) / exact(f64::from(x)) - 1.0).abs())
            .fold(0.0, f64::max)
    }

    /// Whatever the processor.
    #[test]
    fn the_bits_are_these() {
        let mut rows: Vec<Lanes> =
            (0..500).map(|row| std::array::from_fn(|lane| (row * 32 + lane) as f32 / 1_000.0 - 8.0)).collect();
        let mix = |rows: &[Lanes]| {
            rows.as_flattened().iter().fold(0u64, |sum, x| sum.wrapping_mul(31).wrapping_add(u64::from(x.to_bits())))
        };
        let mut powers = rows.clone();
        exp_all(&mut powers);
        tanh_all(&mut rows);
        assert_eq!((mix(&powers), mix(&rows)), (9_587_705_920_634_126_086, 10_347_778_748_841_803_073));
    }

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        assert!(worst(-86.9, 87.9, exp, f64::exp) < 1.5e-7);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e9) > 0.0 && exp(-1e9) < 2e-38 && exp(1e9).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn hyperbolic_tangents_are_right_to_the_last_places() {
        assert!(worst(-0.6, 0.6, tanh, f64::tanh) < 2.4e-7);
        assert!(worst(-12.0, 12.0, tanh, f64::tanh) < 2.4e-7);
        assert_eq!((tanh(0.0), tanh(90.0), tanh(-90.0)), (0.0, 1.0, -1.0));
        assert!((tanh(1e-20) / 1e-20 - 1.0).abs() < 1e-6 && tanh(f32::NAN).is_nan());
    }
}
