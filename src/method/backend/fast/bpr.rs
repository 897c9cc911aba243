//! Bayesian personalised ranking (Rendle et al., UAI 2009) against one negative per row: `-ln sigma(<u, i> - <u, j>)`.
//!
//! The gradient is written down, not derived by libtorch: for a margin `s = <u, i - j>`, the loss has the slope
//! `-sigma(-s)` in `s`.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::kernel::prefetch;
use crate::method::loss::{LossRows, minus_log_sigmoid, resize};
use crate::method::sampler::StepGradient;

/// Running sums of an inner product: fixed, so that its bits do not depend on the width of the processor's vectors.
const LANES: usize = 16;
/// Rows per parallel task: fixed, since losses are summed task by task.
const BLOCK: usize = 256;
/// How many rows before they are needed vectors are asked for.
const AHEAD: usize = 4;

/// The mean loss of the rows; writes its gradient.
pub fn evaluate(rows: &LossRows, gradient: &mut StepGradient) -> f64 {
    resize(gradient, rows);
    let (count, width) = (rows.len(), rows.width);
    let StepGradient { queries, positives, negatives } = gradient;
    let losses: Vec<f64> = queries
        .par_chunks_mut(BLOCK * width)
        .zip(positives.par_chunks_mut(BLOCK * width))
        .zip(negatives.par_chunks_mut(BLOCK * width))
        .enumerate()
        .map(|(block, ((queries, positives), negatives))| {
            losses(rows, block * BLOCK, 1.0 / count as f64, queries, positives, negatives)
        })
        .collect();
    losses.iter().sum::<f64>() / count as f64
}

/// The sum of the losses of the rows from `first` on, and the gradients of `weight` times it.
fn losses(
    rows: &LossRows,
    first: usize,
    weight: f64,
    queries: &mut [f32],
    positives: &mut [f32],
    negatives: &mut [f32],
) -> f64 {
    let (width, count) = (rows.width, rows.len());
    let gradients = queries.chunks_exact_mut(width).zip(positives.chunks_exact_mut(width));
    let gradients = gradients.zip(negatives.chunks_exact_mut(width));
    let losses = (first..).zip(gradients).map(|(row, ((du, di), dj))| {
        if row + AHEAD < count {
            prefetch(rows.queries.row(row + AHEAD));
            prefetch(rows.positives.row(row + AHEAD));
            prefetch(rows.negatives.row(row + AHEAD));
        }
        pair(rows.queries.row(row), rows.positives.row(row), rows.negatives.row(row), weight, du, di, dj)
    });
    losses.sum()
}

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
