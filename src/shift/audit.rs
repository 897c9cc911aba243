//! What a split contains, measured: what leaks between its parts, what they lack, and how far their popularity lies from
//! that of train. A pure function of a log and its split.

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
        let mut audit = Self { measures: Vec::new(), counts: item_counts(log, split), breaches: Vec::new() };
        audit.contents(log, split);
        audit.leaks(split);
        audit.time_travel(log, split);
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

    fn contents(&mut self, log: &Log, split: &Split) {
        let mut roles_of_user = vec![0u8; split.users.old_id.len()];
        for (&user, role) in log.rows.user.iter().zip(&split.roles).filter(|&(_, &role)| role != Role::Unused) {
            roles_of_user[split.users.new_id[user as usize] as usize] |= role.bit();
        }
        for role in Role::USED.into_iter().filter(|role| split.found.rows[role.index()] > 0) {
            let users = roles_of_user.iter().filter(|&&roles| roles & role.bit() != 0).count();
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
    fn time_travel(&mut self, log: &Log, split: &Split) {
        let Some(time) = &log.rows.time else { return };
        let mut last_of_user = vec![i64::MIN; split.users.old_id.len()];
        let user = |row: usize| split.users.new_id[log.rows.user[row] as usize] as usize;
        for row in (0..time.len()).filter(|&row| split.roles[row] == Role::Train) {
            let last = &mut last_of_user[user(row)];
            *last = time[row].max(*last);
        }
        let last_of_all = last_of_user.iter().max().copied().unwrap_or(i64::MIN);
        let parts = self.parts();
        let test = if parts.contains(&Role::Ood) { Role::Ood } else { Role::Iid };
        for role in parts.into_iter().filter(|&role| role != Role::Train) {
            let own = || (0..time.len()).filter(|&row| split.roles[row] == role);
            for (name, check) in [("time_travel", Check::TimeTravel), ("time_travel_global", Check::TimeTravelGlobal)] {
                let global = check == Check::TimeTravelGlobal;
                let last = |row: usize| if global { last_of_all } else { last_of_user[user(row)] };
                let earlier = || own().filter(|&row| time[row] < last(row));
                let count = earlier().count();
                self.add(role, name, count as f64 / split.found.kept(role) as f64);
                if role == test {
                    let rows: Vec<u32> = earlier().take(EXAMPLES).map(|row| row as u32).collect();
                    self.breach(check, role, count, &rows);
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

fn item_counts(log: &Log, split: &Split) -> [Vec<u32>; Role::COUNT] {
    let mut counts: [Vec<u32>; Role::COUNT] = Default::default();
    Role::USED.into_iter().for_each(|role| counts[role.index()] = vec![0; split.items.old_id.len()]);
    for (&item, role) in log.rows.item.iter().zip(&split.roles).filter(|&(_, &role)| role != Role::Unused) {
        let item = split.items.new_id[item as usize];
        debug_assert_ne!(item, UNSEEN, "a kept row has an item that train has");
        counts[role.index()][item as usize] += 1;
    }
    counts
}
