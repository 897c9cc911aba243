//! Effect sizes of paired differences: how large a difference is, whatever the number of pairs.

use super::Moments;
use super::wilcoxon::{SignedRanks, Zeros};

/// Cohen's `d_z = mean(D) / sd(D)`. Absent without spread or below two pairs.
pub fn cohen_dz(differences: &[f64]) -> Option<f64> {
    let moments = Moments::of(differences);
    moments.sd.filter(|&sd| sd > 0.0).map(|sd| moments.mean / sd)
}

/// The matched-pairs rank-biserial correlation `(W+ - W-) / (W+ + W-)`, from -1 to 1, zeros dropped. Absent when all
/// differences are 0, or one is not finite.
pub fn rank_biserial(differences: &[f64]) -> Option<f64> {
    let ranks = SignedRanks::of(differences, Zeros::Drop);
    let total = ranks.plus() + ranks.minus();
    let defined = total > 0.0 && differences.iter().all(|difference| difference.is_finite());
    defined.then(|| (ranks.plus() - ranks.minus()) / total)
}

#[cfg(test)]
mod tests {
    use super::super::assert_close;
    use super::*;

    #[test]
    fn vector_of_the_methods_document() {
        let differences = [0.5, -0.1, 0.3, 0.2, 0.7, -0.4, 0.6, 0.9];
        assert_close(rank_biserial(&differences).unwrap(), 0.722222, 5e-7);
        assert_close(cohen_dz(&differences).unwrap(), 0.78353792, 5e-9);
    }

    #[test]
    fn undefined_effects() {
        assert_eq!(rank_biserial(&[0.0, 0.0]), None);
        assert_eq!(cohen_dz(&[1.0, 1.0]), None);
        assert_eq!(cohen_dz(&[1.0]), None);
        assert_eq!(rank_biserial(&[1.0, 2.0]), Some(1.0));
        assert_eq!(rank_biserial(&[1.0, f64::NAN, f64::INFINITY]), None);
    }
}
