//! Which items a training ranks: the rule of its parameters applied to what comes in through its ports and files.

use std::collections::{HashMap, HashSet};
use std::fs;

use arrow::array::{Array, RecordBatch, StringArray};

use crate::data::ids::keys_from_batch;
use crate::data::{Graph, Interactions};
use crate::engine::stage::{Context, Input, StageError};
use crate::shift::Domain;
use crate::stages::columns::{optional_texts, texts, u32s};
use crate::store::parquet;
use crate::train::{CandidateRule, Candidates, Config, Sampled, SplitPart};

/// The items that are ranked, and by what rule they were chosen.
pub struct Chosen {
    pub candidates: Candidates,
    /// Which of them are ranked for which user, where that differs from user to user.
    pub sets: Option<Graph>,
    rule: Rule,
}

enum Rule {
    All,
    Target,
    ItemsOf(Vec<SplitPart>),
    Listed,
    Sampled(Sampled),
    PerUser,
}

impl Chosen {
    /// The rules that the summary of a training states: 1 where they were followed, else 0. Those of candidates that differ
    /// from user to user are stated where they were followed only.
    pub fn facts(&self) -> Vec<(&'static str, f64)> {
        let is = |fact: bool| f64::from(u8::from(fact));
        let parts: &[SplitPart] = match &self.rule {
            Rule::ItemsOf(parts) => parts,
            Rule::Sampled(rule) => &rule.of,
            Rule::All | Rule::Target | Rule::Listed | Rule::PerUser => &[],
        };
        let mut facts = vec![
            ("candidates_all", is(matches!(self.rule, Rule::All))),
            ("candidates_target", is(matches!(self.rule, Rule::Target))),
            ("candidates_listed", is(matches!(self.rule, Rule::Listed))),
            ("candidates_of_train", is(parts.contains(&SplitPart::Train))),
            ("candidates_of_valid", is(parts.contains(&SplitPart::Valid))),
            ("candidates_of_iid", is(parts.contains(&SplitPart::Iid))),
            ("candidates_of_ood", is(parts.contains(&SplitPart::Ood))),
        ];
        match &self.rule {
            Rule::Sampled(rule) => facts.extend([
                ("candidates_sampled", 1.0),
                ("sampled_negatives", rule.negatives as f64),
                ("sampled_popularity", is(rule.popularity)),
                ("sampled_seed", f64::from(rule.seed)),
            ]),
            Rule::PerUser => facts.push(("candidates_per_user", 1.0)),
            Rule::All | Rule::Target | Rule::ItemsOf(_) | Rule::Listed => {}
        }
        facts
    }
}

/// Chooses among the items of the training part, whose pairs are `train`.
pub fn choose(config: &Config, context: &Context, train: &Graph, valid: &Interactions) -> Result<Chosen, StageError> {
    let n_items = train.n_items;
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
    let of_users = matches!(config.candidates, CandidateRule::Sampled(_) | CandidateRule::PerUser(_));
    let targets = match (context.inputs("targets").next(), of_users) {
        (None, true) => {
            let message = "candidates that differ from user to user need to know the users and their tests";
            return Err(StageError::new(message).with_help("connect port `targets` to the split"));
        }
        (Some(_), false) => {
            let message = "port `targets` brings users and their tests, which `candidates` does not ask for";
            let help = "take the port out, or write `candidates: {sampled: ...}` or `{per_user: ...}`";
            return Err(StageError::new(message).with_help(help));
        }
        (targets, _) => targets,
    };
    let all = || vec![true; n_items];
    let (rule, ranked): (Rule, Vec<bool>) = match &config.candidates {
        CandidateRule::All {} => (Rule::All, all()),
        CandidateRule::Auto {} => match target(&items)? {
            Some(ranked) => (Rule::Target, ranked),
            None => (Rule::All, all()),
        },
        CandidateRule::Sampled(rule) => (Rule::Sampled(rule.clone()), target(&items)?.unwrap_or_else(all)),
        CandidateRule::PerUser(_) => (Rule::PerUser, target(&items)?.unwrap_or_else(all)),
        CandidateRule::ItemsOf(parts) => (Rule::ItemsOf(parts.clone()), items_of(parts, context, n_items)?),
        CandidateRule::Only(list) => (Rule::Listed, listed(&list.source, keys, n_items, context)?),
        CandidateRule::Except(list) => {
            let listed = listed(&list.source, keys, n_items, context)?;
            (Rule::Listed, listed.into_iter().map(|listed| !listed).collect())
        }
    };
    let keys = || (0..n_items).map(|item| keys.value(item));
    let candidates = Candidates::new(config.seed, keys(), |item| ranked[item as usize]);
    if candidates.is_empty() {
        let error = StageError::new("`candidates` leaves no item of the training part to rank");
        return Err(error.with_help("choose other candidates; `candidates: all` ranks every item"));
    }
    let sets = match (&config.candidates, targets) {
        (CandidateRule::Sampled(rule), Some(targets)) => {
            Some(sampled(rule, targets, &candidates, keys(), train, valid, context)?)
        }
        (CandidateRule::PerUser(list), Some(targets)) => {
            Some(per_user(&list.source, targets, &candidates, keys(), train, context)?)
        }
        _ => None,
    };
    Ok(Chosen { candidates, sets, rule })
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

/// The keys of the users of the training part.
fn user_keys(users: &RecordBatch, train: &Graph) -> Result<StringArray, StageError> {
    let keys = keys_from_batch(users)?;
    if keys.len() < train.n_users {
        let message = format!("port `targets` names {} users, but the training part has {}", keys.len(), train.n_users);
        return Err(StageError::new(message).with_help("connect it to the split that port `split` is connected to"));
    }
    Ok(keys.slice(0, train.n_users))
}

/// For each user the test items of the named sets, and the sampled negatives.
fn sampled<'a>(
    rule: &Sampled,
    targets: &Input,
    pool: &Candidates,
    items: impl Iterator<Item = &'a str>,
    train: &Graph,
    valid: &Interactions,
    context: &Context,
) -> Result<Graph, StageError> {
    if pool.len() <= rule.negatives {
        let message =
            format!("{} negatives per user are asked for, but there are {} items", rule.negatives, pool.len());
        return Err(StageError::new(message).with_help("lower `negatives`, or rank all items: `candidates: auto`"));
    }
    let users = parquet::read(targets.artifact("users")?)?;
    let keys = user_keys(&users, train)?;
    let test = parquet::read(targets.artifact("test")?)?;
    let sets = texts(&test, "set")?;
    let pairs = u32s(&test, "user")?.iter().copied().zip(u32s(&test, "item")?.iter().copied());
    let mut asked = Interactions::default();
    let mut positives = Interactions { user: valid.user.clone(), item: valid.item.clone(), ..Interactions::default() };
    for (set, (user, item)) in sets.iter().zip(pairs) {
        if (user as usize) < train.n_users && (item as usize) < train.n_items {
            positives.user.push(user);
            positives.item.push(item);
            if pool.contains(item) && rule.of.iter().any(|part| set == Some(part.name())) {
                asked.user.push(user);
                asked.item.push(item);
            }
        }
    }
    let mut users = asked.user.clone();
    users.sort_unstable();
    users.dedup();
    if users.is_empty() {
        let names: Vec<String> = rule.of.iter().map(|part| format!("`{}`", part.name())).collect();
        let message = format!("no user has a test item that is ranked in {}", names.join(" or "));
        return Err(
            StageError::new(message).with_help("name another test in `of`, or choose a split that has this one")
        );
    }
    let positives = Graph::with_size(train.n_users, train.n_items, &positives);
    let negatives = rule.draw(pool, items, train, &[train, &positives], &users, |user| keys.value(user as usize));
    let short = negatives.iter().filter(|own| own.len() < rule.negatives).count();
    if short > 0 {
        let all = rule.negatives;
        context.log(format!(
            "{short} users have fewer than {all} items left that are not theirs: all of these are ranked"
        ));
    }
    for (&user, own) in users.iter().zip(negatives) {
        asked.user.extend(std::iter::repeat_n(user, own.len()));
        asked.item.extend(own);
    }
    Ok(Graph::with_size(train.n_users, train.n_items, &asked))
}

