//! The Wilcoxon signed-rank test: exact for up to 25 pairs without ties and zeros, else the normal approximation.

use statrs::function::gamma::checked_gamma_ur;

use super::{PairedTest, TestResult};

/// Up to here the null distribution is counted out.
const EXACT: usize = 25;
/// Below this many pairs the normal approximation is worth a note.
const FEW: usize = 10;

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
                "min(W+, W-) over mid-ranks of |D|, zeros dropped; exact for n <= 25 without ties or zeros, else normal with tie correction, two-sided."
            }
            (Zeros::Drop, true) => "As `wilcoxon`, with continuity correction in the normal approximation.",
            (Zeros::Pratt, _) => "As `wilcoxon`, with zeros ranked before they are dropped.",
        }
    }

    fn test(&self, differences: &[f64]) -> TestResult {
        if !differences.iter().all(|difference| difference.is_finite()) {
            return TestResult::impossible("degenerate: the differences are not finite");
        }
        if differences.is_empty() {
            return TestResult::impossible("needs at least 1 pair, has 0");
        }
        let ranks = SignedRanks::of(differences, self.zeros);
        if ranks.nonzero == 0 {
            return TestResult { p: Some(1.0), note: Some("all differences are 0".into()), ..Default::default() };
        }
        let statistic = ranks.plus.min(ranks.minus);
        if ranks.zeros == 0 && ranks.ties == 0.0 && ranks.nonzero <= EXACT {
            let p = (2.0 * lower_tail(ranks.nonzero, statistic as usize)).min(1.0);
            let smallest_p = 2.0 * lower_tail(ranks.nonzero, 0);
            return TestResult { statistic: Some(statistic), p: Some(p), smallest_p, note: None };
        }
        let note = (ranks.nonzero < FEW)
            .then(|| format!("ties or zeros among few pairs: normal approximation with n={}", ranks.nonzero));
        let p = Some(ranks.normal_p(self.zeros, self.continuity));
        TestResult { statistic: Some(statistic), p, smallest_p: 0.0, note }
    }
}

/// Rank sums of the positive and the negative differences.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SignedRanks {
    pub plus: f64,
    pub minus: f64,
    nonzero: usize,
    zeros: usize,
    /// `sum(t^3 - t)` over groups of `t` tied non-zero differences.
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
        let mut ranks = Self { plus: 0.0, minus: 0.0, nonzero: order.len(), zeros: dropped, ties: 0.0 };
        let mut from = 0;
        while from < order.len() {
            let level = order[from].abs() + tolerance;
            let to = from + order[from..].iter().take_while(|difference| difference.abs() <= level).count();
            let size = (to - from) as f64;
            let rank = offset as f64 + (from + 1 + to) as f64 / 2.0;
            let positive = order[from..to].iter().filter(|&&difference| difference > 0.0).count() as f64;
            ranks.plus += rank * positive;
            ranks.minus += rank * (size - positive);
            ranks.ties += size.powi(3) - size;
            from = to;
        }
        ranks
    }

    fn normal_p(&self, zeros: Zeros, continuity: bool) -> f64 {
        // With Pratt's zeros all pairs are ranked, but the ranks of the zeros count for neither side.
        let (ranked, unsigned) = match zeros {
            Zeros::Drop => (self.nonzero as f64, 0.0),
            Zeros::Pratt => ((self.nonzero + self.zeros) as f64, self.zeros as f64),
        };
        let mean = (ranked * (ranked + 1.0) - unsigned * (unsigned + 1.0)) / 4.0;
        let squares = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
        let variance = (squares(ranked) - squares(unsigned)) / 24.0 - self.ties / 48.0;
        let distance = (self.plus - mean).abs();
        let distance = if continuity { (distance - 0.5).max(0.0) } else { distance };
        // erfc(x) = Q(1/2, x^2): statrs computes the right side to the last digits, the left one to ten.
        checked_gamma_ur(0.5, distance * distance / (2.0 * variance)).map_or(1.0, |p| p.min(1.0))
    }
}

