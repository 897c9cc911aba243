//! What a split contains, measured: what leaks between its parts, what they lack, and how far their popularity lies from
//! that of train. A pure function of a log and its split.

use std::ops::Range;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::split::each_where;
use super::{Log, Role, Split};
use crate::data::popularity;
use crate::data::tabulate::tabulate;

/// The share of items that counts as the most popular ones.
const TOP: f64 = 0.2;

/// A rule that a split may have to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// No pair is in two parts, before pairs are dropped.
    Overlap,
    /// No pair is twice in one part, before repeats are dropped.
    Duplicates,
    /// Train has every user and item of the other parts, before rows are dropped.
    Unseen,
    /// No row of the test is earlier than the last training row of its user. The test is `ood`; where that is empty, `iid`.
    TimeTravel,
    /// No row of the test is earlier than the last training row of all.
    TimeTravelGlobal,
    /// No part is cut off in time between rows of equal time, of which the order of the rows then decides.
    TimeTies,
}

impl Check {
    /// As written in pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Duplicates => "duplicates",
            Self::Unseen => "unseen",
            Self::TimeTravel => "time_travel",
            Self::TimeTravelGlobal => "time_travel_global",
            Self::TimeTies => "time_ties",
        }
    }
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    pub part: Role,
    pub name: &'static str,
    /// The other part, where two are compared.
    pub against: Option<Role>,
    pub value: f64,
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub measures: Vec<Measure>,
    /// How often each item (new ids) occurs in each part, by [`Role::index`].
    pub counts: [Vec<u32>; Role::COUNT],
    breaches: Vec<Breach>,
}

/// What breaks a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    pub check: Check,
    pub part: Role,
    pub count: usize,
    /// The first of the rows of the log that break it.
    pub rows: Vec<u32>,
}

/// Up to this many rows are kept as examples of what was found.
pub(super) const EXAMPLES: usize = 3;

impl Audit {
    pub fn new(log: &Log, split: &Split) -> Self {
        let mut audit = Self { measures: Vec::new(), counts: Default::default(), breaches: Vec::new() };
        for role in Role::USED {
            let count = |&item: &u32| split.kept_of_item[role.index()][item as usize];
            audit.counts[role.index()] = split.items.old_id.iter().map(count).collect();
        }
        audit.contents(split);
        audit.leaks(split);
        audit.time_travel(log, split);
        audit.time_ties(split);
        audit.shift(split.seen_items);
        let order = |measure: &Measure| measure.part.index();
        audit.measures.sort_by_key(order);
        audit
    }

    /// What breaks the rules of `strict`, in its order.
    pub fn breaches(&self, strict: &[Check]) -> impl Iterator<Item = &Breach> {
        strict.iter().flat_map(|&check| self.breaches.iter().filter(move |breach| breach.check == check))
    }

    /// The value of a measure, if there is one.
    pub fn value(&self, part: Role, name: &str) -> Option<f64> {
        let wanted = |measure: &&Measure| measure.part == part && measure.name == name;
        self.measures.iter().find(wanted).map(|measure| measure.value)
    }

    fn add(&mut self, part: Role, name: &'static str, value: f64) {
        self.measures.push(Measure { part, name, against: None, value });
    }

    /// The parts whose rows the split keeps.
    fn parts(&self) -> Vec<Role> {
        let filled = |role: &Role| self.counts[role.index()].iter().any(|&count| count > 0);
        Role::USED.into_iter().filter(filled).collect()
    }

    fn contents(&mut self, split: &Split) {
        for role in Role::USED.into_iter().filter(|role| split.found.rows[role.index()] > 0) {
            let items = self.counts[role.index()].iter().filter(|&&count| count > 0).count();
            self.add(role, "rows_before", split.found.rows[role.index()] as f64);
            self.add(role, "rows", split.found.kept(role) as f64);
            self.add(role, "users", split.found.users[role.index()] as f64);
            self.add(role, "items", items as f64);
        }
    }

    /// What the roles contained before rows were dropped.
    fn leaks(&mut self, split: &Split) {
        let found = &split.found;
        let there: Vec<Role> = Role::USED.into_iter().filter(|role| found.rows[role.index()] > 0).collect();
        for &role in &there {
            let (index, mut overlap) = (role.index(), 0);
            self.add(role, "duplicates", found.repeated[index] as f64);
            for &other in there.iter().filter(|&&other| other != role) {
                let value = found.shared[index][other.index()];
                self.measures.push(Measure { part: role, name: "overlap", against: Some(other), value: value as f64 });
                overlap += value;
            }
            let examples = &found.examples;
            self.breach(Check::Duplicates, role, found.repeated[index], &examples.repeated[index]);
            self.breach(Check::Overlap, role, overlap, &examples.shared[index]);
            if role != Role::Train {
                let distinct = (found.rows[index] - found.repeated[index]) as f64;
                self.add(role, "unseen_users", found.unseen_users[index] as f64);
                self.add(role, "unseen_items", found.unseen_items[index] as f64);
                self.add(role, "cold_share", found.unseen[index] as f64 / distinct);
                self.breach(Check::Unseen, role, found.unseen[index], &examples.unseen[index]);
            }
        }
    }

