//! `status`: how complete a pipeline's results are, what they cost and how large they are. Runs nothing.

use serde_json::json;

use super::args::{GlobalArgs, StatusArgs};
use super::duplicates;
use super::exit::{CliError, DONE};
use super::project::{Project, engine_error, open_store};
use super::record::Record;
use crate::engine;
use crate::ui::{Ui, text};

pub fn main(args: &StatusArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let project = Project::load(&args.selection, ui)?;
    let store = open_store(global)?;
    let plan = &project.plan;
    let options = project.options(&args.mirrors);
    let states = engine::probe(plan, &project.registry, &store, &options).map_err(engine_error)?;
    let mut rows = Vec::new();
    let (mut done, mut seconds, mut bytes) = (0, 0.0, 0);
    for stage in &plan.pipeline.stages {
        let entries: Vec<_> = stage.instances.clone().filter_map(|index| states[index].entry()).collect();
        let spent: f64 = entries.iter().map(|entry| entry.seconds).sum();
        let size: u64 = entries.iter().flat_map(|entry| &entry.outputs).map(|output| output.bytes).sum();
        let peak = entries.iter().filter_map(|entry| entry.peak_memory_bytes).max();
        let of = stage.instances.len();
        if ui.json {
            ui.result_json(&json!({
                "stage": stage.name, "kind": stage.kind, "done": entries.len(), "of": of,
                "seconds": spent, "bytes": size, "peak_memory_bytes": peak,
            }))?;
        }
        rows.push(vec![
            stage.name.clone(),
            stage.kind.clone(),
            format!("{}/{of}", entries.len()),
            text::duration(spent),
            text::bytes(size),
            peak.map_or(String::new(), text::bytes),
        ]);
        (done, seconds, bytes) = (done + entries.len(), seconds + spent, bytes + size);
    }
    duplicates::report(plan, &states, ui);
    let warnings = engine::warnings(plan, &states);
    if ui.json {
        if !warnings.is_empty() {
            ui.result_json(&json!({ "warnings": warnings }))?;
        }
        return Ok(DONE);
    }
    ui.result(&text::table(ui.out, &["stage", "kind", "done", "time", "size", "peak memory"], &rows));
    let (time, size) = (text::duration(seconds), text::bytes(bytes));
    ui.result(&format!("{done} of {} done; they took {time} and {size}", text::count(plan.len(), "stage")));
    ui.warnings(&warnings);
    if let Some(last) = Record::all(&store).into_iter().rfind(|record| record.pipeline == plan.pipeline.name) {
        ui.result(&format!("last run: {} at {}, {}", last.run, last.started, last.outcome));
    }
    Ok(DONE)
}
