//! Split scenarios: which interactions a model learns from, chooses its epoch on, and is tested on, in distribution
//! and out of it. Pure functions of interactions and a seed; no I/O.
//!
//! A scenario is one file with a parameter struct that implements [`SplitRule`], and one variant of [`Scenario`].

mod audit;
mod cross_domain;
mod exposure;
mod given;
mod k_fold;
mod leave_one_out;
mod mixed;
mod order;
mod per_user;
mod popularity;
mod random;
mod split;
mod tail;
mod temporal;
mod temporal_per_user;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Interactions;
use crate::data::groups::{Groups, TooManyRows};
use crate::data::tabulate::bound;
use split::Pairs;

pub use audit::{Audit, Breach, Check, Measure};
pub use cross_domain::CrossDomain;
pub use exposure::Exposure;
pub use given::{Carve, Given};
pub use k_fold::KFold;
pub use leave_one_out::LeaveOneOut;
pub use mixed::Mixed;
pub use order::{Order, Ties};
pub use per_user::By;
pub use popularity::Popularity;
pub use random::Random;
pub use split::{Renamed, RoleCounts, Split};
pub use tail::Tail;
pub use temporal::Temporal;
pub use temporal_per_user::TemporalPerUser;

/// How interactions are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// The parts of the data are the split.
    Given(Given),
    /// Independent and identically distributed: a random share of each user, or of all.
    Random(Random),
    /// Independent and identically distributed, for cross-validation.
    KFold(KFold),
    /// Popularity shift: a test set in which all items count alike.
    Popularity(Popularity),
    /// Popularity shift: a test set of rare items.
    Tail(Tail),
    /// Temporal shift: the latest interactions of all are the test set.
    Temporal(Temporal),
    /// Temporal shift: the last interactions of each user are the test set.
    TemporalPerUser(TemporalPerUser),
    /// The last interaction of each user is the test set.
    LeaveOneOut(LeaveOneOut),
    /// Exposure shift: learned from a log, tested where exposure is full or uniform.
    Exposure(Exposure),
    /// Temporal and popularity shift at once.
    Mixed(Mixed),
    /// Recommendation in one domain with the help of another.
    CrossDomain(CrossDomain),
}

/// What a scenario must provide.
pub trait SplitRule {
    /// A mistake in the parameters that their types cannot express.
    fn mistake(&self) -> Option<String>;

    /// Gives rows their roles. Must depend on nothing but its arguments.
    ///
    /// # Errors
    /// The data lack something that the scenario needs.
    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError>;
}

/// What a row is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    #[default]
    Unused,
    Train,
    Valid,
    /// Test in distribution.
    Iid,
    /// Test out of distribution.
    Ood,
}

impl Role {
    pub const COUNT: usize = 5;
    pub const USED: [Self; 4] = [Self::Train, Self::Valid, Self::Iid, Self::Ood];
    pub const HELD_OUT: [Self; 3] = [Self::Valid, Self::Iid, Self::Ood];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Iid => "iid",
            Self::Ood => "ood",
        }
    }

    /// Position in arrays by role.
    pub fn index(self) -> usize {
        self as usize
    }

    /// For sets of roles in one byte.
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// The role of each row.
    pub roles: Vec<Role>,
    /// The same in the order of [`Log::of_user`], user by user, if the rule has them at hand.
    pub by_user: Option<Vec<Role>>,
    /// For data of two domains: that of each item, where known. Training rows are then sequences, in which pairs may occur
    /// again.
    pub domains: Option<Vec<Option<Domain>>>,
    /// What is tied where parts are cut off in time.
    pub ties: Vec<Ties>,
}

/// What becomes of rows that a model cannot be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They are left out, and counted.
    #[default]
    Drop,
    /// They stay, and are counted.
    Keep,
}

/// Which rows of validation and tests stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldOut {
    /// Those with an item that train lacks. A user that train lacks cannot be asked for in any case.
    pub unseen: Fate,
    /// Those whose pair train has too.
    pub in_train: Fate,
}

/// One of two domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Where is recommended.
    Target,
    /// What helps.
    Source,
}

impl Domain {
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Source => "source",
        }
    }
}

impl From<Vec<Role>> for Assigned {
    fn from(roles: Vec<Role>) -> Self {
        Self { roles, by_user: None, domains: None, ties: Vec::new() }
    }
}

/// Interactions and the parts in which they came.
#[derive(Clone, Debug)]
pub struct Log<'a> {
    pub rows: &'a Interactions,
    /// Index into `names` for each row.
    pub part: &'a [u32],
    /// The names of the parts, in the order in which they were read.
    pub names: &'a [String],
    by_user: Groups<(u32, u32)>,
}

/// The data do not allow the scenario.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    #[error("there is no part `{part}` in the data; there are: {}", names.join(", "))]
    NoPart { part: String, names: Vec<String> },
    #[error(
        "this scenario needs the times of interactions, and not all of these have one: name the column of times where the \
         data are read"
    )]
    NoTimes,
    #[error(
        "this scenario needs the order of each user's interactions, and not all of these have a time: name the column of \
         times where the data are read, or say `order: rows` if their rows are in order"
    )]
    NoOrder,
    #[error("nothing is left to train on")]
    NothingToTrainOn,
    #[error(
        "the parts of the two domains share items: where the data are read, give the items of two domains different keys"
    )]
    SharedItems,
    #[error("some items of the part `mixed` are neither in the part of the target nor in that of the source")]
    NoDomain,
    #[error(transparent)]
    TooManyRows(#[from] TooManyRows),
}

