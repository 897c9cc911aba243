//! The control without a shift: a random share of each user's interactions is held out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::hold_out;
use super::{Log, Roles, Rule, ShiftError, shares_mistake};

/// Shares of each user's interactions; train takes the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Random {
    #[serde(default = "super::tenth")]
    pub valid: f64,
    /// Test in distribution.
    #[serde(default = "super::tenth")]
    pub iid: f64,
}

impl Rule for Random {
    fn mistake(&self) -> Option<String> {
        shares_mistake(&[("valid", self.valid), ("iid", self.iid)])
    }

    fn roles(&self, log: &Log, seed: u64) -> Result<Roles, ShiftError> {
        Ok(hold_out(log, &log.distinct(&log.all()), self.valid, self.iid, seed))
    }
}
