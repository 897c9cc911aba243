//! From roles to a split that training and evaluation can take: dense ids, and nothing in the held-out parts that a
//! model could not be asked for. Rows are not copied: a split says for each row of the log what became of it, with one
//! byte, and renames ids.

use std::ops::{AddAssign, Range};

use rayon::prelude::*;

use super::audit::EXAMPLES;
use super::{Assigned, Domain, Fate, HeldOut, Log, Role, ShiftError, Ties};
use crate::data::Interactions;
use crate::data::tabulate::{bound, tabulate};

/// A finished split of a log. Its ids are dense by first appearance in train; each of them occurs there, but for items
/// that are kept although train lacks them: these come last.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// What each row of the log is used for; [`Role::Unused`] also where a row was dropped.
    pub roles: Vec<Role>,
    pub users: Renamed,
    pub items: Renamed,
    /// How many of the items occur in train.
    pub seen_items: usize,
    /// By new id, where there are two domains: that of each item.
    pub domains: Option<Vec<Option<Domain>>>,
    /// What was found before rows were dropped.
    pub found: RoleCounts,
    /// What is tied where parts are cut off in time, before rows were dropped.
    pub ties: Vec<Ties>,
    /// Rows that are kept of each item, by [`Role::index`] and former id.
    pub(super) kept_of_item: Kept,
    /// What was counted on the way, by name.
    pub counts: Vec<(String, i64)>,
}

/// Ids renamed by first appearance in train.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// By former id; [`UNSEEN`] where train has none.
    pub new_id: Vec<u32>,
    /// By new id.
    pub old_id: Vec<u32>,
}

/// No new id: unseen in train.
pub const UNSEEN: u32 = u32::MAX;

/// What the roles of a rule contained, by [`Role::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleCounts {
    pub rows: [usize; Role::COUNT],
    /// Rows that repeat a pair of their own role, and are dropped for it.
    pub repeated: [usize; Role::COUNT],
    /// Distinct pairs whose user or item train lacks.
    pub unseen: [usize; Role::COUNT],
    pub unseen_users: [usize; Role::COUNT],
    pub unseen_items: [usize; Role::COUNT],
    /// Users and items with rows, whatever their roles.
    present: [usize; 2],
    /// Distinct pairs that two roles share; symmetric.
    pub shared: [[usize; Role::COUNT]; Role::COUNT],
    /// The same, of pairs that are kept.
    pub shared_and_kept: [[usize; Role::COUNT]; Role::COUNT],
    /// Rows that are kept, and their users.
    kept: [usize; Role::COUNT],
    pub users: [usize; Role::COUNT],
    pub(super) examples: Examples,
}

/// Counts of each id, by [`Role::index`].
pub(super) type Kept = [Vec<u32>; Role::COUNT];

/// The first rows, by user, of what was found in each role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Examples {
    pub repeated: [Vec<u32>; Role::COUNT],
    pub unseen: [Vec<u32>; Role::COUNT],
    /// Rows whose pair another role has.
    pub shared: [Vec<u32>; Role::COUNT],
}

impl Split {
    pub(super) fn new(log: &Log, assigned: Assigned, held_out: HeldOut) -> Result<Self, ShiftError> {
        let mut roles = assigned.roles;
        let by_user = assigned.by_user.unwrap_or_else(|| log.roles_by_user(&roles));
        let marks = RolesById::new(&log.rows.item, &roles);
        let Inspected { found, kept_of_item, first_of_user, first_of_item, dropped } =
            inspect(log, &by_user, &marks, assigned.domains.is_none(), held_out);
        if found.rows[Role::Train.index()] == 0 {
            return Err(ShiftError::NothingToTrainOn);
        }
        dropped.into_iter().flatten().for_each(|row| roles[row as usize] = Role::Unused);
        let (users, mut items) = rayon::join(|| Renamed::new(&first_of_user), || Renamed::new(&first_of_item));
        let seen_items = items.old_id.len();
        if held_out.unseen == Fate::Keep {
            let held_out = log.rows.item.iter().zip(&roles).filter(|(_, role)| Role::HELD_OUT.contains(role));
            held_out.for_each(|(&item, _)| items.add(item));
        }
        let domain = |domains: Vec<Option<Domain>>| items.old_id.iter().map(|&item| domains[item as usize]).collect();
        let domains = assigned.domains.map(domain);
        let counts = counts(&found, &users, &items, seen_items);
        Ok(Self { roles, users, items, seen_items, domains, found, ties: assigned.ties, kept_of_item, counts })
    }

