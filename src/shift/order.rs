//! Rows in the order of time: the earliest of a log, found without sorting it, and the sequence of each user.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::EXAMPLES;
use super::{Log, Role, ShiftError};
use crate::data::tabulate::{bound, tabulate};

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
    /// Shows the training rows of each user in order to `cut`, which may rearrange those before the roles that it cuts off
    /// by `time`, and gives those at the places that it answers another role. Answers what is tied at the cuts in time.
    ///
    /// # Errors
    /// The log has no times.
    pub fn each_user(
        self,
        log: &Log,
        roles: &mut [Role],
        by_time: &[Role],
        cut: impl Fn(usize, &mut [u32]) -> Vec<(Role, Range<usize>)> + Sync,
    ) -> Result<Vec<Ties>, ShiftError> {
        let time = match self {
            Self::Time => Some(log.rows.time.as_deref().ok_or(ShiftError::NoOrder)?),
            Self::Rows => None,
        };
        let moved = log.by_user.in_parallel(|users| {
            let mut moved: [Vec<u32>; Role::COUNT] = Default::default();
            let mut ties: Vec<Ties> = by_time.iter().map(|&part| Ties::new(part)).collect();
            let (mut own, mut times) = (Vec::new(), Vec::new());
            for user in users {
                own.clear();
                times.clear();
                let rows = log.of_user(user).iter().map(|&(row, _)| row);
                own.extend(rows.filter(|&row| roles[row as usize] == Role::Train));
                if let Some(time) = time {
                    own.sort_by_key(|&row: &u32| time[row as usize]);
                    times.extend(own.iter().map(|&row| time[row as usize]));
                }
                for (role, places) in cut(user, &mut own) {
                    if let Some(ties) = ties.iter_mut().find(|ties| ties.part == role && time.is_some()) {
                        ties.add(&times, &own, places.clone());
                    }
                    moved[role.index()].extend_from_slice(&own[places]);
                }
            }
            (moved, ties)
        });
        let mut ties: Vec<Ties> = by_time.iter().map(|&part| Ties::new(part)).collect();
        for (moved, more) in moved {
            ties.iter_mut().zip(more).for_each(|(own, more)| own.append(more));
            for (role, rows) in [Role::Unused].into_iter().chain(Role::USED).zip(moved) {
                rows.into_iter().for_each(|row| roles[row as usize] = role);
            }
        }
        Ok(ties)
    }
}

/// What equal times leave to the order of the rows where a part is cut off in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ties {
    /// The part after the cut.
    pub part: Role,
    /// Its users and rows, before any is dropped.
    pub users: usize,
    pub rows: usize,
    /// Those of them whose time rows before the cut have too.
    pub tied_users: usize,
    pub tied_rows: usize,
    /// The first of the tied rows.
    pub examples: Vec<u32>,
    /// The time of the cut, where it is one for all users.
    pub time: Option<i64>,
}

impl Ties {
    fn new(part: Role) -> Self {
        Self { part, users: 0, rows: 0, tied_users: 0, tied_rows: 0, examples: Vec::new(), time: None }
    }

    /// Adds the rows of a user, in order, of which those at `places` are cut off.
    fn add(&mut self, times: &[i64], rows: &[u32], places: Range<usize>) {
        self.users += usize::from(!places.is_empty());
        self.rows += places.len();
        let last = places.start.checked_sub(1).map(|before| times[before]);
        let tied = places.filter(|&place| Some(times[place]) == last);
        let before = self.tied_rows;
        tied.for_each(|place| self.tie(rows[place]));
        self.tied_users += usize::from(self.tied_rows > before);
    }

    fn tie(&mut self, row: u32) {
        self.tied_rows += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(row);
        }
    }

    fn append(&mut self, next: Self) {
        self.users += next.users;
        self.rows += next.rows;
        self.tied_users += next.tied_users;
        self.tied_rows += next.tied_rows;
        self.examples.extend(next.examples);
        self.examples.truncate(EXAMPLES);
    }

    /// Of a part that lies behind one cut for all users; `time` is that of the last row before it.
    pub fn at(log: &Log, times: &[i64], roles: &[Role], part: Role, time: i64) -> Self {
        let mut ties = Self { time: Some(time), ..Self::new(part) };
        let (own, tied) = (1u8, 2u8);
        let mark = |rows: Range<usize>, marks: &mut [u8]| {
            for row in rows.filter(|&row| roles[row] == part) {
                marks[log.rows.user[row] as usize] |= if times[row] == time { own | tied } else { own };
            }
        };
        let marks = tabulate(roles.len(), bound(&log.rows.user), 0, mark, |a, b| a | b);
        ties.users = marks.iter().filter(|&&marks| marks & own != 0).count();
        ties.tied_users = marks.iter().filter(|&&marks| marks & tied != 0).count();
        ties.rows = roles.par_iter().filter(|&&role| role == part).count();
        if ties.tied_users > 0 {
            let tied = (0u32..).zip(roles).zip(times).filter(|&((_, &role), &own)| role == part && own == time);
            tied.for_each(|((row, _), _)| ties.tie(row));
        }
        ties
    }
}

