//! What captions say of how the numbers came about: which items were ranked and which were hidden, how epochs were chosen,
//! what was not asked for. Where the models of a table differ, it is said whose rule it is.

use super::table::Table;
use super::{Labels, Layout, Score, agree, distinct, label_of, shown};

/// What is known of how a model was trained and chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub labels: Labels,
    pub selection: Selection,
    /// Validation items were kept out of its test rankings, as training items always are.
    pub masks_validation: bool,
    pub candidates: Candidates,
    /// How many these are, and of how many items.
    pub ranked: usize,
    pub items: usize,
}

/// How the epoch of a model was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The best on validation data.
    Validation,
    /// The best on the very test set: an upper bound, no fair result.
    TestOracle,
    /// The last one.
    Last,
    /// There were none: it is fitted at once.
    NoEpochs,
}

/// Which items a model ranked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    All,
    /// Those of the target domain.
    Target,
    /// Those that a file names.
    Listed,
    /// Those of parts of the split.
    ItemsOf(Vec<String>),
    /// For each user his or her items of these tests, and sampled others.
    Sampled {
        of: Vec<String>,
        negatives: usize,
        popularity: bool,
        seed: usize,
    },
    /// For each user those that a file names.
    PerUser,
}

impl Candidates {
    /// Whether they are others for each user, so that metrics are no estimates of those of a full ranking.
    fn differ_by_user(&self) -> bool {
        matches!(self, Self::Sampled { .. } | Self::PerUser)
    }
}

/// What an evaluation asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    pub users: usize,
    /// Test pairs that count, and those that the model could not recommend, by reason.
    pub pairs: usize,
    pub in_train: usize,
    pub in_valid: usize,
    pub no_candidate: usize,
    /// The latter are among the pairs that count, as misses.
    pub unreachable_kept: bool,
    /// Cut-offs, and how many users have equal scores at both sides of them.
    pub tied: Vec<(u32, usize)>,
}

/// Ties at the cut-offs of fewer users than this share are not worth a word.
const FEW: f64 = 0.01;

/// The rules of ranking and of model selection, as far as the models tell them.
pub(super) fn model_facts(layout: &Layout, scores: &[Score], models: &[Model]) -> Vec<String> {
    let shown_labels = distinct(scores.iter().map(|score| score.labels.clone()));
    let models: Vec<&Model> =
        models.iter().filter(|model| shown_labels.iter().any(|labels| agree(&model.labels, labels))).collect();
    if models.is_empty() {
        return vec!["Candidates, masking and model selection are not recorded.".to_owned()];
    }
    let named = |member: &dyn Fn(&Model) -> bool| names(layout, &models, member).join(", ");
    let mut facts = vec![ranking(layout, &models)];
    let few = |model: &Model| model.candidates.differ_by_user();
    if models.iter().any(|model| few(model)) {
        let whose = if models.iter().all(|model| few(model)) { String::new() } else { format!(": {}", named(&few)) };
        facts.push(format!(
            "Caution: metrics among items that are sampled or listed for each user, not comparable with full ranking \
             (Krichene & Rendle, KDD 2020){whose}."
        ));
    }
    let any = |selection| models.iter().any(|model| model.selection == selection);
    let by = |selection| named(&move |model: &Model| model.selection == selection);
    match (any(Selection::Validation), any(Selection::Last)) {
        (true, false) => facts.push("Epochs were chosen on validation data.".to_owned()),
        (false, true) => facts.push("No epoch was chosen: models are those of the last one.".to_owned()),
        (true, true) => {
            let last = by(Selection::Last);
            facts.push(format!("Epochs were chosen on validation data, but for {last}: the last."));
        }
        (false, false) => {}
    }
    if any(Selection::TestOracle) {
        let oracles = by(Selection::TestOracle);
        facts.push(format!("Caution: epochs chosen on the test set, upper bounds and no fair results: {oracles}."));
    }
    facts
}

