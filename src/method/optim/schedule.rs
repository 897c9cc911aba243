//! How the learning rate goes over the epochs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::method::spec::Mistake;

/// Factor on the learning rate, by the epochs done before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same for all epochs.
    Constant {},
    /// Multiplied by `factor` after every `every` epochs (PyTorch's StepLR).
    Step {
        #[schemars(range(min = 1, max = 1_000_000))]
        every: usize,
        #[serde(default = "tenth")]
        #[schemars(range(min = 0, max = 1))]
        factor: f64,
    },
    /// Multiplied by `factor` after every epoch.
    Exponential {
        #[schemars(range(min = 0, max = 1))]
        factor: f64,
    },
    /// Half a cosine from 1 to `floor` over all epochs (Loshchilov & Hutter, ICLR 2017, without restarts).
    Cosine {
        #[serde(default)]
        #[schemars(range(min = 0, max = 1))]
        floor: f64,
    },
}

fn tenth() -> f64 {
    0.1
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

impl Schedule {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<(), Mistake> {
        let (name, value, holds) = match *self {
            Self::Constant {} => return Ok(()),
            Self::Step { every: 0, .. } => {
                return Err(Mistake::new(&["schedule", "step", "every"], "must be at least 1"));
            }
            Self::Step { factor, .. } => ("step", factor, factor > 0.0 && factor <= 1.0),
            Self::Exponential { factor } => ("exponential", factor, factor > 0.0 && factor <= 1.0),
            Self::Cosine { floor } => ("cosine", floor, (0.0..=1.0).contains(&floor)),
        };
        let key = if name == "cosine" { "floor" } else { "factor" };
        Mistake::unless(holds, &["schedule", name, key], format!("{value} is not in 0 < {key} <= 1"))
    }

    /// The factor after `done` epochs of `epochs`.
    pub fn factor(&self, done: usize, epochs: usize) -> f64 {
        match *self {
            Self::Constant {} => 1.0,
            Self::Step { every, factor } => libm::pow(factor, (done / every.max(1)) as f64),
            Self::Exponential { factor } => libm::pow(factor, done as f64),
            Self::Cosine { floor } => {
                let share = done as f64 / epochs.max(1) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_over_ten_epochs() {
        let factors = |schedule: Schedule| [0, 1, 5, 9].map(|done| schedule.factor(done, 10));
        assert_eq!(factors(Schedule::Constant {}), [1.0; 4]);
        assert_eq!(factors(Schedule::Step { every: 5, factor: 0.5 }), [1.0, 1.0, 0.5, 0.5]);
        let exponential = factors(Schedule::Exponential { factor: 0.9 });
        assert!(exponential.iter().zip([1.0, 0.9, 0.59049, 0.387_420_489]).all(|(a, b)| (a - b).abs() < 1e-12));
        let cosine = factors(Schedule::Cosine { floor: 0.1 });
        let expected = [1.0, 0.977_975_432_332_819_6, 0.55, 0.122_024_567_667_180_4];
        assert!(cosine.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{cosine:?}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        let path = |schedule: Schedule| schedule.check().unwrap_err().path.join(".");
        assert_eq!(path(Schedule::Step { every: 0, factor: 0.5 }), "schedule.step.every");
        assert_eq!(path(Schedule::Step { every: 1, factor: 0.0 }), "schedule.step.factor");
        assert_eq!(path(Schedule::Exponential { factor: 1.5 }), "schedule.exponential.factor");
        assert_eq!(path(Schedule::Cosine { floor: -0.5 }), "schedule.cosine.floor");
    }
}
