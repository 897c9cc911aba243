//! `cache`: what is in it, what may go, and whether it is sound.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::args::{CacheCommand, GlobalArgs};
use super::clock::timestamp;
use super::exit::{CliError, DONE, STORE};
use super::project::{open_store, store_error};
use super::record::Record;
use crate::digest::Digest;
use crate::store::{GcOptions, Store};
use crate::ui::{Ui, text};

const DAY: u64 = 24 * 60 * 60;

pub fn main(args: &CacheCommand, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let store = open_store(global)?;
    match args {
        CacheCommand::Ls => list(&store, ui),
        CacheCommand::Gc { days, dry_run } => collect(&store, *days, *dry_run, ui),
        CacheCommand::Verify { repair } => verify(&store, *repair, ui),
    }
}

fn list(store: &Store, ui: &Ui) -> Result<u8, CliError> {
    let mut rows = Vec::new();
    let mut total = 0;
    for key in store.keys().map_err(store_error)? {
        let (Some(entry), origin) = (store.index_entry(&key).ok().flatten(), store.origin(&key).ok().flatten()) else {
            ui.warn(&format!("the entry of {key} is damaged; `cnsdiff-pipe cache verify --repair` removes it"));
            continue;
        };
        let id = origin.map(|origin| origin.id).unwrap_or_default();
        let bytes: u64 = entry.outputs.iter().map(|output| output.bytes).sum();
        total += bytes;
        if ui.json {
            ui.result_json(&json!({ "id": id, "entry": entry }))?;
        }
        rows.push(vec![id, entry.kind.clone(), key.short(), text::bytes(bytes), text::duration(entry.seconds)]);
    }
    if ui.json {
        return Ok(DONE);
    }
    rows.sort();
    ui.result(&text::table(ui.out, &["made for", "kind", "key", "size", "time"], &rows));
    ui.note(&format!(
        "{}, {} of artifacts in {}",
        text::count(rows.len(), "result"),
        text::bytes(total),
        store.dir().display()
    ));
    Ok(DONE)
}

/// What the last runs of the pipelines refer to stays, and what any run of the last days refers to.
fn collect(store: &Store, days: u64, dry_run: bool, ui: &Ui) -> Result<u8, CliError> {
    let age = Duration::from_secs(days.saturating_mul(DAY));
    let since = SystemTime::now().checked_sub(age).map(timestamp).unwrap_or_default();
    let mut keep: BTreeSet<Digest> = BTreeSet::new();
    for record in Record::all(store).into_iter().filter(|record| record.started > since) {
        keep.extend(record.with_stages(store)?.stages.iter().filter_map(|stage| stage.key));
    }
    let used = store.last_keys(age).map_err(store_error)?.names;
    let unneeded = Record::outdated(store, &since, &used);
    let report = store.gc(&GcOptions { keep, older_than: age, unneeded, dry_run }).map_err(store_error)?;
    if ui.json {
        ui.result_json(&report)?;
    } else {
        let verb = if dry_run { "would remove" } else { "removed" };
        ui.result(&format!(
            "{verb} {}, {} and {} ({} of disk space); {} ({}) stay",
            text::count(report.entries, "result"),
            text::count(report.objects, "object"),
            text::count(report.others, "other file"),
            text::bytes(report.bytes),
            text::count(report.kept_entries, "result"),
            text::bytes(report.kept_bytes),
        ));
    }
    Ok(DONE)
}

fn verify(store: &Store, repair: bool, ui: &Ui) -> Result<u8, CliError> {
    let report = store.verify(repair).map_err(store_error)?;
    if ui.json {
        ui.result_json(&report)?;
    } else {
        for damage in &report.damaged {
            ui.result(&format!("damaged: {}: {}", damage.path.display(), damage.reason));
        }
        let (entries, objects) = (text::count(report.entries, "result"), text::count(report.objects, "object"));
        ui.result(&format!(
            "read {entries}, {objects} and {} ({}), {} damaged",
            text::count(report.downloads, "download"),
            text::bytes(report.bytes),
            report.damaged.len()
        ));
    }
    if report.damaged.is_empty() {
        return Ok(DONE);
    }
    if report.repaired {
        ui.note("what was damaged is removed; the next run makes it anew");
        return Ok(DONE);
    }
    Err(CliError::new(STORE, "the cache is damaged")
        .help("`cnsdiff-pipe cache verify --repair` removes what is damaged; the next run makes it anew"))
}
