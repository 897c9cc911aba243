//! What a split contains, measured: what leaks between its parts, what they lack, and how far their popularity lies from
//! that of train. A pure function of a log and its split.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::split::UNSEEN;
use super::{Log, Role, Split};
use crate::data::popularity;

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
        let seen = Seen::new(log, split);
        let mut audit = Self { measures: Vec::new(), counts: Default::default(), breaches: Vec::new() };
        for role in Role::USED {
            let counts = &seen.counts[role.index()];
            audit.counts[role.index()] = split.items.old_id.iter().map(|&item| counts[item as usize]).collect();
        }
        audit.contents(&seen, split);
        audit.leaks(split);
        audit.time_travel(&seen, log, split);
        audit.shift();
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

    fn contents(&mut self, seen: &Seen, split: &Split) {
        for role in Role::USED.into_iter().filter(|role| split.found.rows[role.index()] > 0) {
            let users = seen.users[role.index()];
            let items = self.counts[role.index()].iter().filter(|&&count| count > 0).count();
            self.add(role, "rows_before", split.found.rows[role.index()] as f64);
            self.add(role, "rows", split.found.kept(role) as f64);
            self.add(role, "users", users as f64);
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
    fn time_travel(&mut self, seen: &Seen, log: &Log, split: &Split) {
        let Some(time) = &log.rows.time else { return };
        let of_all = earlier_than(seen.last, time, &split.roles);
        let parts = self.parts();
        let test = if parts.contains(&Role::Ood) { Role::Ood } else { Role::Iid };
        for role in parts.into_iter().filter(|&role| role != Role::Train) {
            for (name, check, earlier) in [
                ("time_travel", Check::TimeTravel, &seen.earlier),
                ("time_travel_global", Check::TimeTravelGlobal, &of_all),
            ] {
                let earlier = &earlier[role.index()];
                self.add(role, name, earlier.count as f64 / split.found.kept(role) as f64);
                if role == test {
                    self.breach(check, role, earlier.count, &earlier.first);
                }
            }
        }
    }

    /// Popularity, and its distance from that of train.
    fn shift(&mut self) {
        let train = std::mem::take(&mut self.counts[Role::Train.index()]);
        let top = popularity::top(&train, TOP);
        let parts = self.parts().into_iter().filter(|&role| role != Role::Train);
        for role in [Role::Train].into_iter().chain(parts.collect::<Vec<_>>()) {
            let own = if role == Role::Train { &train } else { &self.counts[role.index()] };
            let values = [
                ("gini_all", popularity::gini(own)),
                ("gini_present", popularity::gini_of_present(own)),
                ("top_share", popularity::share_on(own, &popularity::top(own, TOP))),
                ("top_train_share", popularity::share_on(own, &top)),
                ("mean_train_count", popularity::mean_count_elsewhere(own, &train)),
                ("js_train", Some(popularity::jensen_shannon(own, &train))),
                ("log_correlation", popularity::correlation_of_logs(own, &train)),
            ];
            values.into_iter().for_each(|(name, value)| {
                self.measures.extend(value.map(|value| Measure { part: role, name, against: None, value }));
            });
        }
        self.counts[Role::Train.index()] = train;
    }
}

/// What one pass over the rows of each user finds.
struct Seen {
    /// How often each item (former ids) occurs in each part, by [`Role::index`].
    counts: [Vec<u32>; Role::COUNT],
    /// How many users each part has.
    users: [usize; Role::COUNT],
    /// The time of the last training row.
    last: i64,
    /// Rows that are earlier than the last training row of their user.
    earlier: [Rows; Role::COUNT],
}

/// How many rows were found, and the first ones.
#[derive(Clone, Debug, Default)]
struct Rows {
    count: usize,
    first: Vec<u32>,
}

impl Rows {
    /// Rows may come in any order.
    fn add(&mut self, row: u32) {
        self.count += 1;
        self.keep(row);
    }

    fn keep(&mut self, row: u32) {
        if self.first.len() < EXAMPLES || self.first.last().is_some_and(|&last| row < last) {
            self.first.insert(self.first.partition_point(|&own| own < row), row);
            self.first.truncate(EXAMPLES);
        }
    }

    fn append(&mut self, other: &Self) {
        self.count += other.count;
        other.first.iter().for_each(|&row| self.keep(row));
    }
}

impl Seen {
    fn new(log: &Log, split: &Split) -> Self {
        let time = log.rows.time.as_deref();
        let mut stretches = log.by_user.in_parallel(|users| {
            let mut seen = Self::empty(split.items.new_id.len());
            let mut held_out = Vec::new();
            for user in users {
                let (mut roles, mut last) = (0, i64::MIN);
                held_out.clear();
                for (row, item) in log.of_user(user) {
                    let role = split.roles[row as usize];
                    if role == Role::Unused {
                        continue;
                    }
                    debug_assert_ne!(split.items.new_id[item as usize], UNSEEN, "train has the items of kept rows");
                    roles |= role.bit();
                    seen.counts[role.index()][item as usize] += 1;
                    let Some(time) = time else { continue };
                    match role {
                        Role::Train => last = last.max(time[row as usize]),
                        _ => held_out.push((row, role, time[row as usize])),
                    }
                }
                for role in Role::USED.into_iter().filter(|role| roles & role.bit() != 0) {
                    seen.users[role.index()] += 1;
                }
                for &(row, role, _) in held_out.iter().filter(|&&(_, _, time)| time < last) {
                    seen.earlier[role.index()].add(row);
                }
                seen.last = seen.last.max(last);
            }
            seen
        });
        let first = stretches.pop().unwrap_or_else(|| Self::empty(split.items.new_id.len()));
        stretches.iter().fold(first, Self::and)
    }

    fn empty(n_items: usize) -> Self {
        let counts = std::array::from_fn(|_| vec![0; n_items]);
        Self { counts, users: Default::default(), last: i64::MIN, earlier: Default::default() }
    }

    fn and(mut self, other: &Self) -> Self {
        for role in 0..Role::COUNT {
            self.counts[role].iter_mut().zip(&other.counts[role]).for_each(|(own, other)| *own += other);
            self.users[role] += other.users[role];
            self.earlier[role].append(&other.earlier[role]);
        }
        self.last = self.last.max(other.last);
        self
    }
}

/// How many rows one task looks at.
const ROWS: usize = 1 << 16;

/// The rows of each role before a time.
fn earlier_than(last: i64, time: &[i64], roles: &[Role]) -> [Rows; Role::COUNT] {
    let stretches = roles.par_chunks(ROWS).zip(time.par_chunks(ROWS)).enumerate().map(|(index, (roles, time))| {
        let mut earlier: [Rows; Role::COUNT] = Default::default();
        let rows = (index * ROWS..).zip(roles).zip(time).filter(|&(_, &time)| time < last);
        rows.for_each(|((row, role), _)| earlier[role.index()].add(row as u32));
        earlier
    });
    stretches.reduce(Default::default, |mut earlier, more| {
        earlier.iter_mut().zip(&more).for_each(|(own, more)| own.append(more));
        earlier
    })
}
