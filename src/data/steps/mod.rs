//! Filter steps between reading and splitting: which interactions count at all. Pure functions of rows in parts.
//!
//! A step is one file with a parameter struct that implements [`StepRule`], and one variant of [`Step`]. Every step takes
//! time linear in the rows and at most nine bytes per row beside them, and gives the same rows for any number of
//! threads.

mod dedup;
mod kcore;
mod positive;
mod renumber;
mod sample;
mod window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::groups::TooManyRows;
use super::tabulate::bound;
use super::{Dedup, Parts};

pub use kcore::KCore;
pub use positive::Positive;
pub use renumber::{Renumbered, renumber};
pub use sample::{Sample, Sampled};
pub use window::{Moment, Window};

/// One filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Rows whose weight shows a liking stay.
    Positive(Positive),
    /// Rows of a span of time stay.
    Window(Window),
    /// One row of each user-item pair of a part stays.
    Dedup(Dedup),
    /// Users and items with enough rows among themselves stay (the k-core).
    Core(KCore),
    /// A random sample stays.
    Sample(Sample),
}

/// What a step must provide.
trait StepRule {
    /// As in `weight >= 4`.
    fn text(&self) -> String;

    /// A mistake in the parameters that their types cannot express.
    fn mistake(&self) -> Option<String> {
        None
    }

    /// Which rows stay. May replace weights of rows that stay; must depend on nothing but its arguments.
    ///
    /// # Errors
    /// The rows lack something that the step needs.
    fn keep(&self, parts: &mut Parts) -> Result<Vec<bool>, Lack>;
}

/// What rows lack for a step.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Lack {
    #[error(
        "needs weights, and these rows have none (all files must have them): name the column, as in \
         `columns: {{ weight: ... }}`"
    )]
    Weights,
    #[error(
        "needs the times of interactions, and these rows have none (all files must have them): name the column, as in \
         `columns: {{ time: ... }}`"
    )]
    Times,
    #[error("names the part `{part}`, which the data lack; there are: {}", names.join(", "))]
    Part { part: String, names: Vec<String> },
    #[error("has too much to do, as {0}, by `window` or `sample`")]
    Room(#[from] TooManyRows),
}

/// A step cannot be applied, or leaves nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StepError {
    #[error("step {number} (`{step}`) {lack}")]
    Lacks { number: usize, step: &'static str, lack: Lack },
    #[error(
        "step {number} (`{step}`: {rule}) leaves nothing of {} rows, {} users and {} items: relax it, or look at the \
         steps before it",
        before.rows, before.users, before.items
    )]
    NothingLeft { number: usize, step: &'static str, rule: String, before: Size },
}

/// How much data there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    /// Users with rows.
    pub users: usize,
    /// Items with rows.
    pub items: usize,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCount {
    /// As in a pipeline file, such as `core`.
    pub step: &'static str,
    /// The rule in words, such as `weight >= 4`.
    pub rule: String,
    pub before: Size,
    pub after: Size,
}

/// Applies steps in their order to the rows of all parts, of that size, in place; rows that stay keep their order. Ids
/// stay as they are: see [`renumber`].
///
/// # Errors
/// The rows lack what a step needs, or a step leaves no row.
pub fn apply(steps: &[Step], parts: &mut Parts, size: Size) -> Result<Vec<StepCount>, StepError> {
    let (mut before, mut counts) = (size, Vec::with_capacity(steps.len()));
    for (step, number) in steps.iter().zip(1..) {
        let name = step.name();
        let keep = step.rule().keep(parts).map_err(|lack| StepError::Lacks { number, step: name, lack })?;
        let after = if retain(parts, &keep) { Size::of(parts) } else { before };
        drop(keep);
        let rule = step.rule().text();
        if after.rows == 0 {
            return Err(StepError::NothingLeft { number, step: name, rule, before });
        }
        counts.push(StepCount { step: name, rule, before, after });
        before = after;
    }
    Ok(counts)
}

impl Step {
    fn rule(&self) -> &dyn StepRule {
        match self {
            Self::Positive(positive) => positive,
            Self::Window(window) => window,
            Self::Dedup(dedup) => dedup,
            Self::Core(core) => core,
            Self::Sample(sample) => sample,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Positive(_) => "positive",
            Self::Window(_) => "window",
            Self::Dedup(_) => "dedup",
            Self::Core(_) => "core",
            Self::Sample(_) => "sample",
        }
    }

    /// A mistake in the parameters, if there is one.
    pub fn mistake(&self) -> Option<String> {
        self.rule().mistake()
    }
}

impl Size {
    pub fn of(parts: &Parts) -> Self {
        let (users, items) = rayon::join(|| distinct(&parts.rows.user), || distinct(&parts.rows.item));
        Self { rows: parts.rows.len(), users, items }
    }
}

fn distinct(ids: &[u32]) -> usize {
    let mut seen = vec![false; bound(ids)];
    ids.iter().for_each(|&id| seen[id as usize] = true);
    seen.into_iter().filter(|&seen| seen).count()
}

/// Drops the rows that are not to be kept; whether there were any.
fn retain(parts: &mut Parts, keep: &[bool]) -> bool {
    if keep.iter().all(|&keep| keep) {
        return false;
    }
    let Parts { rows, part, .. } = parts;
    rayon::scope(|scope| {
        scope.spawn(|_| retain_column(&mut rows.user, keep));
        scope.spawn(|_| retain_column(&mut rows.item, keep));
        scope.spawn(|_| rows.time.iter_mut().for_each(|time| retain_column(time, keep)));
        scope.spawn(|_| rows.weight.iter_mut().for_each(|weight| retain_column(weight, keep)));
        scope.spawn(|_| retain_column(part, keep));
    });
    true
}

fn retain_column<T>(column: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    column.retain(|_| keep.next() == Some(&true));
}

#[cfg(test)]
mod tests;
