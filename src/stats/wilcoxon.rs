//! The Wilcoxon signed-rank test: exact for up to 25 pairs that differ, whatever their ties, else the normal approximation.

use std::collections::BTreeMap;

use statrs::function::gamma::checked_gamma_ur;

use super::{PairedTest, TestResult};

/// Up to so many differences other than 0 the null distribution is counted out.
const EXACT: usize = 25;

/// What becomes of pairs without a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// They are dropped (Wilcoxon).
    Drop,
    /// They are ranked with the others, then dropped (Pratt).
    Pratt,
}

/// The test with its options.
pub struct Wilcoxon {
    pub name: &'static str,
    pub zeros: Zeros,
    /// Whether the normal approximation is moved by one half towards the mean.
    pub continuity: bool,
}

impl PairedTest for Wilcoxon {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        match (self.zeros, self.continuity) {
            (Zeros::Drop, false) => "Wilcoxon signed-rank test",
            (Zeros::Drop, true) => "Wilcoxon signed-rank test with continuity correction",
            (Zeros::Pratt, _) => "Wilcoxon signed-rank test with Pratt's zeros",
        }
    }

    fn doc(&self) -> &'static str {
        match (self.zeros, self.continuity) {
            (Zeros::Drop, false) => {
                "min(W+, W-) over mid-ranks of |D|, zeros dropped; exact given the ties for up to 25 differences, else normal with tie correction, two-sided."
            }
            (Zeros::Drop, true) => "As `wilcoxon`, with continuity correction in the normal approximation.",
            (Zeros::Pratt, _) => "As `wilcoxon`, with zeros ranked before they are dropped.",
        }
    }

    fn test(&self, differences: &[f64]) -> TestResult {
        if !differences.iter().all(|difference| difference.is_finite()) {
            return TestResult::impossible("the differences are not finite");
        }
        if differences.is_empty() {
            return TestResult::impossible("needs at least 1 pair, has 0");
        }
        let ranks = SignedRanks::of(differences, self.zeros);
        if ranks.doubled.is_empty() {
            return TestResult { p: Some(1.0), note: Some("all differences are 0".into()), ..Default::default() };
        }
        let statistic = Some(ranks.plus().min(ranks.minus()));
        if ranks.doubled.len() <= EXACT {
            return TestResult { statistic, p: Some(ranks.exact_p()), smallest_p: ranks.smallest_p(), note: None };
        }
        let p = Some(ranks.normal_p(self.zeros, self.continuity));
        TestResult { statistic, p, ..Default::default() }
    }
}

/// The ranks of the absolute differences that are not 0, and the sums of those of either sign. Twice a mid-rank is an
/// integer: sums are exact.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SignedRanks {
    /// Twice each rank, ascending.
    doubled: Vec<u64>,
    doubled_plus: u64,
    doubled_minus: u64,
    zeros: usize,
    /// `sum(t^3 - t)` over groups of `t` tied differences.
    ties: f64,
}

impl SignedRanks {
    /// Mid-ranks of the absolute differences. Two of them are tied when they differ by less than 1e-12 of the
    /// largest: differences of means carry rounding.
    pub(super) fn of(differences: &[f64], zeros: Zeros) -> Self {
        let mut order: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
        order.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let dropped = differences.len() - order.len();
        let tolerance = order.last().map_or(0.0, |largest| 1e-12 * largest.abs());
        let offset = if zeros == Zeros::Pratt { dropped } else { 0 };
        let doubled = Vec::with_capacity(order.len());
        let mut ranks = Self { doubled, doubled_plus: 0, doubled_minus: 0, zeros: dropped, ties: 0.0 };
        let mut from = 0;
        while let Some(first) = order.get(from) {
            let level = first.abs() + tolerance;
            // The first is in its own group, even if it is no number and equals nothing.
            let to = from + 1 + order[from + 1..].iter().take_while(|difference| difference.abs() <= level).count();
            let rank = (2 * offset + from + 1 + to) as u64;
            let size = to - from;
            let positive = order[from..to].iter().filter(|&&difference| difference > 0.0).count();
            ranks.doubled.extend(std::iter::repeat_n(rank, size));
            ranks.doubled_plus += rank * positive as u64;
            ranks.doubled_minus += rank * (size - positive) as u64;
            ranks.ties += (size as f64).powi(3) - size as f64;
            from = to;
        }
        ranks
    }

    /// The sum of the ranks of positive differences.
    pub(super) fn plus(&self) -> f64 {
        self.doubled_plus as f64 / 2.0
    }

    /// The sum of the ranks of negative differences.
    pub(super) fn minus(&self) -> f64 {
        self.doubled_minus as f64 / 2.0
    }

    /// Twice the share of the `2^n` sign patterns whose positive ranks sum to no more than the smaller of the two sums
    /// that were found: the exact two-sided p, given the ranks with their ties.
    fn exact_p(&self) -> f64 {
        let limit = self.doubled_plus.min(self.doubled_minus);
        // How many sign patterns give each sum.
        let mut patterns = BTreeMap::from([(0, 1.0)]);
        for &rank in &self.doubled {
            for (sum, count) in patterns.clone().into_iter().take_while(|(sum, _)| sum + rank <= limit) {
                *patterns.entry(sum + rank).or_insert(0.0) += count;
            }
        }
        (patterns.values().sum::<f64>() * self.smallest_p()).min(1.0)
    }

    /// The two-sided p of differences that all have the same sign: one pattern on either side. Exact, as powers of 2 are.
    fn smallest_p(&self) -> f64 {
        2f64.powi(1 - self.doubled.len() as i32)
    }

    fn normal_p(&self, zeros: Zeros, continuity: bool) -> f64 {
        // With Pratt's zeros all pairs are ranked, but the ranks of the zeros count for neither side.
        let (ranked, unsigned) = match zeros {
            Zeros::Drop => (self.doubled.len() as f64, 0.0),
            Zeros::Pratt => ((self.doubled.len() + self.zeros) as f64, self.zeros as f64),
        };
        let mean = (ranked * (ranked + 1.0) - unsigned * (unsigned + 1.0)) / 4.0;
        let squares = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
        let variance = (squares(ranked) - squares(unsigned)) / 24.0 - self.ties / 48.0;
        let distance = (self.plus() - mean).abs();
        let distance = if continuity { (distance - 0.5).max(0.0) } else { distance };
        // erfc(x) = Q(1/2, x^2): statrs computes the right side to the last digits, the left one to ten.
        checked_gamma_ur(0.5, distance * distance / (2.0 * variance)).map_or(1.0, |p| p.min(1.0))
    }
}

#[cfg(test)]
mod tests;