/// The training rows in the order of time: earlier times first, and of equal times earlier rows. Places in it come from
/// radix selection, which needs no memory per row.
pub struct ByTime<'a> {
    time: &'a [i64],
    roles: &'a [Role],
    /// The [`key`] of the earliest.
    first: u64,
    /// How many bits the keys have beyond `first`.
    bits: u32,
    /// How many rows there are of each value of the first digit.
    counts: Vec<usize>,
}

/// The earliest rows: all up to this time and, of this time, this row.
#[derive(Clone, Copy, Debug)]
pub struct Earliest(Option<(i64, usize)>);

impl Earliest {
    /// Whether a training row is one of them.
    pub fn has(self, row: usize, time: i64) -> bool {
        self.0.is_some_and(|last| (time, row) <= last)
    }

    /// The time of the last of them.
    pub fn last(self) -> Option<i64> {
        self.0.map(|(time, _)| time)
    }
}

/// Bits of a digit: its counts fit into a cache.
const DIGIT: u32 = 16;

impl<'a> ByTime<'a> {
    pub fn new(time: &'a [i64], roles: &'a [Role]) -> Self {
        let mut rows = Self { time, roles, first: 0, bits: 0, counts: Vec::new() };
        let widen = |(first, last): (u64, u64), other: (u64, u64)| (first.min(other.0), last.max(other.1));
        let none = (u64::MAX, u64::MIN);
        let bounds = rows.stretches(|stretch| rows.keys(stretch).map(|(_, key)| (key, key)).fold(none, widen));
        let (first, last) = bounds.into_iter().fold(none, widen);
        (rows.first, rows.bits) = (first, u64::BITS - last.saturating_sub(first).leading_zeros());
        rows.counts = rows.digits(first, rows.bits);
        rows
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// The `n` earliest; all if there are fewer.
    pub fn earliest(&self, n: usize) -> Earliest {
        if n == 0 {
            return Earliest(None);
        }
        Earliest(Some(self.nth(n).unwrap_or((i64::MAX, usize::MAX))))
    }

    /// The time and the row of the `n`-th, from 1.
    fn nth(&self, n: usize) -> Option<(i64, usize)> {
        // The `rest`-th is wanted of those with keys of `bits` bits beyond `first`.
        let (mut first, mut bits, mut rest) = (self.first, self.bits, n);
        let mut counts = Cow::Borrowed(&self.counts);
        loop {
            let digit = holder(&counts, &mut rest)?;
            bits = bits.saturating_sub(DIGIT);
            first += (digit as u64) << bits;
            if bits == 0 {
                break;
            }
            counts = Cow::Owned(self.digits(first, bits));
        }
        let equal = |stretch| self.keys(stretch).filter(move |&(_, key)| key == first);
        let stretch = holder(&self.stretches(|stretch| equal(stretch).count()), &mut rest)?;
        equal(stretch).nth(rest - 1).map(|(row, key)| (time_of(key), row))
    }

    /// How many rows there are of each value of the first digit of keys with `bits` bits beyond `first`.
    fn digits(&self, first: u64, bits: u32) -> Vec<usize> {
        let shift = bits.saturating_sub(DIGIT);
        let n = 1 << (bits - shift);
        let counts = self.stretches(|stretch| {
            let mut counts = vec![0u32; n];
            for (_, key) in self.keys(stretch) {
                let digit = key.checked_sub(first).map(|beyond| (beyond >> shift) as usize);
                digit.and_then(|digit| counts.get_mut(digit)).into_iter().for_each(|count| *count += 1);
            }
            counts
        });
        (0..n).map(|digit| counts.iter().map(|counts| counts[digit] as usize).sum()).collect()
    }

    /// Does something with each stretch of rows, side by side.
    fn stretches<T: Send>(&self, work: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        (0..rayon::current_num_threads()).into_par_iter().map(work).collect()
    }

    /// The training rows of a stretch, and their keys.
    fn keys(&self, stretch: usize) -> impl Iterator<Item = (usize, u64)> + use<'a> {
        let n = self.time.len();
        let length = n.div_ceil(rayon::current_num_threads());
        let rows = (stretch * length).min(n)..((stretch + 1) * length).min(n);
        let (time, roles) = (&self.time[rows.clone()], &self.roles[rows.clone()]);
        let training = rows.zip(time).zip(roles).filter(|&(_, &role)| role == Role::Train);
        training.map(|((row, &time), _)| (row, key(time)))
    }
}

/// Which of these, one after the other, holds the `rest`-th; `rest` is then its number within that one.
fn holder(counts: &[usize], rest: &mut usize) -> Option<usize> {
    counts.iter().position(|&count| {
        let found = *rest <= count;
        *rest -= if found { 0 } else { count };
        found
    })
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
            rows in prop::collection::vec((prop_oneof![-3i64..3, 0i64..1 << 40, any::<i64>()], any::<bool>()), 0..60),
            n in 0usize..70,
        ) {
            let time: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let roles: Vec<Role> = rows.iter().map(|row| if row.1 { Role::Train } else { Role::Unused }).collect();
            let mut sorted: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].1).collect();
            sorted.sort_by_key(|&row| time[row]);
            sorted.truncate(n);
            sorted.sort_unstable();
            let by_time = ByTime::new(&time, &roles);
            prop_assert_eq!(by_time.len(), rows.iter().filter(|row| row.1).count());
            let earliest = by_time.earliest(n);
            let taken: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].1 && earliest.has(row, time[row])).collect();
            prop_assert_eq!(taken, sorted);
        }
    }
}
