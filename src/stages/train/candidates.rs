//! Which items a training ranks: the rule of its parameters applied to what comes in through its ports and files.

use std::collections::HashSet;
use std::fs;

use arrow::array::{Array, RecordBatch, StringArray};

use crate::data::ids::keys_from_batch;
use crate::engine::stage::{Context, StageError};
use crate::shift::Domain;
use crate::stages::columns::{optional_texts, u32s};
use crate::store::parquet;
use crate::train::{CandidateRule, Candidates, Config, SplitPart};

/// The items that are ranked, and by what rule they were chosen.
pub struct Chosen {
    pub candidates: Candidates,
    rule: Rule,
}

enum Rule {
    All,
    Target,
    ItemsOf(Vec<SplitPart>),
    Listed,
}

impl Chosen {
    /// The rules that the summary of a training states, and whether they were followed.
    pub fn facts(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let part = |part: SplitPart| matches!(&self.rule, Rule::ItemsOf(parts) if parts.contains(&part));
        [
            ("candidates_all", matches!(self.rule, Rule::All)),
            ("candidates_target", matches!(self.rule, Rule::Target)),
            ("candidates_listed", matches!(self.rule, Rule::Listed)),
            ("candidates_of_train", part(SplitPart::Train)),
            ("candidates_of_valid", part(SplitPart::Valid)),
            ("candidates_of_iid", part(SplitPart::Iid)),
            ("candidates_of_ood", part(SplitPart::Ood)),
        ]
        .into_iter()
    }
}

/// Chooses among the `n_items` items of the training part.
pub fn choose(config: &Config, context: &Context, n_items: usize) -> Result<Chosen, StageError> {
    let items = parquet::read(context.input("split")?.artifact("items")?)?;
    let keys = keys_from_batch(&items)?;
    if keys.len() < n_items {
        let message = format!("the split names {} items, but its training part has {n_items}", keys.len());
        return Err(StageError::new(message).with_help("connect port `split` to a split"));
    }
    if context.inputs("catalogue").next().is_some() && !matches!(config.candidates, CandidateRule::ItemsOf(_)) {
        let error =
            StageError::new("port `catalogue` brings the test sets' items, which `candidates` does not ask for");
        return Err(error.with_help("take the port out, or write `candidates: {items_of: [...]}`"));
    }
    let (rule, ranked): (Rule, Vec<bool>) = match &config.candidates {
        CandidateRule::All {} => (Rule::All, vec![true; n_items]),
        CandidateRule::Auto {} => match target(&items)? {
            Some(ranked) => (Rule::Target, ranked),
            None => (Rule::All, vec![true; n_items]),
        },
        CandidateRule::ItemsOf(parts) => (Rule::ItemsOf(parts.clone()), items_of(parts, context, n_items)?),
        CandidateRule::Only(list) => (Rule::Listed, listed(&list.source, keys, n_items, context)?),
        CandidateRule::Except(list) => {
            let listed = listed(&list.source, keys, n_items, context)?;
            (Rule::Listed, listed.into_iter().map(|listed| !listed).collect())
        }
    };
    let keys = (0..n_items).map(|item| keys.value(item));
    let candidates = Candidates::new(config.seed, keys, |item| ranked[item as usize]);
    if candidates.is_empty() {
        let error = StageError::new("`candidates` leaves no item of the training part to rank");
        return Err(error.with_help("choose other candidates; `candidates: all` ranks every item"));
    }
    Ok(Chosen { candidates, rule })
}

/// Which items are of the target domain, where the split has domains.
fn target(items: &RecordBatch) -> Result<Option<Vec<bool>>, StageError> {
    let domains = optional_texts(items, "domain")?;
    let target = |domain: Option<&str>| domain == Some(Domain::Target.name());
    Ok((domains.null_count() < domains.len()).then(|| domains.iter().map(target).collect()))
}

/// Which items occur in one of `parts`.
fn items_of(parts: &[SplitPart], context: &Context, n_items: usize) -> Result<Vec<bool>, StageError> {
    let Some(input) = context.inputs("catalogue").next() else {
        return Err(StageError::new(
            "`candidates: {items_of: ...}` needs to know which items the parts of the split have",
        )
        .with_help("connect port `catalogue` to the split"));
    };
    let catalogue = parquet::read(input.artifact("catalogue")?)?;
    let mut ranked = vec![false; n_items];
    for part in parts {
        let rows = u32s(&catalogue, part.name())?;
        ranked.iter_mut().zip(rows).for_each(|(ranked, &rows)| *ranked |= rows > 0);
    }
    Ok(ranked)
}

/// Which items the file lists.
fn listed(source: &str, keys: &StringArray, n_items: usize, context: &Context) -> Result<Vec<bool>, StageError> {
    let path = context.job.files.first().ok_or_else(|| StageError::new("the list of items did not come in"))?;
    let text = fs::read_to_string(path).map_err(|error| StageError::new(format!("cannot read `{source}`: {error}")))?;
    let lines: HashSet<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let listed: Vec<bool> = (0..n_items).map(|item| lines.contains(keys.value(item))).collect();
    let found = listed.iter().filter(|&&listed| listed).count();
    if found == 0 {
        let example = keys.iter().flatten().next().unwrap_or_default();
        return Err(StageError::new(format!(
            "none of the {} items in `{source}` is in the training part",
            lines.len()
        ))
        .with_help(format!("each line must be the key of an item as the raw data have it, such as `{example}`")));
    }
    context.log(format!("{found} of the {} items in `{source}` are in the training part", lines.len()));
    Ok(listed)
}
