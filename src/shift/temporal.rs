//! Temporal shift, global (the recipe of the DR-GNN family, WWW 2024): the earliest share of all interactions is
//! learned from, the latest is the test. What lies between is not used, so that the two are apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::hold_out;
use super::{Log, Roles, Rule, ShiftError, floor_share, shares_mistake};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Temporal {
    /// Share of all interactions, the earliest, for train, validation and the test in distribution.
    #[serde(default = "three_fifths")]
    pub early: f64,
    /// Share of all interactions, the latest, for the test out of distribution.
    #[serde(default = "super::fifth")]
    pub ood: f64,
    /// Share of each user's early interactions for validation.
    #[serde(default = "super::tenth")]
    pub valid: f64,
    /// Share of each user's early interactions for the test in distribution.
    #[serde(default = "super::fifth")]
    pub iid: f64,
}

fn three_fifths() -> f64 {
    0.6
}

impl Rule for Temporal {
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

    fn roles(&self, log: &Log, seed: u64) -> Result<Roles, ShiftError> {
        let time = log.rows.time.as_ref().ok_or(ShiftError::NoTimes)?;
        let mut rows = log.distinct(&log.all());
        rows.sort_by_key(|&row| time[row]);
        let mut ood = rows.split_off(floor_share(rows.len(), 1.0 - self.ood));
        rows.truncate(floor_share(rows.len() + ood.len(), self.early));
        rows.sort_unstable();
        ood.sort_unstable();
        Ok(Roles { ood, ..hold_out(log, &rows, self.valid, self.iid, seed) })
    }
}
