//! `show`: what a stage produced: its artifacts with schema and first rows, its log, and what it cost.

use std::sync::Arc;

use serde_json::json;

use super::args::{GlobalArgs, RowFormat, ShowArgs};
use super::exit::{CliError, DONE};
use super::plan::word;
use super::project::{Project, engine_error, open_store, store_error};
use super::rows;
use crate::engine::{self, Options, State};
use crate::store::{Entry, OutputEntry, Store};
use crate::ui::{Tone, Ui, text};

pub fn main(args: &ShowArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let project = Project::load(&args.selection, ui)?;
    let store = open_store(global)?;
    let chosen = project.select(&args.stage)?;
    let options = project.options(&args.mirrors);
    let states = engine::probe(&project.plan, &project.registry, &store, &options).map_err(engine_error)?;
    let &[index] = chosen.as_slice() else {
        return overview(&project, &states, &chosen, args, ui);
    };
    let id = &project.plan.instance(index).id;
    if args.log {
        let failed = states[index].key().or_else(|| store.previous(options.pipeline(&project.plan)).get(id).copied());
        let text = failed.and_then(|key| crate::store::read(&store.log_path(&key)).ok());
        match text {
            Some(text) => ui.result(&text::visible(&String::from_utf8_lossy(&text), false)),
            None => ui.note(&format!("`{id}` has no log")),
        }
        return Ok(DONE);
    }
    let entry = entry(&project, &store, &options, &states, index, ui)?;
    match &args.artifact {
        Some(name) => {
            let output = entry.output(name).ok_or_else(|| {
                let names: Vec<&str> = entry.outputs.iter().map(|output| output.name.as_str()).collect();
                CliError::wrong(format!("`{id}` has no artifact `{name}`")).help(format!("it has {}", names.join(", ")))
            })?;
            let format = if ui.json { RowFormat::Json } else { args.format };
            head(&store, output, args.rows, format, ui)
        }
        None if ui.json => Ok(ui.result_json(&json!({ "id": id, "state": word(&states[index]), "entry": &*entry }))?),
        None => describe(&store, id, &entry, args, ui),
    }?;
    Ok(DONE)
}

/// The current result, or else the last one, with a warning.
fn entry(
    project: &Project,
    store: &Store,
    options: &Options,
    states: &[State],
    index: usize,
    ui: &Ui,
) -> Result<Arc<Entry>, CliError> {
    if let Some(entry) = states[index].entry() {
        return Ok(entry.clone());
    }
    let id = &project.plan.instance(index).id;
    let last = store.previous(options.pipeline(&project.plan)).get(id).and_then(|key| store.entry(key));
    let last = last.ok_or_else(|| {
        CliError::wrong(format!("`{id}` has no result yet"))
            .help("run the pipeline, or look at what it waits for with `plan --all`")
    })?;
    ui.warn(&format!("`{id}` would run again; this is its last result (see `explain`)"));
    Ok(Arc::new(last))
}

/// Several instances: a line for each.
fn overview(project: &Project, states: &[State], chosen: &[usize], args: &ShowArgs, ui: &Ui) -> Result<u8, CliError> {
    let ids: Vec<&str> = chosen.iter().map(|&index| project.plan.instance(index).id.as_str()).collect();
    if args.artifact.is_some() || args.log {
        return Err(CliError::wrong(format!("`{}` means {} instances; one is needed", args.stage, ids.len()))
            .help(format!("such as `{}`", ids.first().unwrap_or(&""))));
    }
    let mut rows = Vec::new();
    for (&index, id) in chosen.iter().zip(ids) {
        let entry = states[index].entry();
        if ui.json {
            ui.result_json(&json!({ "id": id, "state": word(&states[index]), "entry": entry.map(|entry| &**entry) }))?;
        }
        let bytes = entry.map(|entry| entry.outputs.iter().map(|output| output.bytes).sum());
        rows.push(vec![
            id.to_owned(),
            word(&states[index]).to_owned(),
            entry.map_or(String::new(), |entry| text::duration(entry.seconds)),
            bytes.map_or(String::new(), text::bytes),
        ]);
    }
    if !ui.json {
        ui.result(&text::table(ui.out, &["instance", "state", "time", "size"], &rows));
    }
    Ok(DONE)
}

/// Key, cost and every artifact with its columns and first rows.
fn describe(store: &Store, id: &str, entry: &Entry, args: &ShowArgs, ui: &Ui) -> Result<(), CliError> {
    let threads = text::count(entry.threads, "thread");
    let work =
        entry.cpu_seconds.map_or(String::new(), |cpu| format!(" ({} of CPU) with {threads}", text::duration(cpu)));
    let memory = entry.peak_memory_bytes.map_or(String::new(), |bytes| format!(", {} at most", text::bytes(bytes)));
    ui.result(&format!(
        "{}  {} {}\n  key {}\n  {}{work}{memory}",
        ui.out.paint(Tone::Strong, id),
        entry.kind,
        entry.kind_version,
        entry.key,
        text::duration(entry.seconds),
    ));
    let log = store.log_path(&entry.key);
    if log.exists() {
        ui.result(&format!("  log {}", log.display()));
    }
    for output in &entry.outputs {
        let size = text::bytes(output.bytes);
        ui.result(&format!(
            "\n{}  {}, {size}\n  {}",
            ui.out.paint(Tone::Strong, &output.name),
            text::count(output.rows as usize, "row"),
            store.object_path(&output.digest).display()
        ));
        head(store, output, args.rows, args.format, ui)?;
    }
    Ok(())
}

/// Columns with their types (in a table), and the first rows.
fn head(store: &Store, output: &OutputEntry, count: usize, format: RowFormat, ui: &Ui) -> Result<(), CliError> {
    let path = store.sound_object(&output.digest).map_err(store_error)?;
    let batch = crate::store::parquet::read(&path).map_err(CliError::store)?;
    if format == RowFormat::Table {
        let columns = batch.schema();
        let columns = columns.fields().iter().map(|field| {
            let null = if field.is_nullable() { "?" } else { "" };
            format!("{}: {}{null}", field.name(), field.data_type())
        });
        ui.result(&ui.out.paint(Tone::Dim, &format!("  {}", columns.collect::<Vec<_>>().join(", "))));
    }
    let text = rows::render(&batch, count, format, ui.out).map_err(CliError::store)?;
    match format {
        RowFormat::Table => ui.result(&text),
        RowFormat::Csv | RowFormat::Json => ui.result_exact(&text),
    }
    Ok(())
}
