//! The k-core: the largest set of rows in which every user and every item has enough of them. It is unique, whatever
//! the order of the rows (Seidman, 1983, for graphs). Most of what has to leave does so in a few rounds of counting,
//! which read the rows in their order and need little memory. What is left then is peeled in linear time: who has too few
//! leaves, and takes one from each neighbour, who may then have to leave, too.

use std::ops::Range;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lack, Parts, StepRule, bound};
use crate::data::Interactions;
use crate::data::groups::Groups;
use crate::data::tabulate::tabulate;

/// How many rows a user and an item need. Rows are counted, over the parts together: repeated pairs count as often
/// as they occur, unless `dedup` stands before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KCore {
    /// Rows that each user has at least; 0 asks for none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub user: u32,
    /// Rows that each item has at least; 0 asks for none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub item: u32,
    /// Look only once, instead of until nothing changes: a user may then be left with fewer rows, those of items
    /// that went.
    #[serde(default)]
    pub once: bool,
    /// Only these parts are counted and filtered, the others left as they are; by default all.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// Rounds of counting before the rest is peeled.
const ROUNDS: usize = 16;

impl StepRule for KCore {
    fn text(&self) -> String {
        let once = if self.once { ", looked at once" } else { "" };
        let parts = match self.parts.as_slice() {
            [] => String::new(),
            names => format!(", within {}", names.join(", ")),
        };
        format!("users of {} rows, items of {}{once}{parts}", self.user, self.item)
    }

    fn mistake(&self) -> Option<String> {
        (self.user <= 1 && self.item <= 1)
            .then(|| "it asks for nothing: give `user` or `item` a number of at least 2, as in `5`".to_owned())
    }

    fn keep(&self, parts: &mut Parts) -> Result<Vec<bool>, Lack> {
        if let Some(unknown) = self.parts.iter().find(|name| !parts.names.contains(name)) {
            return Err(Lack::Part { part: unknown.clone(), names: parts.names.clone() });
        }
        let counted: Vec<bool> =
            parts.names.iter().map(|name| self.parts.is_empty() || self.parts.contains(name)).collect();
        let counts = |&part: &u32| counted[part as usize];
        let mut alive: Vec<bool> = parts.part.par_iter().map(counts).collect();
        let rounds = if self.once { 1 } else { ROUNDS };
        let settled = (0..rounds).any(|_| !self.round(&parts.rows, &mut alive));
        if !settled && !self.once {
            self.peel(&parts.rows, &mut alive)?;
        }
        // What was not counted stays.
        alive.par_iter_mut().zip(&parts.part).for_each(|(alive, part)| *alive |= !counts(part));
        Ok(alive)
    }
}

impl KCore {
    /// Counts the rows of everybody, and takes those of who has too few; whether there were any.
    fn round(&self, rows: &Interactions, alive: &mut [bool]) -> bool {
        let (users, items) = rayon::join(|| degrees(&rows.user, alive), || degrees(&rows.item, alive));
        let short = |degrees: &[u32], need| degrees.iter().any(|&degree| degree > 0 && degree < need);
        if !short(&users, self.user) && !short(&items, self.item) {
            return false;
        }
        let enough = |user: u32, item: u32| users[user as usize] >= self.user && items[item as usize] >= self.item;
        let rows = alive.par_iter_mut().zip(&rows.user).zip(&rows.item);
        let leaving = rows.filter(|((alive, user), item)| **alive && !enough(**user, **item));
        leaving.map(|((alive, _), _)| *alive = false).count() > 0
    }

    fn peel(&self, rows: &Interactions, alive: &mut [bool]) -> Result<(), Lack> {
        let left = |row: usize| alive[row];
        let (users, items) = rayon::join(|| Groups::new(&rows.user, left), || Groups::new(&rows.item, left));
        let (mut users, mut items) = (Side::new(users?, self.user, alive), Side::new(items?, self.item, alive));
        let (mut short_users, mut short_items) = (users.short(), items.short());
        while !short_users.is_empty() || !short_items.is_empty() {
            let next_items = users.peel(&short_users, alive, &rows.item, &mut items);
            let next_users = items.peel(&short_items, alive, &rows.user, &mut users);
            (short_users, short_items) = (next_users, next_items);
        }
        Ok(())
    }
}

/// How many rows of each id count and are left.
fn degrees(ids: &[u32], alive: &[bool]) -> Vec<u32> {
    let count = |rows: Range<usize>, degrees: &mut [u32]| {
        let rows = ids[rows.clone()].iter().zip(&alive[rows]);
        rows.for_each(|(&id, &alive)| degrees[id as usize] += u32::from(alive));
    };
    tabulate(ids.len(), bound(ids), 0, count, |a, b| a + b)
}

/// The users, or the items.
struct Side {
    groups: Groups,
    /// Rows that count and are left, of each id.
    degree: Vec<u32>,
    need: u32,
}

impl Side {
    fn new(groups: Groups, need: u32, alive: &[bool]) -> Self {
        let degree = |id| groups.of(id).iter().filter(|&&row| alive[row as usize]).count() as u32;
        Self { degree: (0..groups.n_ids()).into_par_iter().map(degree).collect(), groups, need }
    }

    /// Who has rows, but too few.
    fn short(&self) -> Vec<u32> {
        (0..).zip(&self.degree).filter(|&(_, &degree)| degree > 0 && degree < self.need).map(|(id, _)| id).collect()
    }

    /// Takes the rows of those who leave; answers who of the other side has just become short.
    fn peel(&self, leaving: &[u32], alive: &mut [bool], other_ids: &[u32], other: &mut Self) -> Vec<u32> {
        let mut short = Vec::new();
        for &row in leaving.iter().flat_map(|&id| self.groups.of(id as usize)) {
            if std::mem::replace(&mut alive[row as usize], false) {
                let id = other_ids[row as usize];
                let degree = &mut other.degree[id as usize];
                if *degree == other.need {
                    short.push(id);
                }
                *degree -= 1;
            }
        }
        short
    }
}