    /// The value counted under `name`.
    pub fn count(&self, name: &str) -> Option<i64> {
        self.counts.iter().find(|(own, _)| own == name).map(|&(_, value)| value)
    }

    /// The rows of the log in `range` that have `role`, with the ids of the split. Long parts are taken piece by piece.
    pub fn part(&self, log: &Interactions, role: Role, range: Range<usize>) -> Interactions {
        let mut part = log.take(&[]);
        part.reserve(self.roles[range.clone()].iter().filter(|&&own| own == role).count());
        each_where(range, |row| self.roles[row] == role, |rows| part.add(log, rows));
        part.user.iter_mut().for_each(|user| *user = self.users.new_id[*user as usize]);
        part.item.iter_mut().for_each(|item| *item = self.items.new_id[*item as usize]);
        part
    }
}

/// Rows that are looked at before those that were found are passed on.
const BLOCK: usize = 4096;

/// Passes the rows that are wanted to `each`, many at a time. For wishes that follow no pattern, such as a role: every
/// row is written down, and overwritten by the next one if it is not wanted.
pub(super) fn each_where(rows: Range<usize>, wanted: impl Fn(usize) -> bool, mut each: impl FnMut(&[usize])) {
    let mut found = [0; BLOCK + 1];
    for first in rows.clone().step_by(BLOCK) {
        let mut n = 0;
        for row in first..rows.end.min(first + BLOCK) {
            found[n] = row;
            n += usize::from(wanted(row));
        }
        each(&found[..n]);
    }
}

impl RoleCounts {
    /// Distinct pairs of a held-out role that train has too.
    pub fn also_in_train(&self, role: Role) -> usize {
        self.shared[Role::Train.index()][role.index()]
    }

    /// Rows of a role that are kept.
    pub fn kept(&self, role: Role) -> usize {
        self.kept[role.index()]
    }
}

impl AddAssign for RoleCounts {
    fn add_assign(&mut self, other: Self) {
        let add = |own: &mut [usize; Role::COUNT], other: [usize; Role::COUNT]| {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        };
        add(&mut self.rows, other.rows);
        add(&mut self.repeated, other.repeated);
        add(&mut self.unseen, other.unseen);
        add(&mut self.unseen_users, other.unseen_users);
        add(&mut self.unseen_items, other.unseen_items);
        self.present.iter_mut().zip(other.present).for_each(|(own, other)| *own += other);
        add(&mut self.kept, other.kept);
        add(&mut self.users, other.users);
        self.shared.iter_mut().zip(other.shared).for_each(|(own, other)| add(own, other));
        self.shared_and_kept.iter_mut().zip(other.shared_and_kept).for_each(|(own, other)| add(own, other));
        let more = |own: &mut [Vec<u32>; Role::COUNT], other: [Vec<u32>; Role::COUNT]| {
            own.iter_mut().zip(other).for_each(|(own, other)| other.into_iter().for_each(|row| example(own, row)));
        };
        more(&mut self.examples.repeated, other.examples.repeated);
        more(&mut self.examples.unseen, other.examples.unseen);
        more(&mut self.examples.shared, other.examples.shared);
    }
}

fn example(examples: &mut Vec<u32>, row: u32) {
    if examples.len() < EXAMPLES && !examples.contains(&row) {
        examples.push(row);
    }
}

/// In which roles each id occurs: bit [`Role::index`].
struct RolesById(Vec<u8>);

impl RolesById {
    fn new(ids: &[u32], roles: &[Role]) -> Self {
        let mark = |rows: Range<usize>, marks: &mut [u8]| {
            let rows = ids[rows.clone()].iter().zip(&roles[rows]);
            rows.for_each(|(&id, role)| marks[id as usize] |= role.bit());
        };
        Self(tabulate(ids.len(), bound(ids), 0, mark, |a, b| a | b))
    }

    fn has(&self, id: usize, role: Role) -> bool {
        self.0[id] & role.bit() != 0
    }

