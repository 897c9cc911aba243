//! `runs`: what was run, newest first.

use super::args::{GlobalArgs, RunsArgs};
use super::exit::{CliError, DONE};
use super::project::open_store;
use super::record::Record;
use crate::ui::{Ui, text};

pub fn main(args: &RunsArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let store = open_store(global)?;
    let mut records = Record::all(&store);
    records.reverse();
    records.truncate(args.limit);
    if ui.json {
        for record in &records {
            ui.result_json(record)?;
        }
        return Ok(DONE);
    }
    if records.is_empty() {
        ui.note("no run is recorded in this cache yet");
        return Ok(DONE);
    }
    let row = |record: &Record| {
        let commit = record.git.as_ref().map_or(String::new(), |git| {
            format!("{}{}", git.commit.get(..8).unwrap_or(&git.commit), if git.dirty { "+" } else { "" })
        });
        let same = record.same_as.as_ref().map_or(String::new(), |run| format!("same as {run}"));
        let duration = text::duration(record.seconds);
        vec![record.run.clone(), record.pipeline.clone(), record.outcome.clone(), duration, commit, same]
    };
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    ui.result(&text::table(ui.out, &["run", "pipeline", "outcome", "time", "commit", "results"], &rows));
    Ok(DONE)
}
