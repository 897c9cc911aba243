//! Gathers the rows of raw files as columns, and judges what was malformed.

use std::path::Path;

use super::PartFile;
use crate::data::format::{Block, Format, Malformed, Scan};
use crate::data::ids::{IdMap, TooManyKeys};
use crate::data::{Interactions, Parts};
use crate::engine::stage::StageError;

/// Malformed lines shown in messages.
const SHOWN: usize = 5;

/// Rows in file order while files are read, and their keys.
#[derive(Default)]
pub struct Raw {
    pub users: IdMap,
    pub items: IdMap,
    user: Vec<u32>,
    item: Vec<u32>,
    time: Vec<i64>,
    weight: Vec<f32>,
    part: Vec<u32>,
    names: Vec<String>,
}

impl Raw {
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

    /// Times and weights are known only if every row has them.
    pub fn finish(self) -> (Parts, IdMap, IdMap) {
        let n = self.user.len();
        let time = Some(self.time).filter(|time| time.len() == n);
        let weight = Some(self.weight).filter(|weight| weight.len() == n);
        let rows = Interactions { user: self.user, item: self.item, time, weight };
        (Parts { rows, part: self.part, names: self.names }, self.users, self.items)
    }
}

/// Refuses a file with too many malformed lines or no valid one; words the warning for one with some.
pub fn judge(source: &str, found: &Scan, max_malformed: f64) -> Result<Option<String>, StageError> {
    let bad = found.malformed_lines;
    let lines = found.rows + bad;
    if lines == 0 {
        let message = format!("`{source}` holds no interaction: it is empty, or nothing follows its header");
        return Err(StageError::new(message).with_help("check `source`, `member` and `format`"));
    }
    if bad == 0 {
        return Ok(None);
    }
    let shown = found.malformed.iter().take(SHOWN);
    let shown = shown.map(|Malformed { line, text, reason }| format!("\n  line {line}: {reason}: `{text}`"));
    let more = if bad > SHOWN as u64 { format!("\n  and {} more", bad - SHOWN as u64) } else { String::new() };
    let message = format!("`{source}`: {bad} of {lines} lines hold no interaction:{}{more}", shown.collect::<String>());
    if found.rows == 0 || bad as f64 > max_malformed * lines as f64 {
        let help = format!(
            "check `format`; if the file is what it should be, accept more by `max_malformed` (now {max_malformed})"
        );
        return Err(StageError::new(message).with_help(help));
    }
    Ok(Some(message))
}