    /// How many ids occur at all.
    fn present(&self) -> usize {
        self.0.iter().filter(|&&marks| marks != 0).count()
    }

    /// How many ids occur in `role`, but not in train.
    fn unseen(&self, role: Role) -> usize {
        let unseen = |marks: u8| marks & role.bit() != 0 && marks & Role::Train.bit() == 0;
        self.0.iter().filter(|&&marks| unseen(marks)).count()
    }
}

/// What [`inspect`] answers.
struct Inspected {
    found: RoleCounts,
    kept_of_item: Kept,
    /// The first training row of each user, and [`UNSEEN`] where there is none.
    first_of_user: Vec<u32>,
    first_of_item: Vec<u32>,
    dropped: Vec<Vec<u32>>,
}

/// Looks at the pairs of every user, and says which rows to drop: those that repeat training pairs only if `once`.
fn inspect(log: &Log, by_user: &[Role], of_item: &RolesById, once: bool, held_out: HeldOut) -> Inspected {
    let stretches = log.by_user.in_parallel(|users| {
        let mut found = RoleCounts::default();
        let mut dropped = Vec::new();
        let mut pairs = Pairs::new(of_item.0.len());
        let mut kept_of_item: Kept = std::array::from_fn(|_| vec![0; of_item.0.len()]);
        let (mut first_of_user, mut first_of_item) = (Vec::new(), vec![UNSEEN; of_item.0.len()]);
        for user in users {
            pairs.turn();
            let mut kept_rows = [0; Role::COUNT];
            let mut keep = |item: usize, role: Role| {
                kept_of_item[role.index()][item] += 1;
                kept_rows[role.index()] += 1;
            };
            let roles = &by_user[log.by_user.range(user)];
            let own = || log.of_user(user).iter().zip(roles).map(|(&(row, item), &role)| (row, item as usize, role));
            let mut training = own().filter(|&(_, _, role)| role == Role::Train).peekable();
            let first = training.peek().map(|&(row, _, _)| row);
            first_of_user.extend(first.map(|row| (user, row)));
            // Train first: what stands there decides about the others, wherever their rows are.
            for (row, item, role) in training {
                first_of_item[item] = row.min(first_of_item[item]);
                if pairs.add(item, Role::Train) & Role::Train.bit() != 0 && once {
                    found.repeated[Role::Train.index()] += 1;
                    example(&mut found.examples.repeated[Role::Train.index()], row);
                    dropped.push(row);
                } else {
                    keep(item, role);
                }
            }
            let mut of_user = 0;
            for (row, item, role) in own() {
                found.rows[role.index()] += 1;
                of_user |= role.bit();
                if matches!(role, Role::Train | Role::Unused) {
                    continue;
                }
                let before = pairs.add(item, role);
                if before & role.bit() != 0 {
                    found.repeated[role.index()] += 1;
                    example(&mut found.examples.repeated[role.index()], row);
                    dropped.push(row);
                    continue;
                }
                let seen = first.is_some() && of_item.has(item, Role::Train);
                let asked = seen || (first.is_some() && held_out.unseen == Fate::Keep);
                let kept = asked && (before & Role::Train.bit() == 0 || held_out.in_train == Fate::Keep);
                if !seen {
                    found.unseen[role.index()] += 1;
                    example(&mut found.examples.unseen[role.index()], row);
                }
                if kept {
                    keep(item, role)
                } else {
                    dropped.push(row)
                }
                for other in Role::USED.into_iter().filter(|other| before & other.bit() != 0) {
                    example(&mut found.examples.shared[role.index()], row);
                    example(&mut found.examples.shared[other.index()], row);
                    for (a, b) in [(role, other), (other, role)] {
                        found.shared[a.index()][b.index()] += 1;
                        found.shared_and_kept[a.index()][b.index()] += usize::from(kept);
                    }
                }
            }
            found.present[0] += usize::from(of_user != 0);
            for role in Role::USED {
                let occurs = of_user & role.bit() != 0;
                found.unseen_users[role.index()] += usize::from(occurs && first.is_none());
                found.kept[role.index()] += kept_rows[role.index()];
                found.users[role.index()] += usize::from(kept_rows[role.index()] > 0);
            }
        }
        (found, kept_of_item, first_of_user, first_of_item, dropped)
    });
    let mut found = RoleCounts::default();
    let mut kept_of_item: Kept = std::array::from_fn(|_| vec![0; of_item.0.len()]);
    let (mut first_of_user, mut first_of_item) = (vec![UNSEEN; log.by_user.n_ids()], vec![UNSEEN; of_item.0.len()]);
    let mut dropped = Vec::with_capacity(stretches.len());
    for (more, kept, users, items, rows) in stretches {
        found += more;
        kept_of_item.iter_mut().flatten().zip(kept.iter().flatten()).for_each(|(own, more)| *own += more);
        users.into_iter().for_each(|(user, row)| first_of_user[user] = row);
        first_of_item.iter_mut().zip(items).for_each(|(own, row)| *own = row.min(*own));
        dropped.push(rows);
    }
    found.present[1] = of_item.present();
    for role in Role::HELD_OUT {
        found.unseen_items[role.index()] = of_item.unseen(role);
    }
    Inspected { found, kept_of_item, first_of_user, first_of_item, dropped }
}

