//! Leave-one-out, the protocol of sequential recommendation: each user's last interaction is the test, the one before it
//! validation, all others are learned from. The test counts as one in distribution: it has the next step of everyone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::{Assigned, Log, Role, ShiftError, SplitRule};

/// Users with fewer than three interactions are only learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveOneOut {
    #[serde(default)]
    pub order: Order,
}

impl SplitRule for LeaveOneOut {
    fn mistake(&self) -> Option<String> {
        None
    }

    fn assign(&self, log: &Log, _seed: u64) -> Result<Assigned, ShiftError> {
        let mut roles = log.distinct();
        let ties = self.order.each_user(log, &mut roles, &[Role::Valid, Role::Iid], |_, own| match own.len() {
            0..3 => Vec::new(),
            n => vec![(Role::Valid, n - 2..n - 1), (Role::Iid, n - 1..n)],
        })?;
        Ok(Assigned { ties, ..roles.into() })
    }
}
