//! `clean`: forgets results, so that they are computed again. Reports and lock files are the user's and stay.

use std::collections::BTreeSet;

use super::args::{CleanArgs, GlobalArgs};
use super::exit::{CliError, DONE};
use super::project::{Project, engine_error, open_store, store_error};
use crate::digest::Digest;
use crate::engine;
use crate::ui::{Ui, text};

pub fn main(args: &CleanArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let store = open_store(global)?;
    let verb = if args.dry_run { "would remove" } else { "removed" };
    if args.everything {
        let directory = store.dir().to_owned();
        if !args.dry_run {
            store.destroy().map_err(store_error)?;
        }
        ui.result(&format!("{verb} the cache {}", directory.display()));
        return Ok(DONE);
    }
    let project = Project::load(&args.selection, ui)?;
    let plan = &project.plan;
    let chosen: Vec<usize> = match args.stage.as_slice() {
        [] => (0..plan.len()).collect(),
        names => names.iter().map(|name| project.select(name)).collect::<Result<Vec<_>, _>>()?.concat(),
    };
    let options = project.options(&args.mirrors);
    let states = engine::probe(plan, &project.registry, &store, &options).map_err(engine_error)?;
    let previous = store.previous(options.pipeline(plan));
    // What is current, and what was current when the pipeline last ran.
    let keys: BTreeSet<Digest> = chosen
        .iter()
        .flat_map(|&index| [states[index].key(), previous.get(&plan.instance(index).id).copied()])
        .flatten()
        .collect();
    let report = store.forget(&keys, args.dry_run).map_err(store_error)?;
    if ui.json {
        ui.result_json(&report)?;
    } else {
        let (results, objects) = (text::count(report.entries, "result"), text::count(report.objects, "object"));
        ui.result(&format!("{verb} {results} and {objects} ({})", text::bytes(report.bytes)));
    }
    Ok(DONE)
}