    fn breach(&mut self, check: Check, part: Role, count: usize, rows: &[u32]) {
        if count > 0 {
            self.breaches.push(Breach { check, part, count, rows: rows.to_vec() });
        }
    }

    /// Rows earlier than what was learned from.
    fn time_travel(&mut self, log: &Log, split: &Split) {
        let Some(time) = &log.rows.time else { return };
        let early = Early::new(log, time, split);
        let parts = self.parts();
        let test = if parts.contains(&Role::Ood) { Role::Ood } else { Role::Iid };
        for role in parts.into_iter().filter(|&role| role != Role::Train) {
            let Early { of_user, of_all } = &early[role.index()];
            for (name, check, rows) in
                [("time_travel", Check::TimeTravel, of_user), ("time_travel_global", Check::TimeTravelGlobal, of_all)]
            {
                self.add(role, name, rows.count as f64 / split.found.kept(role) as f64);
                if role == test {
                    self.breach(check, role, rows.count, &rows.first);
                }
            }
        }
    }

    /// Rows that equal times left to chance, before rows were dropped.
    fn time_ties(&mut self, split: &Split) {
        for ties in split.ties.iter().filter(|ties| ties.rows > 0) {
            self.add(ties.part, "time_ties", ties.tied_users as f64 / ties.users as f64);
            self.add(ties.part, "time_ties_rows", ties.tied_rows as f64 / ties.rows as f64);
            self.breach(Check::TimeTies, ties.part, ties.tied_rows, &ties.examples);
        }
    }

    /// Popularity, and its distance from that of train, over the items of train, which come first.
    fn shift(&mut self, items: usize) {
        let all = std::mem::take(&mut self.counts[Role::Train.index()]);
        let train = &all[..items];
        let top = popularity::top(train, TOP);
        let parts = self.parts().into_iter().filter(|&role| role != Role::Train);
        for role in [Role::Train].into_iter().chain(parts.collect::<Vec<_>>()) {
            let own = if role == Role::Train { train } else { &self.counts[role.index()][..items] };
            let values = [
                ("gini_all", popularity::gini(own)),
                ("gini_present", popularity::gini_of_present(own)),
                ("top_share", popularity::share_on(own, &popularity::top(own, TOP))),
                ("top_train_share", popularity::share_on(own, &top)),
                ("mean_train_count", popularity::mean_count_elsewhere(own, train)),
                ("js_train", Some(popularity::jensen_shannon(own, train))),
                ("log_correlation", popularity::correlation_of_logs(own, train)),
            ];
            values.into_iter().for_each(|(name, value)| {
                self.measures.extend(value.map(|value| Measure { part: role, name, against: None, value }));
            });
        }
        self.counts[Role::Train.index()] = all;
    }
}

/// The time of the last training row of each user; the earliest there is where they have none.
fn last_of_user(user: &[u32], time: &[i64], split: &Split) -> Vec<i64> {
    let training = |row: usize| split.roles[row] == Role::Train;
    let look = |rows: Range<usize>, last: &mut [i64]| {
        each_where(rows, training, |rows| {
            for &row in rows {
                let last = &mut last[user[row] as usize];
                *last = time[row].max(*last);
            }
        });
    };
    tabulate(user.len(), split.users.new_id.len(), i64::MIN, look, i64::max)
}

/// Rows that lie before what was learned from.
#[derive(Clone, Debug, Default)]
struct Early {
    /// Before the last training row of their user.
    of_user: EarlyRows,
    /// Before the last training row of all.
    of_all: EarlyRows,
}

/// How many rows there are, and the first ones.
#[derive(Clone, Debug, Default)]
struct EarlyRows {
    count: usize,
    first: Vec<u32>,
}

impl EarlyRows {
    fn add(&mut self, row: usize) {
        self.count += 1;
        if self.first.len() < EXAMPLES {
            self.first.push(row as u32);
        }
    }

    /// Adds rows that follow these.
    fn append(&mut self, next: &Self) {
        self.count += next.count;
        self.first.extend(&next.first);
        self.first.truncate(EXAMPLES);
    }
}

/// How many rows one task looks at.
const ROWS: usize = 1 << 16;

impl Early {
    /// By [`Role::index`].
    fn new(log: &Log, time: &[i64], split: &Split) -> [Self; Role::COUNT] {
        let last = last_of_user(&log.rows.user, time, split);
        let last_of_all = last.iter().max().copied().unwrap_or(i64::MIN);
        let stretches = (0..time.len()).into_par_iter().step_by(ROWS).map(|first| {
            let mut early: [Self; Role::COUNT] = Default::default();
            let held_out = |row: usize| Role::HELD_OUT.contains(&split.roles[row]) && time[row] < last_of_all;
            each_where(first..time.len().min(first + ROWS), held_out, |rows| {
                for &row in rows {
                    let early = &mut early[split.roles[row].index()];
                    early.of_all.add(row);
                    if time[row] < last[log.rows.user[row] as usize] {
                        early.of_user.add(row);
                    }
                }
            });
            early
        });
        stretches.reduce(Default::default, |mut early, next| {
            for (own, next) in early.iter_mut().zip(&next) {
                own.of_user.append(&next.of_user);
                own.of_all.append(&next.of_all);
            }
            early
        })
    }
}
