//! Gathers the rows of raw files as columns, and judges what was malformed.

use std::path::Path;

use super::{Params, PartFile};
use crate::data::format::{Block, Format, Malformed, Scan};
use crate::data::ids::{IdMap, TooManyKeys};
use crate::data::time::{Implausible, day};
use crate::data::{Interactions, Parts};
use crate::engine::stage::{Context, StageError};

/// Malformed lines shown in messages.
const SHOWN: usize = 5;

/// Rows in file order while files are read, and their keys.
#[derive(Default)]
pub struct RawRows {
    pub users: IdMap,
    pub items: IdMap,
    user: Vec<u32>,
    item: Vec<u32>,
    time: Vec<i64>,
    weight: Vec<f32>,
    part: Vec<u32>,
    names: Vec<String>,
}

impl RawRows {
    /// Adds the rows of a file.
    pub fn read(&mut self, file: &PartFile, format: &Format, path: &Path) -> Result<Scan, StageError> {
        let part = self.names.iter().position(|name| *name == file.part).unwrap_or_else(|| {
            self.names.push(file.part.clone());
            self.names.len() - 1
        });
        let scan = format.read(path, file.member.as_deref(), &mut |block| self.append(block, part as u32));
        scan.map_err(|error| StageError::new(error.to_string()))
    }

    fn append(&mut self, block: &Block, part: u32) -> Result<(), TooManyKeys> {
        let Self { users, items, user, item, .. } = self;
        let (users, items) = rayon::join(|| block.user.append_ids(users, user), || block.item.append_ids(items, item));
        users.and(items)?;
        self.time.extend_from_slice(&block.time);
        self.weight.extend_from_slice(&block.weight);
        self.part.resize(self.user.len(), part);
        Ok(())
    }

    /// What is dropped because only some rows have it.
    pub fn partly_known(&self) -> Option<String> {
        let n = self.user.len();
        let known = [("times", self.time.len()), ("weights", self.weight.len())];
        let partly = known.into_iter().filter(|&(_, known)| known > 0 && known < n);
        let partly: Vec<String> = partly.map(|(what, known)| format!("{known} of {n} rows have {what}")).collect();
        let told = |partly: String| format!("{partly}: all must have them, and so they are dropped");
        (!partly.is_empty()).then(|| told(partly.join(", ")))
    }

    /// Times and weights are known only if every row has them.
    pub fn finish(self) -> (Parts, IdMap, IdMap) {
        let n = self.user.len();
        let time = Some(self.time).filter(|time| time.len() == n);
        let weight = Some(self.weight).filter(|weight| weight.len() == n);
        let rows = Interactions { user: self.user, item: self.item, time, weight };
        (Parts { rows, part: self.part, names: self.names }, self.users, self.items)
    }
}

/// Refuses a file with too many malformed lines or implausible times, or without a valid line; words warnings of one with some.
pub fn judge(file: &PartFile, found: &Scan, params: &Params, context: &Context) -> Result<Vec<String>, StageError> {
    // Warnings are results, which must not depend on the file's path; its part is a parameter.
    let PartFile { source, part, .. } = file;
    let mut warnings = Vec::new();
    let bad = found.malformed_lines;
    let lines = found.rows + bad;
    if lines == 0 {
        let message = format!("`{source}` holds no interaction: it is empty, or nothing follows its header");
        return Err(StageError::new(message).with_help("check `source`, `member` and `format`"));
    }
    if let Some(line) = &found.supposed_header {
        let line = line.escape_debug();
        warnings.push(format!(
            "`{part}`: the first line is taken for names of columns: `{line}`; if it holds data, say `header: false`, \
             else give the columns by their names"
        ));
    }
    if bad > 0 {
        let shown = found.malformed.iter().take(SHOWN);
        let shown = shown.map(|Malformed { line, text, reason }| format!("\n  line {line}: {reason}: `{text}`"));
        let more = if bad > SHOWN as u64 { format!("\n  and {} more", bad - SHOWN as u64) } else { String::new() };
        let told = format!("{bad} of {lines} lines hold no interaction");
        let message = format!("`{source}`: {told}:{}{more}", shown.collect::<String>());
        let max_malformed = params.max_malformed;
        if found.rows == 0 || bad as f64 > max_malformed * lines as f64 {
            let help = format!(
                "check `format`; if the file is what it should be, accept more by `max_malformed` (now {max_malformed})"
            );
            return Err(StageError::new(message).with_help(help));
        }
        context.log(message);
        warnings.push(format!("`{part}`: {told} and are left out (artifact `malformed`)"));
    }
    let Implausible { count, example } = found.implausible;
    if count > 0 {
        let rows = found.rows;
        let told = format!("{count} of {rows} times lie before 1970-01-02 or after 2099-12-31: {}", day(example));
        let max = params.max_implausible_times;
        if count as f64 > max * rows as f64 {
            let help = "check `time_unit` and the column of times; if they are what they should be, accept more by \
                        `max_implausible_times`";
            return Err(StageError::new(format!("`{source}`: {told}")).with_help(format!("{help} (now {max})")));
        }
        warnings.push(format!("`{part}`: {told}"));
    }
    Ok(warnings)
}
