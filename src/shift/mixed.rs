//! Temporal and popularity shift at once: of the latest interactions, a sample in which all items count alike is the test.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Ties;
use super::popularity::draw_item_uniformly;
use super::temporal::Temporal;
use super::{Assigned, Log, Role, ShiftError, SplitRule, floor_share};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixed {
    /// Share of all interactions, the earliest, for train, validation and the test in distribution.
    #[serde(default = "super::temporal::three_fifths")]
    #[schemars(range(min = 0, max = 1))]
    pub early: f64,
    /// Share of all interactions, the latest, from which the test out of distribution is drawn.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub late: f64,
    /// Share of the latest interactions that is drawn: each time an item uniformly, then one of its interactions.
    #[serde(default = "half")]
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

fn half() -> f64 {
    0.5
}

impl Mixed {
    fn temporal(&self) -> Temporal {
        Temporal { early: self.early, ood: self.late, valid: self.valid, iid: self.iid }
    }
}

impl SplitRule for Mixed {
    fn mistake(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.ood) {
            return Some(format!("`ood` is a share of the latest interactions from 0 to 1, not {}", self.ood));
        }
        self.temporal().mistake().map(|message| message.replace("`ood`", "`late`"))
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let Assigned { mut roles, ties, .. } = self.temporal().assign(log, seed)?;
        let times = log.times()?;
        let late = roles.iter().filter(|&&role| role == Role::Ood).count();
        let drawn = draw_item_uniformly(log, |row| roles[row] == Role::Ood, floor_share(late, self.ood), seed)?;
        roles.iter_mut().filter(|role| **role == Role::Ood).for_each(|role| *role = Role::Unused);
        drawn.into_iter().for_each(|row| roles[row as usize] = Role::Ood);
        let cuts = ties.iter().filter_map(|ties| ties.time);
        let ties = cuts.map(|time| Ties::at(log, times, &roles, Role::Ood, time)).collect();
        Ok(Assigned { ties, ..roles.into() })
    }
}
