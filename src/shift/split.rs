//! From roles to a split that training and evaluation can take: dense ids, and nothing in the held-out parts that a
//! model could not be asked for.

use std::collections::HashSet;

use super::{Log, Roles, ShiftError};
use crate::data::{Dedup, Interactions};

/// A finished split. Ids are dense by first appearance in train; each of them occurs there.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub train: Interactions,
    pub valid: Interactions,
    /// Test in distribution.
    pub iid: Interactions,
    /// Test out of distribution.
    pub ood: Interactions,
    /// The former id of each user.
    pub users: Vec<u32>,
    /// The former id of each item.
    pub items: Vec<u32>,
    /// What was counted on the way, by name.
    pub counts: Vec<(String, i64)>,
}

/// No new id: unseen in train.
const UNSEEN: u32 = u32::MAX;

impl Split {
    pub(super) fn new(log: &Log, roles: &Roles) -> Result<Self, ShiftError> {
        let mut counts = Vec::new();
        let mut count = |name: String, value: usize| counts.push((name, value as i64));

        let mut train = log.rows.take(&roles.train).dedup(Dedup::First);
        if train.is_empty() {
            return Err(ShiftError::NothingToTrainOn);
        }
        count("train.rows_before".to_owned(), roles.train.len());
        count("train.repeated".to_owned(), roles.train.len() - train.len());
        count("train.rows".to_owned(), train.len());
        let users = densify(&mut train.user, &log.rows.user);
        let items = densify(&mut train.item, &log.rows.item);
        let in_train: HashSet<(u32, u32)> = pairs(&train).collect();

        let mut held_out = |name: &str, rows: &[usize]| {
            let mut part = log.rows.take(rows).dedup(Dedup::First);
            let distinct = part.len();
            part.user.iter_mut().for_each(|user| *user = users.new_id[*user as usize]);
            part.item.iter_mut().for_each(|item| *item = items.new_id[*item as usize]);
            let seen = |&row: &usize| part.user[row] != UNSEEN && part.item[row] != UNSEEN;
            let seen: Vec<usize> = (0..distinct).filter(seen).collect();
            // Training items are never recommended, so such rows could not be hit.
            let new = |row: &usize| !in_train.contains(&(part.user[*row], part.item[*row]));
            let kept: Vec<usize> = seen.iter().copied().filter(new).collect();
            count(format!("{name}.rows_before"), rows.len());
            count(format!("{name}.repeated"), rows.len() - distinct);
            count(format!("{name}.unseen_in_train"), distinct - seen.len());
            count(format!("{name}.also_in_train"), seen.len() - kept.len());
            count(format!("{name}.rows"), kept.len());
            part.take(&kept)
        };
        let valid = held_out("valid", &roles.valid);
        let iid = held_out("iid", &roles.iid);
        let ood = held_out("ood", &roles.ood);
        for (name, a, b) in
            [("valid_and_iid", &valid, &iid), ("valid_and_ood", &valid, &ood), ("iid_and_ood", &iid, &ood)]
        {
            let in_a: HashSet<(u32, u32)> = pairs(a).collect();
            count(format!("in_{name}"), pairs(b).filter(|pair| in_a.contains(pair)).count());
        }
        let used = roles.train.len() + roles.valid.len() + roles.iid.len() + roles.ood.len();
        count("rows_without_role".to_owned(), log.rows.len() - used);
        count("users".to_owned(), users.old_id.len());
        count("items".to_owned(), items.old_id.len());
        count("users_not_in_train".to_owned(), distinct(&log.rows.user) - users.old_id.len());
        count("items_not_in_train".to_owned(), distinct(&log.rows.item) - items.old_id.len());
        Ok(Self { train, valid, iid, ood, users: users.old_id, items: items.old_id, counts })
    }

    /// The value counted under `name`.
    pub fn count(&self, name: &str) -> Option<i64> {
        self.counts.iter().find(|(own, _)| own == name).map(|&(_, value)| value)
    }
}

fn pairs(rows: &Interactions) -> impl Iterator<Item = (u32, u32)> {
    rows.user.iter().copied().zip(rows.item.iter().copied())
}

fn distinct(ids: &[u32]) -> usize {
    ids.iter().collect::<HashSet<_>>().len()
}

struct Ids {
    /// By former id; [`UNSEEN`] where train has none.
    new_id: Vec<u32>,
    old_id: Vec<u32>,
}

/// Renames ids by first appearance. `all` tells which ids there are.
fn densify(ids: &mut [u32], all: &[u32]) -> Ids {
    let size = all.iter().max().map_or(0, |&max| max as usize + 1);
    let mut renamed = Ids { new_id: vec![UNSEEN; size], old_id: Vec::new() };
    for id in ids {
        let new = &mut renamed.new_id[*id as usize];
        if *new == UNSEEN {
            *new = renamed.old_id.len() as u32;
            renamed.old_id.push(*id);
        }
        *id = *new;
    }
    renamed
}
