//! `explain`: why a stage would run again. Compares what its key is made of with what the key of its last
//! execution was made of; both come from the traversal that makes the key itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::{ExplainArgs, GlobalArgs};
use super::exit::{CliError, DONE};
use super::plan::word;
use super::project::{Project, engine_error, open_store};
use crate::digest::Digest;
use crate::engine::{Resolver, State};
use crate::plan::{Change, diff};
use crate::store::Store;
use crate::ui::{Tone, Ui};

/// Why an instance stands where it stands.
#[derive(Serialize)]
struct Explanation {
    id: String,
    state: &'static str,
    key: Option<Digest>,
    reason: String,
    changes: Vec<Change>,
    waits_on: Vec<String>,
}

pub fn main(args: &ExplainArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let project = Project::load(&args.selection, ui)?;
    let store = open_store(global)?;
    let chosen = project.select(&args.stage)?;
    let options = project.options(&args.mirrors);
    let resolver = Resolver::new(&project.plan, &project.registry, &store, &options).map_err(engine_error)?;
    let states = resolver.probe();
    let previous = store.previous(options.pipeline(&project.plan));
    let explainer = Explainer { project: &project, store: &store, resolver: &resolver, states: &states, previous };
    let explanations = chosen.into_iter().map(|index| explainer.explain(index)).collect::<Result<Vec<_>, _>>()?;
    if ui.json {
        for explanation in &explanations {
            ui.result_json(explanation)?;
        }
        return Ok(DONE);
    }
    // A changed parameter often concerns every instance in the same way: told once, with all it concerns.
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for explanation in &explanations {
        let text = explanation.text(ui);
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, ids)) => ids.push(&explanation.id),
            None => groups.push((text, vec![&explanation.id])),
        }
    }
    for (text, ids) in groups {
        let ids: Vec<String> = ids.into_iter().map(|id| ui.out.paint(Tone::Strong, id)).collect();
        ui.result(&format!("{}\n{text}", ids.join("\n")));
    }
    Ok(DONE)
}

struct Explainer<'a> {
    project: &'a Project,
    store: &'a Store,
    resolver: &'a Resolver<'a>,
    states: &'a [State],
    previous: BTreeMap<String, Digest>,
}

impl Explainer<'_> {
    fn explain(&self, index: usize) -> Result<Explanation, CliError> {
        let plan = &self.project.plan;
        let id = plan.instance(index).id.clone();
        let state = &self.states[index];
        let mut changes = Vec::new();
        let mut waits_on = Vec::new();
        let reason = match state {
            State::Hit { .. } => "its result is in the cache".to_owned(),
            State::Waits { on } => {
                waits_on = on.iter().map(|&source| plan.instance(source).id.clone()).collect();
                "its key is not known before these have run; it runs only if their results differ".to_owned()
            }
            State::Failed { failure, .. } => format!("it cannot be run: {}", failure.error),
            _ => {
                let (reason, found) = self.compare(index)?;
                changes = found;
                reason
            }
        };
        Ok(Explanation { id, state: word(state), key: state.key(), reason, changes, waits_on })
    }

    /// Against the last key under which the instance had a result.
    fn compare(&self, index: usize) -> Result<(String, Vec<Change>), CliError> {
        let plan = &self.project.plan;
        let Some(old) = self.previous.get(&plan.instance(index).id) else {
            return Ok(("it has never run with success in this cache".to_owned(), Vec::new()));
        };
        if self.states[index].key() == Some(*old) {
            return Ok(("nothing changed, but its result is no longer in the cache".to_owned(), Vec::new()));
        }
        let Some(origin) = self.store.origin(old).map_err(CliError::store)? else {
            return Ok((
                "it changed, but what its last key was made of is no longer in the cache".to_owned(),
                Vec::new(),
            ));
        };
        match self.resolver.fields(index, self.states) {
            Ok(Some(new)) => Ok(("it changed since its last result:".to_owned(), diff(&origin.material, &new))),
            Err(error) => Ok((format!("it cannot be run: {error}"), Vec::new())),
            Ok(None) => Ok(("its key is not known yet".to_owned(), Vec::new())),
        }
    }
}

impl Explanation {
    /// Everything but the id.
    fn text(&self, ui: &Ui) -> String {
        let tone = if self.state == "cached" { Tone::Good } else { Tone::Note };
        let mut text = format!("  {}: {}", ui.out.paint(tone, self.state), self.reason);
        for change in &self.changes {
            let [old, new] =
                [&change.old, &change.new].map(|value| value.as_deref().map_or("nothing".to_owned(), brief));
            text.push_str(&format!("\n    {}: {old} -> {new}", change.field));
        }
        for id in &self.waits_on {
            text.push_str(&format!("\n    {id}"));
        }
        text
    }
}

/// Digests in the length that people compare.
fn brief(value: &str) -> String {
    value.parse::<Digest>().map_or_else(|_| value.to_owned(), |digest| digest.short())
}
