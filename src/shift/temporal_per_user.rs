//! Temporal shift, per user (what the public Food files are): the last share of each user's interactions is the test; the
//! others are shuffled and divided. A user whose training share rounds to nothing is lost.

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::{Assigned, Log, Role, ShiftError, SplitRule, floor_share, shares_mistake};
use crate::rng;

/// A user with `n` interactions is cut at `floor(n (1 - valid - iid - ood))`, `floor(n (1 - iid - ood))` and
/// `floor(n (1 - ood))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemporalPerUser {
    /// Share of each user's interactions for validation.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    /// Share of each user's interactions for the test in distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
    /// Share of each user's interactions, the last, for the test out of distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub ood: f64,
    #[serde(default)]
    pub order: Order,
}

impl TemporalPerUser {
    /// Where the shuffled interactions of a user with `n` end, and before it those of train and validation.
    fn cuts(&self, n: usize) -> [usize; 3] {
        let train = floor_share(n, 1.0 - self.valid - self.iid - self.ood);
        let valid = floor_share(n, 1.0 - self.iid - self.ood).max(train);
        [train, valid, floor_share(n, 1.0 - self.ood).max(valid)]
    }
}

impl SplitRule for TemporalPerUser {
    fn mistake(&self) -> Option<String> {
        shares_mistake(&[("valid", self.valid), ("iid", self.iid), ("ood", self.ood)])
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let mut roles = log.distinct();
        let ties = self.order.each_user(log, &mut roles, &[Role::Ood], |user, own| {
            let [train, valid, iid] = self.cuts(own.len());
            own[..iid].shuffle(&mut rng::stream(seed, "split per user", user as u64));
            vec![(Role::Valid, train..valid), (Role::Iid, valid..iid), (Role::Ood, iid..own.len())]
        })?;
        Ok(Assigned { ties, ..roles.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_cut_as_in_the_public_food_files() {
        let rule: TemporalPerUser = serde_json::from_str("{}").unwrap();
        for (n, expected) in [
            (1, [0, 0, 0, 1]),
            (2, [1, 0, 0, 1]),
            (3, [1, 0, 1, 1]),
            (5, [2, 1, 1, 1]),
            (6, [3, 0, 1, 2]),
            (7, [3, 1, 1, 2]),
            (10, [5, 1, 2, 2]),
            (13, [6, 1, 3, 3]),
            (25, [12, 3, 5, 5]),
            (100, [50, 10, 20, 20]),
        ] {
            let [train, valid, iid] = rule.cuts(n);
            assert_eq!([train, valid - train, iid - valid, n - iid], expected, "{n} interactions");
        }
    }
}
