//! The control without a shift: a random share of the interactions is held out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::{By, hold_out};
use super::{Assigned, Log, ShiftError, SplitRule, shares_mistake};

/// Shares of the interactions; train takes the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Random {
    #[serde(default)]
    pub by: By,
    /// Validation, in distribution.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    /// Test in distribution.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
}

impl SplitRule for Random {
    fn mistake(&self) -> Option<String> {
        shares_mistake(&[("valid", self.valid), ("iid", self.iid)])
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let roles = log.distinct();
        Ok(hold_out(log, roles, self.by, self.valid, self.iid, seed))
    }
}
