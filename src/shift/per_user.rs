//! The step that scenarios share: a seeded random share of each user's training rows, or of all of them, is held out, in
//! distribution.

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Assigned, Log, Role, floor_share};
use crate::rng;

/// Whose rows random shares are taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Shares of each user's rows.
    #[default]
    User,
    /// Shares of all rows: a user may lose all or none of them.
    Global,
}

/// Moves random shares of the training rows to `valid` and `iid`.
pub fn hold_out(log: &Log, roles: Vec<Role>, by: By, valid: f64, iid: f64, seed: u64) -> Assigned {
    match by {
        By::User => hold_out_per_user(log, roles, valid, iid, seed),
        By::Global => hold_out_globally(roles, valid, iid, seed),
    }
}

/// A user with `n` training rows is shuffled and cut at `floor(n (1 - valid - iid))`, but not before the first row, and
/// at `floor(n (1 - iid))`: everyone stays in train.
fn hold_out_per_user(log: &Log, mut roles: Vec<Role>, valid: f64, iid: f64, seed: u64) -> Assigned {
    if valid == 0.0 && iid == 0.0 {
        return roles.into();
    }
    let stream = rng::stream(seed, "split per user", 0);
    let mut by_user = log.roles_by_user(&roles);
    let held_out = log.by_user.in_parallel(|users| {
        let (mut own, mut to_valid, mut to_iid) = (Vec::new(), Vec::new(), Vec::new());
        for user in users {
            own.clear();
            let all = log.by_user.range(user).zip(log.of_user(user));
            own.extend(all.filter(|&(at, _)| by_user[at] == Role::Train).map(|(at, &(row, _))| (at as u32, row)));
            let mut rng = stream.clone();
            rng.set_stream(user as u64);
            own.shuffle(&mut rng);
            let train_end = floor_share(own.len(), 1.0 - valid - iid).max(1).min(own.len());
            let valid_end = floor_share(own.len(), 1.0 - iid).max(train_end);
            to_valid.extend_from_slice(&own[train_end..valid_end]);
            to_iid.extend_from_slice(&own[valid_end..]);
        }
        (to_valid, to_iid)
    });
    for (to_valid, to_iid) in held_out {
        for (held_out, role) in [(to_valid, Role::Valid), (to_iid, Role::Iid)] {
            for (at, row) in held_out {
                by_user[at as usize] = role;
                roles[row as usize] = role;
            }
        }
    }
    Assigned { by_user: Some(by_user), ..roles.into() }
}

/// All `n` training rows are shuffled and cut at `floor(n (1 - valid - iid))` and `floor(n (1 - iid))`.
fn hold_out_globally(mut roles: Vec<Role>, valid: f64, iid: f64, seed: u64) -> Assigned {
    let mut rows: Vec<u32> = rows_with(&roles, Role::Train);
    let (train_end, valid_end) = (floor_share(rows.len(), 1.0 - valid - iid), floor_share(rows.len(), 1.0 - iid));
    rows.shuffle(&mut rng::stream(seed, "split globally", 0));
    rows[train_end..valid_end.max(train_end)].iter().for_each(|&row| roles[row as usize] = Role::Valid);
    rows[valid_end.max(train_end)..].iter().for_each(|&row| roles[row as usize] = Role::Iid);
    roles.into()
}

/// The rows with a role, in order.
pub fn rows_with(roles: &[Role], role: Role) -> Vec<u32> {
    (0u32..).zip(roles).filter(|&(_, &own)| own == role).map(|(row, _)| row).collect()
}