impl Scenario {
    fn rule(&self) -> &dyn SplitRule {
        match self {
            Self::Given(given) => given,
            Self::Random(random) => random,
            Self::KFold(fold) => fold,
            Self::Popularity(popularity) => popularity,
            Self::Tail(tail) => tail,
            Self::Temporal(temporal) => temporal,
            Self::TemporalPerUser(temporal) => temporal,
            Self::LeaveOneOut(leave_one_out) => leave_one_out,
            Self::Exposure(exposure) => exposure,
            Self::Mixed(mixed) => mixed,
            Self::CrossDomain(cross_domain) => cross_domain,
        }
    }

    /// A mistake in the parameters, if there is one.
    pub fn mistake(&self) -> Option<String> {
        self.rule().mistake()
    }

    /// Divides interactions: roles by the scenario's rule, then dense ids by first appearance in train, without
    /// repeated pairs and unseen users, and, unless they are kept, without unseen items and test pairs that are also in
    /// train.
    ///
    /// # Errors
    /// The data lack something that the scenario needs, or nothing is left to train on.
    pub fn split(&self, log: &Log, held_out: HeldOut, seed: u64) -> Result<Split, ShiftError> {
        Split::new(log, self.rule().assign(log, seed)?, held_out)
    }
}

impl<'a> Log<'a> {
    /// # Errors
    /// There are too many rows for indices of 4 bytes.
    pub fn new(rows: &'a Interactions, part: &'a [u32], names: &'a [String]) -> Result<Self, ShiftError> {
        let row_and_item = |row: usize| (row as u32, rows.item[row]);
        Ok(Self { rows, part, names, by_user: Groups::of_values(&rows.user, |_| true, row_and_item)? })
    }

    /// The rows of a user, in order, each with its item: scenarios and audits go through the pairs of each user, and rows
    /// of a user lie far apart.
    fn of_user(&self, user: usize) -> &[(u32, u32)] {
        self.by_user.of(user)
    }

    /// The roles of the rows of all users, in the order of [`Self::of_user`].
    fn roles_by_user(&self, roles: &[Role]) -> Vec<Role> {
        self.by_user.arranged(&self.rows.user, |row| roles[row])
    }

    /// The first row of each user-item pair for train, the others unused: what recipes that divide a whole log start from.
    fn distinct(&self) -> Vec<Role> {
        let mut roles = vec![Role::Train; self.rows.len()];
        let repeats = self.repeats(|_| true);
        repeats.into_iter().flatten().for_each(|row| roles[row as usize] = Role::Unused);
        roles
    }

    /// Of the training rows of each user-item pair, all but the first become unused.
    fn drop_repeats(&self, roles: &mut [Role]) {
        let repeats = self.repeats(|row| roles[row as usize] == Role::Train);
        repeats.into_iter().flatten().for_each(|row| roles[row as usize] = Role::Unused);
    }

    /// Of the rows of each user-item pair that count, all but the first.
    fn repeats(&self, counts: impl Fn(u32) -> bool + Sync) -> Vec<Vec<u32>> {
        let n_items = bound(&self.rows.item);
        self.by_user.in_parallel(|users| {
            let mut pairs = Pairs::new(n_items);
            let mut repeats = Vec::new();
            for user in users {
                pairs.turn();
                for &(row, item) in self.of_user(user).iter().filter(|&&(row, _)| counts(row)) {
                    if pairs.add(item as usize, Role::Train) != 0 {
                        repeats.push(row);
                    }
                }
            }
            repeats
        })
    }

    /// The times of all rows.
    fn times(&self) -> Result<&'a [i64], ShiftError> {
        self.rows.time.as_deref().ok_or(ShiftError::NoTimes)
    }

    /// The index of a part.
    fn part_index(&self, part: &str) -> Result<u32, ShiftError> {
        let index = self.names.iter().position(|name| name == part);
        let no_part = || ShiftError::NoPart { part: part.to_owned(), names: self.names.to_vec() };
        index.map(|index| index as u32).ok_or_else(no_part)
    }
}

/// The shares must be at least 0 and leave something over.
fn shares_mistake(shares: &[(&str, f64)]) -> Option<String> {
    let wrong = shares.iter().find(|(_, share)| !(0.0..1.0).contains(share));
    if let Some((name, share)) = wrong {
        return Some(format!("`{name}` is a share from 0 to below 1, not {share}"));
    }
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    (sum >= 1.0).then(|| {
        let names: Vec<String> = shares.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!("{} together take {sum} of the interactions and leave none to train on", names.join(" and "))
    })
}

/// The usual share of a test out of distribution, or of one in it where that is larger than validation.
fn fifth() -> f64 {
    0.2
}

/// The usual share of validation.
fn tenth() -> f64 {
    0.1
}

/// `floor(n * share)`, not thrown off by shares that binary fractions cannot hold (0.7 + 0.1 of 10 is 8).
fn floor_share(n: usize, share: f64) -> usize {
    ((n as f64 * share + 1e-9).floor() as usize).min(n)
}

#[cfg(test)]
mod tests;
