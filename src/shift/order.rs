//! Rows in the order of time: the earliest of a log, found without sorting it, and the sequence of each user.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Log, Role, ShiftError};

/// What says which of a user's interactions came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Their times; of equal times, the order of the rows.
    #[default]
    Time,
    /// The order of the rows.
    Rows,
}

impl Order {
    /// Shows the training rows of each user in order to `cut`, which may rearrange them, and gives those at the places that
    /// it answers another role.
    ///
    /// # Errors
    /// The log has no times.
    pub fn each_user(
        self,
        log: &Log,
        roles: &mut [Role],
        cut: impl Fn(usize, &mut [u32]) -> Vec<(Role, Range<usize>)> + Sync,
    ) -> Result<(), ShiftError> {
        let time = match self {
            Self::Time => Some(log.rows.time.as_deref().ok_or(ShiftError::NoOrder)?),
            Self::Rows => None,
        };
        let moved = log.by_user.in_parallel(|users| {
            let mut moved: [Vec<u32>; Role::COUNT] = Default::default();
            let mut own = Vec::new();
            for user in users {
                own.clear();
                own.extend(log.by_user.of(user).iter().filter(|&&row| roles[row as usize] == Role::Train));
                if let Some(time) = time {
                    own.sort_by_key(|&row: &u32| time[row as usize]);
                }
                for (role, places) in cut(user, &mut own) {
                    moved[role.index()].extend_from_slice(&own[places]);
                }
            }
            moved
        });
        for moved in moved {
            for (role, rows) in [Role::Unused].into_iter().chain(Role::USED).zip(moved) {
                rows.into_iter().for_each(|row| roles[row as usize] = role);
            }
        }
        Ok(())
    }
}

/// Accepts the earliest training rows: earlier times first, and of equal times earlier rows. The time of the last one
/// comes from radix selection, which needs no memory per row.
pub struct Earliest {
    /// The time of the last row.
    last: i64,
    /// How many rows of just that time are still accepted.
    ties: usize,
}

impl Earliest {
    /// The `n` earliest of those rows whose role is train; all if there are fewer.
    pub fn new(time: &[i64], roles: &[Role], n: usize) -> Self {
        let keys = || time.iter().zip(roles).filter(|&(_, &role)| role == Role::Train).map(|(&time, _)| key(time));
        if n == 0 {
            return Self { last: i64::MIN, ties: 0 };
        }
        // Digits of 16 bits from the top: after each, `rest` rows are wanted of those that begin with `prefix`.
        let (mut prefix, mut rest) = (0u64, n);
        for shift in [48, 32, 16, 0] {
            let mut counts = vec![0usize; 1 << 16];
            for key in keys().filter(|key| (key >> shift) >> 16 == prefix) {
                counts[(key >> shift) as usize & 0xFFFF] += 1;
            }
            let digit = counts.iter().position(|&count| {
                let found = rest <= count;
                rest -= if found { 0 } else { count };
                found
            });
            let Some(digit) = digit else {
                return Self { last: i64::MAX, ties: usize::MAX };
            };
            prefix = prefix << 16 | digit as u64;
        }
        Self { last: time_of(prefix), ties: rest }
    }

    /// Whether a row is among the earliest. To be asked once for each training row, in their order.
    pub fn takes(&mut self, time: i64) -> bool {
        if time == self.last && self.ties > 0 {
            self.ties -= 1;
            return true;
        }
        time < self.last
    }
}

/// Unsigned numbers in the order of times.
fn key(time: i64) -> u64 {
    time as u64 ^ 1 << 63
}

fn time_of(key: u64) -> i64 {
    (key ^ 1 << 63) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_are_those_of_a_stable_sort(
            rows in prop::collection::vec((prop_oneof![-3i64..3, any::<i64>()], any::<bool>()), 0..60),
            n in 0usize..70,
        ) {
            let time: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let roles: Vec<Role> = rows.iter().map(|row| if row.1 { Role::Train } else { Role::Unused }).collect();
            let mut sorted: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].1).collect();
            sorted.sort_by_key(|&row| time[row]);
            sorted.truncate(n);
            sorted.sort_unstable();
            let mut earliest = Earliest::new(&time, &roles, n);
            let taken: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].1 && earliest.takes(time[row])).collect();
            prop_assert_eq!(taken, sorted);
        }
    }
}
