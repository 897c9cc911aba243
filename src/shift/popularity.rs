//! Popularity shift, item-uniform (the recipe of the DR-GNN family, WWW 2024): until a share of the interactions is
//! taken, draw an item uniformly and one of its users uniformly, and move that pair to the test set. Popular items are
//! then as frequent there as rare ones, while train keeps the skew.

use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::hold_out;
use super::{Log, Roles, Rule, ShiftError, floor_share, shares_mistake};
use crate::rng;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Popularity {
    /// Share of all interactions in the item-uniform test.
    #[serde(default = "super::fifth")]
    pub ood: f64,
    /// Share of each user's remaining interactions for validation, in distribution.
    #[serde(default = "super::tenth")]
    pub valid: f64,
    /// Share of each user's remaining interactions for the test in distribution.
    #[serde(default = "super::fifth")]
    pub iid: f64,
}

impl Rule for Popularity {
    fn mistake(&self) -> Option<String> {
        shares_mistake(&[("ood", self.ood)]).or_else(|| shares_mistake(&[("valid", self.valid), ("iid", self.iid)]))
    }

    fn roles(&self, log: &Log, seed: u64) -> Result<Roles, ShiftError> {
        let rows = log.distinct(&log.all());
        let n_items = log.rows.item.iter().max().map_or(0, |&max| max as usize + 1);
        let mut of_item = vec![Vec::new(); n_items];
        for &row in &rows {
            of_item[log.rows.item[row] as usize].push(row);
        }
        of_item.retain(|rows| !rows.is_empty());

        let mut rng = rng::stream(seed, "split popularity", 0);
        // The share is below 1, so that rows are left to draw from.
        let mut ood: Vec<usize> = Vec::new();
        for _ in 0..floor_share(rows.len(), self.ood) {
            let item = rng.random_range(0..of_item.len());
            let user = rng.random_range(0..of_item[item].len());
            ood.push(of_item[item].swap_remove(user));
            if of_item[item].is_empty() {
                of_item.swap_remove(item);
            }
        }
        let mut rest: Vec<usize> = of_item.into_iter().flatten().collect();
        rest.sort_unstable();
        ood.sort_unstable();
        Ok(Roles { ood, ..hold_out(log, &rest, self.valid, self.iid, seed) })
    }
}