/// Which items were ranked, and which of them were hidden from their users: the rule of most models, then the others.
fn ranking(layout: &Layout, models: &[&Model]) -> String {
    let rule = |model: &Model| (model.candidates.clone(), model.masks_validation);
    let mut rules = distinct(models.iter().map(|model| rule(model)));
    rules.sort_by_key(|own| std::cmp::Reverse(models.iter().filter(|model| rule(model) == *own).count()));
    let told = |own: &(Candidates, bool)| {
        let members: Vec<&&Model> = models.iter().filter(|model| rule(model) == *own).collect();
        let (ranked, items) = (range(&members, |model| model.ranked), range(&members, |model| model.items));
        let candidates = match &own.0 {
            Candidates::All => "all items".to_owned(),
            Candidates::Target => format!("the {ranked} items of the target domain"),
            Candidates::Listed => format!("the {ranked} of {items} items of a given list"),
            Candidates::ItemsOf(parts) => format!("the {ranked} of {items} items that occur in {}", parts.join(" or ")),
            Candidates::Sampled { of, negatives, popularity, seed } => {
                let how = if *popularity { "by popularity" } else { "uniform" };
                let of = of.join(" and ");
                format!("the user's test items ({of}) and {negatives} sampled ones ({how}, seed {seed})")
            }
            Candidates::PerUser => "the items that a given file lists for the user".to_owned(),
        };
        let hidden = if own.1 { "training and validation" } else { "training" };
        format!("against {candidates} but the user's {hidden} items")
    };
    let whose = |own: &(Candidates, bool)| names(layout, models, &|model| rule(model) == *own).join(", ");
    let others = rules[1..].iter().map(|own| format!("; for {}: {}", whose(own), told(own)));
    format!("Ranked {}{}.", told(&rules[0]), others.collect::<String>())
}

/// The value of all models, or the smallest and the largest.
fn range(models: &[&&Model], value: impl Fn(&Model) -> usize) -> String {
    let values = || models.iter().map(|model| value(model));
    match (values().min(), values().max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        (least, _) => least.unwrap_or(0).to_string(),
    }
}

/// How the models that `member` accepts are called: by their labels on as few axes of the table as tell them from the
/// others.
fn names(layout: &Layout, models: &[&Model], member: &dyn Fn(&Model) -> bool) -> Vec<String> {
    let axes: Vec<&String> = std::iter::once(&layout.rows).chain(&layout.columns).chain(&layout.over).collect();
    let single = axes.iter().map(|axis| vec![*axis]);
    let several = (2..=axes.len()).map(|count| axes[..count].to_vec());
    let called = |axes: &[&String], model: &Model| {
        let labels = axes.iter().filter_map(|axis| label_of(&model.labels, axis));
        labels.map(|label| shown(&layout.titles, label)).collect::<Vec<_>>().join(" ")
    };
    let split = |axes: &[&String]| {
        let (inside, outside): (Vec<&Model>, Vec<&Model>) = models.iter().partition(|model| member(model));
        let [inside, outside] =
            [inside, outside].map(|models| distinct(models.into_iter().map(|model| called(axes, model))));
        (inside.iter().all(|name| !outside.contains(name)), inside)
    };
    let mut found = single.chain(several).map(|axes| split(&axes));
    found.find(|(apart, _)| *apart).map(|(_, names)| names).unwrap_or_else(|| split(&axes).1)
}

/// What was not asked for, and how much chance there is in the lists.
pub fn evaluation_facts(table: &Table, evaluations: &[Evaluation]) -> Vec<String> {
    let mut facts = Vec::new();
    for (kept, rule) in [(false, "not asked for"), (true, "counted as misses")] {
        let counts = |evaluation: &Evaluation| {
            let Evaluation { pairs, in_train, in_valid, no_candidate, .. } = *evaluation;
            let unreachable = in_train + in_valid + no_candidate;
            (unreachable, if kept { pairs } else { pairs + unreachable })
        };
        let of_rule = evaluations.iter().filter(|evaluation| evaluation.unreachable_kept == kept);
        let most = of_rule.max_by(|a, b| share(counts(a)).total_cmp(&share(counts(b))));
        let Some(most) = most.filter(|most| counts(most).0 > 0) else { continue };
        let reasons: Vec<String> = [
            (most.in_train, "in the user's training"),
            (most.in_valid, "in the user's validation"),
            (most.no_candidate, "none of the ranked items"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
        let (unreachable, pairs) = counts(most);
        let reasons = reasons.join(", ");
        facts.push(format!(
            "Test pairs that cannot be recommended are {rule}: at most {unreachable} of {pairs} ({reasons})."
        ));
    }
    let shown = |k: &u32| table.columns.iter().any(|column| column.k == *k);
    let tied = evaluations.iter().flat_map(|evaluation| {
        evaluation.tied.iter().filter(|(k, _)| shown(k)).map(|&(_, tied)| share((tied, evaluation.users)))
    });
    let tied = tied.fold(0.0, f64::max);
    if tied >= FEW {
        let percent = 100.0 * tied;
        facts.push(format!(
            "The cut-off falls between equal scores, which are ordered by chance, for up to {percent:.0}% of the users."
        ));
    }
    facts
}

fn share((part, whole): (usize, usize)) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests;