/// The roles in which the items of one user at a time occur: bit [`Role::index`].
pub(super) struct Pairs {
    turn: u32,
    /// By item: the last turn in which a pair of it was added, and in the lowest bits its roles in that turn.
    last: Vec<u32>,
}

impl Pairs {
    const ROLES: u32 = Role::COUNT as u32;

    pub fn new(n_items: usize) -> Self {
        Self { turn: 0, last: vec![0; n_items] }
    }

    /// From here on, pairs are those of the next user.
    pub fn turn(&mut self) {
        self.turn += 1;
        if self.turn >> (u32::BITS - Self::ROLES) != 0 {
            self.last.fill(0);
            self.turn = 1;
        }
    }

    /// Adds a pair in a role; answers the roles that it had before.
    pub fn add(&mut self, item: usize, role: Role) -> u8 {
        let last = &mut self.last[item];
        let before = if *last >> Self::ROLES == self.turn { *last as u8 & ((1 << Self::ROLES) - 1) } else { 0 };
        *last = self.turn << Self::ROLES | u32::from(before | role.bit());
        before
    }
}

impl Renamed {
    /// `first` has the first training row of each id; [`UNSEEN`] where there is none.
    fn new(first: &[u32]) -> Self {
        let mut old_id: Vec<u32> = (0..).zip(first).filter(|&(_, &row)| row != UNSEEN).map(|(id, _)| id).collect();
        old_id.par_sort_unstable_by_key(|&id| first[id as usize]);
        let mut new_id = vec![UNSEEN; first.len()];
        (0..).zip(&old_id).for_each(|(new, &old)| new_id[old as usize] = new);
        Self { new_id, old_id }
    }

    /// Gives a former id a new one after the others, if it has none.
    fn add(&mut self, old: u32) {
        let new = &mut self.new_id[old as usize];
        if *new == UNSEEN {
            *new = self.old_id.len() as u32;
            self.old_id.push(old);
        }
    }
}

fn counts(found: &RoleCounts, users: &Renamed, items: &Renamed, seen_items: usize) -> Vec<(String, i64)> {
    let mut counts = Vec::new();
    let mut count = |name: String, value: usize| counts.push((name, value as i64));
    for role in Role::USED {
        let (name, index) = (role.name(), role.index());
        count(format!("{name}.rows_before"), found.rows[index]);
        count(format!("{name}.repeated"), found.repeated[index]);
        if role != Role::Train {
            count(format!("{name}.unseen_in_train"), found.unseen[index]);
            count(format!("{name}.also_in_train"), found.also_in_train(role));
        }
        count(format!("{name}.rows"), found.kept(role));
    }
    for (a, b) in [(Role::Valid, Role::Iid), (Role::Valid, Role::Ood), (Role::Iid, Role::Ood)] {
        count(format!("in_{}_and_{}", a.name(), b.name()), found.shared_and_kept[a.index()][b.index()]);
    }
    count("rows_without_role".to_owned(), found.rows[Role::Unused.index()]);
    count("users".to_owned(), users.old_id.len());
    count("items".to_owned(), items.old_id.len());
    count("users_not_in_train".to_owned(), found.present[0] - users.old_id.len());
    count("items_not_in_train".to_owned(), found.present[1] - seen_items);
    counts
}
