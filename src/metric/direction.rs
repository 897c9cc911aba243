//! Which of two values of a metric is better.

use std::cmp::Ordering;

use serde::Serialize;

/// Whether larger or smaller values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    HigherIsBetter,
    LowerIsBetter,
}

impl Direction {
    /// Whether `a` is strictly better than `b`; with NaN it never is.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            Self::HigherIsBetter => a > b,
            Self::LowerIsBetter => a < b,
        }
    }

    /// The order that puts better values first.
    pub fn best_first(self, a: f64, b: f64) -> Ordering {
        match self {
            Self::HigherIsBetter => b.total_cmp(&a),
            Self::LowerIsBetter => a.total_cmp(&b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_value_comes_first() {
        for (direction, expected) in
            [(Direction::HigherIsBetter, [3.0, 2.0, 1.0]), (Direction::LowerIsBetter, [1.0, 2.0, 3.0])]
        {
            let mut values = [2.0, 3.0, 1.0];
            values.sort_by(|a, b| direction.best_first(*a, *b));
            assert_eq!(values, expected);
            assert!(direction.is_better(values[0], values[1]) && !direction.is_better(values[1], values[0]));
            assert!(!direction.is_better(1.0, 1.0) && !direction.is_better(f64::NAN, 1.0));
        }
    }
}
