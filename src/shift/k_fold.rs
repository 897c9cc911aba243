//! Cross-validation: interactions are dealt into `k` folds, of which one is the test. Over all folds, each interaction is
//! tested once; the deal is the same for every fold.

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::{By, hold_out, rows_with};
use super::{Assigned, Log, Role, ShiftError, SplitRule, shares_mistake};
use crate::rng;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KFold {
    /// Number of folds.
    #[serde(default = "five")]
    #[schemars(range(min = 2, max = 1_000))]
    pub k: u32,
    /// The fold that is the test, from 1 to `k`: run an axis over it.
    #[schemars(range(min = 0, max = 999))]
    pub fold: u32,
    /// Whether each user's interactions are dealt, or all at once.
    #[serde(default)]
    pub by: By,
    /// Share of the other folds for validation.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
}

fn five() -> u32 {
    5
}

impl SplitRule for KFold {
    fn mistake(&self) -> Option<String> {
        if self.k < 2 {
            return Some(format!("`k` is a number of folds from 2, not {}", self.k));
        }
        if !(1..=self.k).contains(&self.fold) {
            return Some(format!("`fold` is one of 1 to {}, not {}", self.k, self.fold));
        }
        shares_mistake(&[("valid", self.valid)])
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let mut roles = log.distinct();
        let (k, fold) = (self.k as usize, self.fold as usize - 1);
        match self.by {
            By::Global => {
                let mut rows = rows_with(&roles, Role::Train);
                rows.shuffle(&mut rng::stream(seed, "deal globally", 0));
                rows.iter().skip(fold).step_by(k).for_each(|&row| roles[row as usize] = Role::Iid);
            }
            By::User => {
                let dealt = log.by_user.in_parallel(|users| {
                    let (mut own, mut dealt) = (Vec::new(), Vec::new());
                    for user in users {
                        own.clear();
                        let rows = log.of_user(user).iter().map(|&(row, _)| row);
                        own.extend(rows.filter(|&row| roles[row as usize] == Role::Train));
                        own.shuffle(&mut rng::stream(seed, "deal per user", user as u64));
                        // Dealing goes on where it stopped, roughly: else the first folds had all odd interactions.
                        let first = (fold + user) % k;
                        dealt.extend(own.iter().copied().skip(first).step_by(k));
                    }
                    dealt
                });
                dealt.into_iter().flatten().for_each(|row| roles[row as usize] = Role::Iid);
            }
        }
        Ok(hold_out(log, roles, self.by, self.valid, 0.0, seed))
    }
}
