//! What a model is asked for: the test pairs of the wanted set, and of these, those that it could recommend.

use arrow::array::RecordBatch;

use super::{Params, TestSet, Unreachable};
use crate::data::tabulate::bound;
use crate::engine::stage::{Context, Input, StageError};
use crate::metric::Relevance;
use crate::stages::columns::{f64s, texts, u32s};
use crate::store::parquet;

/// The relevant pairs, and how many there would be of others.
pub struct Asked {
    /// How many items the model ranks, at most, for a user.
    pub candidates: usize,
    pub relevance: Relevance,
    unreachable: Unreachable,
    /// Pairs of the test that the model could not recommend, each counted once, for the first reason that holds.
    in_train: usize,
    in_valid: usize,
    no_candidate: usize,
    /// Pairs with an item that training never saw, where the split keeps them: misses.
    cold: usize,
}

impl Asked {
    /// `train` is the training part of the split.
    pub fn new(params: &Params, split: &Input, model: &Input, train: &RecordBatch) -> Result<Self, StageError> {
        let test = parquet::read(split.artifact("test")?)?;
        let valid = parquet::read(split.artifact("valid")?)?;
        let n_items = bound(u32s(train, "item")?);
        let ranked = Ranked::read(&parquet::read(model.artifact("candidates")?)?, n_items)?;
        let relevance = wanted(&test, params.set)?;
        let mut reachable = relevance.clone();
        let in_train = reachable.remove(pairs(train)?);
        let in_valid = if masks_valid(model)? { reachable.remove(pairs(&valid)?) } else { 0 };
        let trained = |item: u32| (item as usize) < n_items;
        let no_candidate = reachable.retain(|user, item| !trained(item) || ranked.contains(user, item));
        let cold = reachable.clone().retain(|_, item| trained(item));
        let relevance = match params.unreachable {
            Unreachable::Drop => reachable,
            Unreachable::Keep => relevance,
        };
        if relevance.pairs() == 0 {
            let error = StageError::new(format!("no user has a test item in the set `{}`", params.set.name()));
            let unreachable = in_train + in_valid + no_candidate;
            return Err(if unreachable > 0 {
                let help =
                    format!("{unreachable} that there are cannot be recommended; `unreachable: keep` counts them");
                error.with_help(help)
            } else {
                error.with_help("choose another `set`, or a split that has this one")
            });
        }
        let candidates = ranked.most();
        Ok(Self { candidates, relevance, unreachable: params.unreachable, in_train, in_valid, no_candidate, cold })
    }

    /// Names and values for the artifact `counts`.
    pub fn counts(&self) -> Vec<(String, i64)> {
        [
            ("users", self.relevance.users().count()),
            ("pairs", self.relevance.pairs()),
            ("in_train", self.in_train),
            ("in_valid", self.in_valid),
            ("no_candidate", self.no_candidate),
            ("cold", self.cold),
            ("unreachable_kept", usize::from(self.unreachable == Unreachable::Keep)),
        ]
        .map(|(name, value)| (name.to_owned(), value as i64))
        .into()
    }

    pub fn log(&self, context: &Context) {
        let outcome = match self.unreachable {
            Unreachable::Drop => "they are not asked for",
            Unreachable::Keep => "they count as misses",
        };
        for (count, why) in [
            (self.in_train, "are in the user's training set"),
            (self.in_valid, "are in the user's validation set, which the model masks"),
            (self.no_candidate, "have an item that is none of the model's candidates"),
        ] {
            if count > 0 {
                context.log(format!("{count} test pairs {why}: {outcome}"));
            }
        }
        if self.cold > 0 {
            context.log(format!("{} test pairs have an item that training never saw: they count as misses", self.cold));
        }
    }
}

/// What the model ranks: the same items for all users, or those of pairs.
enum Ranked {
    Items(Vec<bool>),
    Pairs(Relevance),
}

impl Ranked {
    fn read(candidates: &RecordBatch, n_items: usize) -> Result<Self, StageError> {
        let items = u32s(candidates, "item")?;
        if let Some(&item) = items.iter().find(|&&item| item as usize >= n_items) {
            return Err(foreign(item));
        }
        if candidates.column_by_name("user").is_some() {
            return Ok(Self::Pairs(Relevance::new(bound(u32s(candidates, "user")?), pairs(candidates)?)));
        }
        let mut ranked = vec![false; n_items];
        items.iter().for_each(|&item| ranked[item as usize] = true);
        Ok(Self::Items(ranked))
    }

    /// Whether an item of the training part is ranked for a user.
    fn contains(&self, user: u32, item: u32) -> bool {
        match self {
            Self::Items(ranked) => ranked[item as usize],
            Self::Pairs(pairs) => pairs.of(user).binary_search(&item).is_ok(),
        }
    }

    /// How many items are ranked for the user who has most.
    fn most(&self) -> usize {
        match self {
            Self::Items(ranked) => ranked.iter().filter(|&&ranked| ranked).count(),
            Self::Pairs(pairs) => pairs.users().map(|user| pairs.of(user).len()).max().unwrap_or(0),
        }
    }
}

/// All pairs of the wanted part of the test.
fn wanted(test: &RecordBatch, set: TestSet) -> Result<Relevance, StageError> {
    let sets = texts(test, "set")?;
    let wanted = pairs(test)?.enumerate().filter(|(row, _)| sets.value(*row) == set.name());
    let wanted: Vec<(u32, u32)> = wanted.map(|(_, pair)| pair).collect();
    let count = wanted.iter().map(|&(user, _)| user as usize + 1).max().unwrap_or(0);
    Ok(Relevance::new(count, wanted))
}

fn pairs(part: &RecordBatch) -> Result<impl Iterator<Item = (u32, u32)>, StageError> {
    Ok(u32s(part, "user")?.iter().copied().zip(u32s(part, "item")?.iter().copied()))
}

/// Whether the recommendations leave validation items out.
fn masks_valid(model: &Input) -> Result<bool, StageError> {
    let summary = parquet::read(model.artifact("summary")?)?;
    let (names, values) = (texts(&summary, "name")?, f64s(&summary, "value")?);
    let row = names.iter().position(|name| name == Some("mask_valid"));
    row.map(|row| values[row] == 1.0).ok_or_else(|| {
        StageError::new("the summary of the model does not tell which items it masks")
            .with_help("connect port `model` to a train stage")
    })
}

fn foreign(item: u32) -> StageError {
    StageError::new(format!("the model ranks item {item}, which the split's training part does not have"))
        .with_help("connect port `split` to the split that the model was trained on")
}