/// For each user the items that the file lists.
fn per_user<'a>(
    source: &str,
    targets: &Input,
    pool: &Candidates,
    items: impl Iterator<Item = &'a str>,
    train: &Graph,
    context: &Context,
) -> Result<Graph, StageError> {
    let users = parquet::read(targets.artifact("users")?)?;
    let keys = user_keys(&users, train)?;
    let users: HashMap<&str, u32> = keys.iter().flatten().zip(0..).collect();
    let items: HashMap<&str, u32> = items.zip(0..).filter(|&(_, item)| pool.contains(item)).collect();
    let text = read_list(source, context)?;
    let lines = || text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let tabs = text.contains('\t');
    let mut listed = Interactions::default();
    for (number, line) in lines() {
        let fields = if tabs { line.split_once('\t') } else { line.split_once(char::is_whitespace) };
        let (user, item) = fields.map(|(user, item)| (user.trim(), item.trim())).ok_or_else(|| {
            StageError::new(format!("line {} of `{source}` is not a user and an item: `{line}`", number + 1))
                .with_help("write both keys, with a tab or, in a file without tabs, blanks between them")
        })?;
        if let (Some(&user), Some(&item)) = (users.get(user), items.get(item)) {
            listed.user.push(user);
            listed.item.push(item);
        }
    }
    let (count, found) = (lines().count(), listed.len());
    if found == 0 {
        let first = |ids: &HashMap<&str, u32>| {
            ids.iter().min_by_key(|(_, id)| **id).map_or_else(String::new, |(key, _)| (*key).to_owned())
        };
        let (user, item) = (first(&users), first(&items));
        let message = format!("none of the {count} lines of `{source}` has a user and an item of the training part");
        return Err(StageError::new(message).with_help(format!(
            "each line must have the keys of a user and an item as the raw data have them, such as `{user} {item}`"
        )));
    }
    let sets = Graph::with_size(train.n_users, train.n_items, &listed);
    let without = (0..train.n_users as u32).filter(|&user| sets.items_of(user).is_empty()).count();
    context.log(format!("{found} of the {count} lines of `{source}` have a user and an item of the training part"));
    if without > 0 {
        context.log(format!("{without} users have no line: nothing is ranked for them"));
    }
    Ok(sets)
}

/// The text of the file that the rule names.
fn read_list(source: &str, context: &Context) -> Result<String, StageError> {
    let path = context.job.files.first().ok_or_else(|| StageError::new("the list of items did not come in"))?;
    fs::read_to_string(path).map_err(|error| StageError::new(format!("cannot read `{source}`: {error}")))
}

/// Which items the file lists.
fn listed(source: &str, keys: &StringArray, n_items: usize, context: &Context) -> Result<Vec<bool>, StageError> {
    let text = read_list(source, context)?;
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
