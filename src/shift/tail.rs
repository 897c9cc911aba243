//! Popularity shift, tail hold-out (what the public Yelp2018 files are): a random share of the interactions of rare items
//! is the test; all others are split at random over all of them. A model that learns popularity fails on it.

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::{By, hold_out};
use super::{Assigned, Log, Role, ShiftError, SplitRule, floor_share, shares_mistake};
use crate::data::tabulate::bound;
use crate::rng;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// An item with at most so many interactions is in the tail.
    #[serde(default = "twenty")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub max_count: u32,
    /// Share of the interactions of tail items for the test out of distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub ood: f64,
    /// Share of all others for validation.
    #[serde(default = "eighth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    /// Share of all others for the test in distribution.
    #[serde(default = "quarter")]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
    /// Whether the shares of `valid` and `iid` are those of each user or of all.
    #[serde(default = "globally")]
    pub by: By,
}

fn twenty() -> u32 {
    20
}

fn eighth() -> f64 {
    0.125
}

fn quarter() -> f64 {
    0.25
}

fn globally() -> By {
    By::Global
}

impl SplitRule for Tail {
    fn mistake(&self) -> Option<String> {
        shares_mistake(&[("ood", self.ood)]).or_else(|| shares_mistake(&[("valid", self.valid), ("iid", self.iid)]))
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let mut roles = log.distinct();
        let mut counts = vec![0u32; bound(&log.rows.item)];
        for (&item, _) in log.rows.item.iter().zip(&roles).filter(|&(_, &role)| role == Role::Train) {
            counts[item as usize] += 1;
        }
        let in_tail = |&row: &u32| {
            roles[row as usize] == Role::Train && counts[log.rows.item[row as usize] as usize] <= self.max_count
        };
        let mut tail: Vec<u32> = (0..log.rows.len() as u32).filter(in_tail).collect();
        let n = floor_share(tail.len(), self.ood);
        let (drawn, _) = tail.partial_shuffle(&mut rng::stream(seed, "split tail", 0), n);
        drawn.iter().for_each(|&row| roles[row as usize] = Role::Ood);
        Ok(hold_out(log, roles, self.by, self.valid, self.iid, seed))
    }
}
