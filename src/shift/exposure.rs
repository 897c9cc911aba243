//! Exposure shift: a model learns from what a system chose to show, and is tested on interactions under another
//! exposure, full (KuaiRec's small matrix) or uniform (Coat, Yahoo! R3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::{By, hold_out};
use super::{Assigned, Log, Role, ShiftError, SplitRule, shares_mistake};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exposure {
    /// The parts with logged interactions: train, validation and the test in distribution.
    pub log: Vec<String>,
    /// The parts with fully or uniformly exposed items: the test out of distribution.
    pub exposed: Vec<String>,
    /// Share of each user's logged interactions for validation.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    /// Share of each user's logged interactions for the test in distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
}

impl SplitRule for Exposure {
    fn mistake(&self) -> Option<String> {
        if self.log.is_empty() || self.exposed.is_empty() {
            return Some("`log` and `exposed` each need the name of at least one part".to_owned());
        }
        if let Some(part) = self.log.iter().find(|part| self.exposed.contains(part)) {
            return Some(format!("the part `{part}` cannot be both `log` and `exposed`"));
        }
        shares_mistake(&[("valid", self.valid), ("iid", self.iid)])
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let mut role_of_part = vec![Role::Unused; log.names.len()];
        for (parts, role) in [(&self.log, Role::Train), (&self.exposed, Role::Ood)] {
            for part in parts {
                role_of_part[log.part_index(part)? as usize] = role;
            }
        }
        let mut roles: Vec<Role> = log.part.iter().map(|&part| role_of_part[part as usize]).collect();
        log.drop_repeats(&mut roles);
        Ok(hold_out(log, roles, By::User, self.valid, self.iid, seed))
    }
}