/// `P(W <= w)` for `n` untied pairs: the share of the `2^n` sign patterns whose positive ranks sum to at most `w`.
fn lower_tail(n: usize, w: usize) -> f64 {
    let total = n * (n + 1) / 2;
    let mut patterns = vec![0.0; total + 1];
    patterns[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..=total).rev() {
            patterns[sum] += patterns[sum - rank];
        }
    }
    patterns[..=w.min(total)].iter().sum::<f64>() / 2f64.powi(n as i32)
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, paired_test};
    use super::*;

    const UNTIED: [f64; 8] = [0.5, -0.1, 0.3, 0.2, 0.7, -0.4, 0.6, 0.9];

    fn plain(differences: &[f64]) -> TestResult {
        paired_test("wilcoxon").unwrap().test(differences)
    }

    #[test]
    fn exact_vectors_of_the_methods_document() {
        let six = plain(&[1.0, -2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((six.statistic, six.p), (Some(2.0), Some(0.09375)));
        assert_eq!(lower_tail(6, 2), 0.046875);
        let ranks = SignedRanks::of(&UNTIED, Zeros::Drop);
        assert_eq!((ranks.plus, ranks.minus), (31.0, 5.0));
        assert_eq!(plain(&UNTIED).p, Some(0.078125));
        assert_close(ranks.normal_p(Zeros::Drop, false), 0.06870357, 5e-9);
        assert_eq!(plain(&[1.0, 2.0, 3.0, 4.0, 5.0]).p, Some(0.0625));
        assert_eq!(lower_tail(5, 0), 0.03125);
    }

    #[test]
    fn smallest_p_of_so_many_pairs() {
        for (n, p) in [(5, 0.0625), (6, 0.03125), (8, 0.0078125)] {
            let differences: Vec<f64> = (1..=n).map(f64::from).collect();
            assert_eq!(plain(&differences).smallest_p, p);
        }
    }

    // scipy.stats.wilcoxon(d, zero_method=..., correction=..., method="approx")   (scipy 1.17.1)
    #[test]
    fn ties_and_zeros_of_scipy() {
        let d = [0.031, -0.012, 0.044, 0.02, 0.0, 0.055, 0.02, -0.031, 0.0, 0.012, 0.07, 0.001];
        let table = [
            (Zeros::Drop, false, 9.0, 0.05884108838448915),
            (Zeros::Drop, true, 9.0, 0.0660160732835097),
            (Zeros::Pratt, false, 13.0, 0.053406364489858624),
            (Zeros::Pratt, true, 13.0, 0.058464382710925585),
        ];
        for (zeros, continuity, statistic, p) in table {
            let result = Wilcoxon { name: "", zeros, continuity }.test(&d);
            assert_eq!(result.statistic, Some(statistic));
            assert_close(result.p.unwrap(), p, 1e-12);
        }
    }

    // e = numpy.sin(numpy.arange(1, 41) * 1.7) + .25; wilcoxon(e, method="approx"), wilcoxon(e[:25], method="exact")
    #[test]
    fn both_sides_of_the_exact_limit() {
        let wave: Vec<f64> = (1..=40).map(|i| (f64::from(i) * 1.7).sin() + 0.25).collect();
        let normal = plain(&wave);
        assert_eq!(normal.statistic, Some(264.0));
        assert_close(normal.p.unwrap(), 0.04971251185196612, 1e-12);
        let exact = plain(&wave[..25]);
        assert_eq!(exact.statistic, Some(104.0));
        assert_close(exact.p.unwrap(), 0.11993378400802612, 1e-12);
    }

    #[test]
    fn nothing_to_rank() {
        assert_eq!(plain(&[0.0, 0.0]).p, Some(1.0));
        assert_eq!(plain(&[]).p, None);
    }
}
