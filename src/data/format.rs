//! Raw formats: how files of interactions are written by others. One file per format, one variant per format here.
//! Knows nothing of where a file came from or what its rows are for.

mod block;
mod delimited;
mod lines;
mod parquet;
mod pickle;
mod selfrec;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use block::{Block, Rows};
pub use delimited::{Column, Delimited, TextColumns};
pub use parquet::{ParquetFile, TableColumns};

use lines::Lines;
use selfrec::Selfrec;

use super::open::{OpenError, open, open_unpacked};

/// How a raw file is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lines `user item weight`, separated by spaces (the input of SELFRec and its descendants).
    Selfrec,
    /// Delimited text, such as CSV or TSV, with named or numbered columns.
    Delimited(Delimited),
    /// An Apache Parquet file.
    Parquet(ParquetFile),
    /// A Python pickle of a dict from users to lists of items in the order of time (RealHNS); nothing is executed. The
    /// time of a row is its position in the list, from 0.
    Pickle,
}

/// One valid row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    pub user: &'a str,
    pub item: &'a str,
    /// Seconds since 1970.
    pub time: Option<i64>,
    pub weight: Option<f32>,
}

/// A line that holds no interaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// From 1; in a Parquet file, the row.
    pub line: u64,
    /// The line, cut at [`TEXT_LIMIT`] bytes.
    pub text: String,
    pub reason: String,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// Valid rows.
    pub rows: u64,
    pub malformed_lines: u64,
    /// The first [`KEPT`] of them.
    pub malformed: Vec<Malformed>,
}

/// How many malformed lines of a file are kept.
pub const KEPT: usize = 10_000;

impl Scan {
    /// Counts a malformed line, and keeps it while there are few.
    pub fn reject(&mut self, bad: Malformed) {
        self.malformed_lines += 1;
        if self.malformed.len() < KEPT {
            self.malformed.push(bad);
        }
    }

    /// Adds what was read of the next stretch of the file, whose lines are numbered from 1 after `lines` earlier ones.
    fn append(&mut self, next: Self, lines: u64) {
        self.rows += next.rows;
        self.malformed_lines += next.malformed_lines;
        let free = KEPT - self.malformed.len();
        let numbered = next.malformed.into_iter().map(|bad| Malformed { line: lines + bad.line, ..bad });
        self.malformed.extend(numbered.take(free));
    }
}

/// Receives the valid rows in file order, block by block; an error ends the reading.
pub type Sink<'a> = &'a mut (dyn FnMut(&Block) -> Result<(), super::ids::TooManyKeys> + Send);

/// A file could not be read in its format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("cannot read `{}`: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("`{}` has no column `{column}`; it has: {}", path.display(), found.join(", "))]
    NoColumn { path: PathBuf, column: String, found: Vec<String> },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    TooManyKeys(#[from] super::ids::TooManyKeys),
}

impl FormatError {
    fn read(path: &Path, reason: impl ToString) -> Self {
        Self::Read { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// How much of a malformed line is kept.
pub const TEXT_LIMIT: usize = 200;

impl Format {
    /// What types cannot express: the mistake, if there is one.
    pub fn mistake(&self) -> Option<String> {
        match self {
            Self::Delimited(delimited) => delimited.mistake(),
            _ => None,
        }
    }

    /// Passes the valid rows of a file, or of that member of an archive, to `sink` and tells of the others. Blank lines
    /// are neither.
    ///
    /// # Errors
    /// An unreadable file, or columns that it does not have (with those that it has).
    pub fn read(&self, path: &Path, member: Option<&str>, sink: Sink) -> Result<Scan, FormatError> {
        let stream = || open(path, member);
        match self {
            Self::Selfrec => Lines::new(path, stream()?)?.read(&Selfrec, sink),
            Self::Delimited(delimited) => delimited.read(path, stream()?, sink),
            Self::Parquet(parquet) => parquet.read(path, open_unpacked(path, member)?, sink),
            Self::Pickle => pickle::read(path, stream()?, sink),
        }
    }
}

pub(super) fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A finite number, or why not.
fn weight(field: &str) -> Result<f32, String> {
    match field.parse::<f32>() {
        Ok(weight) if weight.is_finite() => Ok(weight),
        Ok(_) => Err(format!("the weight `{}` is not a finite number", cut(field))),
        Err(_) => Err(format!("the weight `{}` is not a number", cut(field))),
    }
}

#[cfg(test)]
mod tests;
