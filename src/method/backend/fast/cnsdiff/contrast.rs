//! The contrastive loss on the processor with its gradient, tile by tile: logits are used while they are in the
//! processor's cache, and no matrix of all of them is ever made.
//!
//! Per anchor `a` with its noised copy `p` and all negatives `n_k`, on unit vectors: `-<a, p> / tau + log sum_k exp(<a,
//! n_k> / tau)`; the same as [`torch`](crate::method::backend::torch) computes for other devices.

use std::ops::Range;

use crate::kernel::{HEIGHT, LANES, Lanes, Outer, Packed, Unit, dot, math, tile, untile};
use crate::method::sampler::cnsdiff::Contrast;

/// Negatives whose logits are computed together.
const CHUNK: usize = 16 * HEIGHT;

/// Logits up to this size need no shift: the sum of their exponentials stays within f32.
const SAFE: f32 = 40.0;

/// The negatives that all anchors of a step share.
pub struct Negatives {
    count: usize,
    /// Those that take gradients: all from here on.
    first: usize,
    dim: usize,
    /// `[count, dim]` and `[dim, count]`.
    by_row: Packed,
    by_column: Packed,
}

/// Of the row-major `anchors` and their copies `noised`, with `weight` on the gradients.
pub fn contrast(anchors: &[f32], noised: Vec<f32>, negatives: &Negatives, temperature: f64, weight: f64) -> Contrast {
    let dim = negatives.dim;
    let free = negatives.count - negatives.first;
    let (unit, noised) = (Unit::new(anchors.to_vec(), dim), Unit::new(noised, dim));
    let mut sums = Sums { loss: 0.0, anchors: vec![0.0; anchors.len()], negatives: Outer::new(free, dim) };
    let mut logits = vec![[0.0; LANES]; negatives.count];
    for start in (0..unit.count()).step_by(LANES) {
        let rows = start..unit.count().min(start + LANES);
        sums.add(negatives, &unit, &noised, rows, [temperature as f32, weight as f32], &mut logits);
    }
    let mut rows = vec![0.0; free * dim];
    sums.negatives.write(&mut rows, dim, 0);
    Contrast { loss: sums.loss, positives: sums.anchors, negatives: rows }
}

impl Negatives {
    /// Of unit vectors: `fixed` take no gradient, `free` do.
    pub fn new(fixed: Option<&Unit>, free: &Unit) -> Self {
        let first = fixed.map_or(0, Unit::count);
        let row = |index: usize| match fixed {
            Some(fixed) if index < first => fixed.row(index),
            _ => free.row(index - first),
        };
        let (count, dim) = (first + free.count(), free.dim);
        Self {
            count,
            first,
            dim,
            by_row: Packed::new(count, dim, |index, column| row(index)[column]),
            by_column: Packed::new(dim, count, |column, index| row(index)[column]),
        }
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.count).step_by(CHUNK).map(|start| start..self.count.min(start + CHUNK))
    }

    /// `logits -= shift`, and plus the products of the chunk's negatives with the anchors of a tile.
    fn logits(&self, chunk: &Range<usize>, anchors: &[Lanes], shift: &Lanes, logits: &mut [Lanes]) {
        logits.fill(shift.map(|shift| -shift));
        self.by_row.accumulate(chunk.start / HEIGHT..chunk.end.div_ceil(HEIGHT), 0..self.dim, anchors, logits);
    }

    /// What to take from the logits of each anchor so that their exponentials stay within f32.
    fn shift(&self, anchors: &[Lanes], temperature: f32) -> Lanes {
        if 1.0 / temperature <= SAFE {
            return [0.0; LANES];
        }
        let mut largest = [f32::NEG_INFINITY; LANES];
        let mut logits = vec![[0.0; LANES]; CHUNK];
        for chunk in self.chunks() {
            let logits = &mut logits[..chunk.len()];
            self.logits(&chunk, anchors, &[0.0; LANES], logits);
            for logits in logits {
                largest.iter_mut().zip(logits).for_each(|(largest, logit)| *largest = largest.max(*logit));
            }
        }
        largest
    }
}

/// What the tiles add to.
struct Sums {
    loss: f64,
    anchors: Vec<f32>,
    negatives: Outer,
}

impl Sums {
    /// Adds the anchors `rows`. `logits` is memory for those of one tile.
    fn add(
        &mut self,
        negatives: &Negatives,
        unit: &Unit,
        noised: &Unit,
        rows: Range<usize>,
        [temperature, weight]: [f32; 2],
        logits: &mut [Lanes],
    ) {
        let dim = negatives.dim;
        let at = rows.start * dim..rows.end * dim;
        let mut anchors = tile(&unit.rows[at.clone()], dim);
        anchors.as_flattened_mut().iter_mut().for_each(|value| *value /= temperature);
        let shift = negatives.shift(&anchors, temperature);
        let mut sums = [0.0f32; LANES];
        // With respect to the anchors: the sum of all negatives by their weight.
        let mut pulled = vec![[0.0; LANES]; dim];
        for chunk in negatives.chunks() {
            let powers = &mut logits[chunk.clone()];
            negatives.logits(&chunk, &anchors, &shift, powers);
            math::exp_all(powers);
            for powers in powers.iter() {
                sums.iter_mut().zip(powers).for_each(|(sum, power)| *sum += power);
            }
            negatives.by_column.accumulate(0..dim.div_ceil(HEIGHT), chunk, powers, &mut pulled);
        }

        let mut gradients = vec![0.0; at.len()];
        untile(&pulled, &mut gradients);
        for (lane, (row, gradient)) in rows.zip(gradients.chunks_exact_mut(dim)).enumerate() {
            let (anchor, copy, sum) = (unit.row(row), noised.row(row), sums[lane]);
            let attraction = dot(anchor, copy) / temperature;
            self.loss += libm::log(f64::from(sum)) + f64::from(shift[lane]) - f64::from(attraction);

            let mut to_copy: Vec<f32> = anchor.iter().map(|anchor| -anchor * (weight / temperature)).collect();
            noised.pull_back(row, &mut to_copy);
            for (gradient, copy) in gradient.iter_mut().zip(copy) {
                *gradient = (*gradient / sum - copy) * (weight / temperature);
            }
            unit.pull_back(row, gradient);
            gradient.iter_mut().zip(&to_copy).for_each(|(gradient, to_copy)| *gradient += to_copy);
        }
        self.anchors[at].copy_from_slice(&gradients);
        for anchors in &mut anchors {
            anchors.iter_mut().zip(&sums).for_each(|(value, sum)| *value *= weight / sum);
        }
        self.negatives.add(&logits[negatives.first..], &anchors);
    }
}
