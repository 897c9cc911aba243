//! Split scenarios: which interactions a model learns from, chooses its epoch on, and is tested on, in distribution
//! and out of it. Pure functions of interactions and a seed; no I/O.
//!
//! A scenario is one file with a parameter struct that implements [`Rule`], and one variant of [`Scenario`].

mod given;
mod per_user;
mod popularity;
mod random;
mod split;
mod temporal;

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Interactions;

pub use given::{Carve, Given};
pub use popularity::Popularity;
pub use random::Random;
pub use split::Split;
pub use temporal::Temporal;

/// How interactions are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// The parts of the data are the split.
    Given(Given),
    /// Independent and identically distributed: a random share of each user.
    Random(Random),
    /// Popularity shift: a test set in which all items count alike.
    Popularity(Popularity),
    /// Temporal shift: the latest interactions of all are the test set.
    Temporal(Temporal),
}

/// What a scenario must provide.
pub trait Rule {
    /// A mistake in the parameters that their types cannot express.
    fn mistake(&self) -> Option<String>;

    /// Gives rows their roles. Must depend on nothing but its arguments.
    ///
    /// # Errors
    /// The data lack something that the scenario needs.
    fn roles(&self, log: &Log, seed: u64) -> Result<Roles, ShiftError>;
}

/// Interactions and the parts in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    pub rows: &'a Interactions,
    /// Index into `names` for each row.
    pub part: &'a [u32],
    /// The names of the parts, in the order in which they were read.
    pub names: &'a [String],
}

/// Row indices by role, ascending. A row has at most one role; rows without one are not used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles {
    pub train: Vec<usize>,
    pub valid: Vec<usize>,
    /// Test in distribution.
    pub iid: Vec<usize>,
    /// Test out of distribution.
    pub ood: Vec<usize>,
}

/// The data do not allow the scenario.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    #[error("there is no part `{part}` in the data; there are: {}", names.join(", "))]
    NoPart { part: String, names: Vec<String> },
    #[error("a temporal split needs the times of interactions, and these have none")]
    NoTimes,
    #[error("nothing is left to train on")]
    NothingToTrainOn,
}

impl Scenario {
    fn rule(&self) -> &dyn Rule {
        match self {
            Self::Given(given) => given,
            Self::Random(random) => random,
            Self::Popularity(popularity) => popularity,
            Self::Temporal(temporal) => temporal,
        }
    }

    /// A mistake in the parameters, if there is one.
    pub fn mistake(&self) -> Option<String> {
        self.rule().mistake()
    }

    /// Divides interactions: roles by the scenario's rule, then dense ids by first appearance in train, without
    /// repeated pairs, unseen users and items, and test pairs that are also in train.
    ///
    /// # Errors
    /// The data lack something that the scenario needs, or nothing is left to train on.
    pub fn split(&self, log: &Log, seed: u64) -> Result<Split, ShiftError> {
        Split::new(log, &self.rule().roles(log, seed)?)
    }
}

impl Log<'_> {
    /// All rows: what recipes that divide a whole log start from.
    fn all(&self) -> Vec<usize> {
        (0..self.rows.len()).collect()
    }

    /// Of `rows`, the first of each user-item pair.
    fn distinct(&self, rows: &[usize]) -> Vec<usize> {
        let mut seen = HashSet::with_capacity(rows.len());
        rows.iter().copied().filter(|&row| seen.insert((self.rows.user[row], self.rows.item[row]))).collect()
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
