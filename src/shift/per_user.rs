//! The step that scenarios share: a seeded random share of each user's rows is held out, in distribution.

use rand::seq::SliceRandom;

use super::{Log, Roles, floor_share};
use crate::rng;

/// Divides `rows` (ascending) into train, valid and iid. A user with `n` rows is shuffled and cut at
/// `floor(n (1 - valid - iid))`, but not before the first row, and at `floor(n (1 - iid))`: everyone stays in train.
pub fn hold_out(log: &Log, rows: &[usize], valid: f64, iid: f64, seed: u64) -> Roles {
    let user = |row: &usize| log.rows.user[*row];
    let mut grouped = rows.to_vec();
    grouped.sort_unstable_by_key(|row| (user(row), *row));
    let mut roles = Roles::default();
    for own in grouped.chunk_by_mut(|a, b| user(a) == user(b)) {
        own.shuffle(&mut rng::stream(seed, "split per user", user(&own[0]).into()));
        let train_end = floor_share(own.len(), 1.0 - valid - iid).max(1);
        let valid_end = floor_share(own.len(), 1.0 - iid).max(train_end);
        roles.train.extend(&own[..train_end]);
        roles.valid.extend(&own[train_end..valid_end]);
        roles.iid.extend(&own[valid_end..]);
    }
    for rows in [&mut roles.train, &mut roles.valid, &mut roles.iid] {
        rows.sort_unstable();
    }
    roles
}
