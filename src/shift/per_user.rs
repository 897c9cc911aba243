//! The step that scenarios share: a seeded random share of each user's training rows, or of all of them, is held out, in
//! distribution.

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Log, Role, floor_share};
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
pub fn hold_out(log: &Log, roles: &mut [Role], by: By, valid: f64, iid: f64, seed: u64) {
    match by {
        By::User => hold_out_per_user(log, roles, valid, iid, seed),
        By::Global => hold_out_globally(roles, valid, iid, seed),
    }
}

/// A user with `n` training rows is shuffled and cut at `floor(n (1 - valid - iid))`, but not before the first row, and
/// at `floor(n (1 - iid))`: everyone stays in train.
fn hold_out_per_user(log: &Log, roles: &mut [Role], valid: f64, iid: f64, seed: u64) {
    if valid == 0.0 && iid == 0.0 {
        return;
    }
    let stream = rng::stream(seed, "split per user", 0);
    let of_user = log.roles_by_user(roles);
    let held_out = log.by_user.in_parallel(|users| {
        let (mut own, mut to_valid, mut to_iid) = (Vec::new(), Vec::new(), Vec::new());
        for user in users {
            own.clear();
            let all = log.by_user.of(user).iter().zip(&of_user[log.by_user.range(user)]);
            own.extend(all.filter(|&(_, &role)| role == Role::Train).map(|(&row, _)| row));
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
        to_valid.into_iter().for_each(|row: u32| roles[row as usize] = Role::Valid);
        to_iid.into_iter().for_each(|row: u32| roles[row as usize] = Role::Iid);
    }
}

/// All `n` training rows are shuffled and cut at `floor(n (1 - valid - iid))` and `floor(n (1 - iid))`.
fn hold_out_globally(roles: &mut [Role], valid: f64, iid: f64, seed: u64) {
    let mut rows: Vec<u32> = rows_with(roles, Role::Train);
    let (train_end, valid_end) = (floor_share(rows.len(), 1.0 - valid - iid), floor_share(rows.len(), 1.0 - iid));
    rows.shuffle(&mut rng::stream(seed, "split globally", 0));
    rows[train_end..valid_end.max(train_end)].iter().for_each(|&row| roles[row as usize] = Role::Valid);
    rows[valid_end.max(train_end)..].iter().for_each(|&row| roles[row as usize] = Role::Iid);
}

/// The rows with a role, in order.
pub fn rows_with(roles: &[Role], role: Role) -> Vec<u32> {
    (0u32..).zip(roles).filter(|&(_, &own)| own == role).map(|(row, _)| row).collect()
}
