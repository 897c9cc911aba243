//! Mean, standard deviation and the t-interval of a mean.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean and spread of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    pub n: usize,
    /// NaN of an empty sample.
    pub mean: f64,
    /// With `n - 1` in the denominator. Absent below two values.
    pub sd: Option<f64>,
}

impl Moments {
    /// Two passes, in the order of the slice. Values that are all the same have that very mean and no spread: summing
    /// must not invent any.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len();
        if let Some((&first, rest)) = values.split_first()
            && rest.iter().all(|&value| value == first)
        {
            return Self { n, mean: first, sd: (n > 1).then_some(0.0) };
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { n, mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) }
    }

    /// Standard error of the mean.
    pub fn standard_error(&self) -> Option<f64> {
        self.sd.map(|sd| sd / (self.n as f64).sqrt())
    }
}

/// The interval that covers the mean of a normal population with probability `level`: `mean ± t * sd / sqrt(n)` with
/// `n - 1` degrees of freedom. Absent below two values.
pub fn t_interval(values: &[f64], level: f64) -> Option<(f64, f64)> {
    let moments = Moments::of(values);
    let error = moments.standard_error()?;
    let distribution = StudentsT::new(0.0, 1.0, (moments.n - 1) as f64).ok()?;
    let half = distribution.inverse_cdf((0.5 + level / 2.0).clamp(0.5, 1.0)) * error;
    Some((moments.mean - half, moments.mean + half))
}

#[cfg(test)]
mod tests {
    use super::super::assert_close;
    use super::*;

    // x = [.0480, .0475, .0488, .0479, .0492]; x.mean(), x.std(ddof=1)
    // scipy.stats.t.interval(.95, 4, loc=x.mean(), scale=scipy.stats.sem(x))   (scipy 1.17.1)
    #[test]
    fn moments_and_interval_of_five_seeds() {
        let x = [0.0480, 0.0475, 0.0488, 0.0479, 0.0492];
        let moments = Moments::of(&x);
        assert_close(moments.mean, 0.04828, 1e-15);
        assert_close(moments.sd.unwrap(), 0.0006978538528947169, 1e-15);
        let (low, high) = t_interval(&x, 0.95).unwrap();
        assert_close(low, 0.04741349999485285, 1e-11);
        assert_close(high, 0.049146500005147156, 1e-11);
    }

    // scipy.stats.t.ppf(.975, n)
    #[test]
    fn quantiles_of_t() {
        let table =
            [(1, 12.706204736174694), (2, 4.302652729749462), (4, 2.7764451051977934), (9999, 1.960201263621357)];
        for (freedom, expected) in table {
            let distribution = StudentsT::new(0.0, 1.0, f64::from(freedom)).unwrap();
            assert_close(distribution.inverse_cdf(0.975), expected, 1e-9 * expected);
        }
    }

    #[test]
    fn small_samples() {
        assert_eq!(Moments::of(&[3.0]), Moments { n: 1, mean: 3.0, sd: None });
        assert_eq!(Moments::of(&[0.1; 3]), Moments { n: 3, mean: 0.1, sd: Some(0.0) });
        assert!(Moments::of(&[]).mean.is_nan());
        assert_eq!(t_interval(&[1.0], 0.95), None);
        assert_eq!(t_interval(&[0.1; 4], 0.95), Some((0.1, 0.1)));
    }
}
