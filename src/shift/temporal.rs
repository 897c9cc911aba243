//! Temporal shift, global (the recipe of the DR-GNN family, WWW 2024): the earliest share of all interactions is
//! learned from, the latest is the test. What lies between is not used, so that the two are apart.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::{ByTime, Ties};
use super::per_user::{By, hold_out};
use super::{Assigned, Log, Role, ShiftError, SplitRule, floor_share, shares_mistake};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Temporal {
    /// Share of all interactions, the earliest, for train, validation and the test in distribution.
    #[serde(default = "three_fifths")]
    #[schemars(range(min = 0, max = 1))]
    pub early: f64,
    /// Share of all interactions, the latest, for the test out of distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub ood: f64,
    /// Share of each user's early interactions for validation.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    /// Share of each user's early interactions for the test in distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
}

pub(super) fn three_fifths() -> f64 {
    0.6
}

impl SplitRule for Temporal {
    fn mistake(&self) -> Option<String> {
        let both = self.early + self.ood;
        if !(self.early > 0.0 && self.ood >= 0.0 && both <= 1.0 + 1e-9) {
            return Some(format!(
                "`early` and `ood` are shares of all interactions, not {} and {}",
                self.early, self.ood
            ));
        }
        shares_mistake(&[("valid", self.valid), ("iid", self.iid)])
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let time = log.times()?;
        let mut roles = log.distinct();
        let by_time = ByTime::new(time, &roles);
        let n = by_time.len();
        let early = by_time.earliest(floor_share(n, self.early));
        let before_test = by_time.earliest(floor_share(n, 1.0 - self.ood));
        roles.par_iter_mut().zip(time).enumerate().for_each(|(row, (role, &time))| {
            if *role == Role::Train && !before_test.has(row, time) {
                *role = Role::Ood;
            } else if *role == Role::Train && !early.has(row, time) {
                *role = Role::Unused;
            }
        });
        let ties = before_test.last().map(|last| Ties::at(log, time, &roles, Role::Ood, last)).into_iter().collect();
        Ok(Assigned { ties, ..hold_out(log, roles, By::User, self.valid, self.iid, seed) })
    }
}
