//! Popularity shift, item-uniform (the recipe of the DR-GNN family, WWW 2024): until a share of the interactions is
//! taken, draw an item uniformly and one of its users uniformly, and move that pair to the test set. Popular items are
//! then as frequent there as rare ones, while train keeps the skew.

use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::{By, hold_out};
use super::{Assigned, Log, Role, ShiftError, SplitRule, floor_share, shares_mistake};
use crate::data::groups::{Groups, TooManyRows};
use crate::rng;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Popularity {
    /// Share of all interactions in the item-uniform test.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub ood: f64,
    /// Share of each user's remaining interactions for validation, in distribution.
    #[serde(default = "super::tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    /// Share of each user's remaining interactions for the test in distribution.
    #[serde(default = "super::fifth")]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
}

impl SplitRule for Popularity {
    fn mistake(&self) -> Option<String> {
        shares_mistake(&[("ood", self.ood)]).or_else(|| shares_mistake(&[("valid", self.valid), ("iid", self.iid)]))
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let mut roles = log.distinct();
        let n = roles.iter().filter(|&&role| role == Role::Train).count();
        let drawn = draw_item_uniformly(log, |row| roles[row] == Role::Train, floor_share(n, self.ood), seed)?;
        drawn.into_iter().for_each(|row| roles[row as usize] = Role::Ood);
        Ok(hold_out(log, roles, By::User, self.valid, self.iid, seed))
    }
}

/// Draws `n` of the rows that `from` accepts, at most as many as there are: each time an item uniformly, then one of its
/// rows.
pub fn draw_item_uniformly(
    log: &Log,
    from: impl Fn(usize) -> bool + Sync,
    n: usize,
    seed: u64,
) -> Result<Vec<u32>, TooManyRows> {
    let mut by_item = Groups::new(&log.rows.item, from)?;
    // What is left of each item that has rows.
    let mut left: Vec<_> =
        (0..by_item.n_ids()).map(|item| by_item.range(item)).filter(|rows| !rows.is_empty()).collect();
    let n = n.min(by_item.n_rows());
    let rows = by_item.rows_mut();
    let mut rng = rng::stream(seed, "split popularity", 0);
    let mut drawn = Vec::with_capacity(n);
    for _ in 0..n {
        let item = rng.random_range(0..left.len());
        let own = &mut left[item];
        let row = own.start + rng.random_range(0..own.len());
        drawn.push(rows[row]);
        own.end -= 1;
        rows[row] = rows[own.end];
        if own.start == own.end {
            left.swap_remove(item);
        }
    }
    Ok(drawn)
}
