//! Raw formats: how published files of interactions are written. One file per format, one variant per format here.

mod adjacency;
mod block;
mod byte_scan;
mod delimited;
pub mod fuzz;
mod json;
mod lines;

mod parquet;
mod pickle;
mod presets;
mod recbole;
mod selfrec;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use block::{Block, BlockWriter};
pub use delimited::{ColumnRef, Delimited, TextColumns};
pub use json::JsonLines;
pub use parquet::{ParquetFile, TableColumns};
pub use recbole::Recbole;

use adjacency::Adjacency;
use lines::Lines;
use selfrec::Selfrec;

use super::open::{OpenError, open, open_unpacked};
use super::time::Implausible;

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
    /// JSON lines: an object per line.
    JsonLines(JsonLines),
    /// An atomic file of RecBole (`.inter`), with a typed header.
    Recbole(Recbole),
    /// Lines `user item item ...`, one per user, without times and weights (LightGCN).
    Adjacency,
    /// MovieLens 100K: `u.data`.
    #[serde(rename = "movielens_100k")]
    Movielens100k,
    /// MovieLens 1M and 10M: `ratings.dat`, separated by `::`.
    MovielensDat,
    /// MovieLens 20M and newer: `ratings.csv`.
    MovielensCsv,
    /// KuaiRec: `big_matrix.csv`; the weight is the watch ratio.
    KuairecBig,
    /// KuaiRec: `small_matrix.csv`; the weight is the watch ratio. Times are not read: many of its rows have none.
    KuairecSmall,
    /// Food.com: `RAW_interactions.csv`.
    FoodCom,
    /// The Yelp open data set: `yelp_academic_dataset_review.json`.
    Yelp,
    /// Amazon, 2014: `ratings_*.csv` (user, item, rating, time).
    #[serde(rename = "amazon_ratings_2014")]
    AmazonRatings2014,
    /// Amazon, 2018: ratings only, `*.csv` (item, user, rating, time).
    #[serde(rename = "amazon_ratings_2018")]
    AmazonRatings2018,
    /// Amazon, 2014 and 2018: reviews as JSON lines, `*.json`.
    #[serde(rename = "amazon_reviews_2018")]
    AmazonReviews2018,
    /// Amazon, 2023: reviews as JSON lines, `*.jsonl`; the item is `parent_asin`.
    #[serde(rename = "amazon_reviews_2023")]
    AmazonReviews2023,
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
    /// Valid rows whose time can hardly be right.
    pub implausible: Implausible,
    /// The line that was taken for a header, although nothing in it tells.
    pub supposed_header: Option<String>,
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
pub type RowSink<'a> = &'a mut (dyn FnMut(&Block) -> Result<(), super::ids::TooManyKeys> + Send);

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
    pub fn read(&self, path: &Path, member: Option<&str>, sink: RowSink) -> Result<Scan, FormatError> {
        let stream = || open(path, member);
        match self {
            Self::Selfrec => Lines::new(path, stream()?)?.read(&Selfrec, sink),
            Self::Adjacency => Lines::new(path, stream()?)?.read(&Adjacency, sink),
            Self::Delimited(delimited) => delimited.read(path, stream()?, sink),
            Self::JsonLines(json) => json.read(path, stream()?, sink),
            Self::Recbole(recbole) => recbole.read(path, stream()?, sink),
            Self::Parquet(parquet) => parquet.read(path, open_unpacked(path, member)?, sink),
            Self::Pickle => pickle::read(path, stream()?, sink),
            Self::Movielens100k => presets::movielens_100k().read(path, stream()?, sink),
            Self::MovielensDat => presets::movielens_dat().read(path, stream()?, sink),
            Self::MovielensCsv => presets::movielens_csv().read(path, stream()?, sink),
            Self::KuairecBig => presets::kuairec_big().read(path, stream()?, sink),
            Self::KuairecSmall => presets::kuairec_small().read(path, stream()?, sink),
            Self::FoodCom => presets::food_com().read(path, stream()?, sink),
            Self::Yelp => presets::yelp().read(path, stream()?, sink),
            Self::AmazonRatings2014 => presets::amazon_ratings_2014().read(path, stream()?, sink),
            Self::AmazonRatings2018 => presets::amazon_ratings_2018().read(path, stream()?, sink),
            Self::AmazonReviews2018 => presets::amazon_reviews_2018().read(path, stream()?, sink),
            Self::AmazonReviews2023 => presets::amazon_reviews_2023().read(path, stream()?, sink),
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

/// A finite number, or why not. Fractions are rounded to single precision; integers must fit.
fn weight(field: &str) -> Result<f32, String> {
    if let Some(weight) = short_decimal(field.as_bytes()) {
        return Ok(weight);
    }
    match field.parse::<f32>() {
        // All integers up to here, 2^24, have their own value.
        Ok(weight) if weight.abs() < 16_777_216.0 => Ok(weight),
        Ok(weight) if !weight.is_finite() => Err(format!("the weight `{}` is not a finite number", cut(field))),
        Ok(weight) if holds(weight, field) => Ok(weight),
        Ok(_) => Err(format!("the weight `{}` is an integer that single precision does not hold exactly", cut(field))),
        Err(_) => Err(format!("the weight `{}` is not a number", cut(field))),
    }
}

/// Whether a field is a fraction, or a whole number that the weight made of it still is. In other notations than that of
/// integers, whole numbers may have lost digits from 2^53 on.
fn holds(weight: f32, field: &str) -> bool {
    let digits = field.trim_start_matches(['+', '-']);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return field.parse() == Ok(weight as i128);
    }
    let exact = |wide: f64| wide == f64::from(weight) && wide.abs() < 9_007_199_254_740_992.0;
    field.parse::<f64>().is_ok_and(|wide| wide.fract() != 0.0 || exact(wide))
}

/// A number such as `4` or `3.5`, of at most seven digits and without a sign, as ratings are: a quotient of two numbers
/// that `f32` holds exactly, and therefore rounded as its parser does (Clinger, 1990).
fn short_decimal(field: &[u8]) -> Option<f32> {
    let (mut digits, mut scale, mut fraction) = (0u32, 1u32, false);
    if field.len() > 8 {
        return None;
    }
    for &byte in field {
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + u32::from(byte - b'0');
                scale *= if fraction { 10 } else { 1 };
            }
            b'.' if !fraction => fraction = true,
            _ => return None,
        }
    }
    let exact = field.len() - usize::from(fraction);
    (1..=7).contains(&exact).then(|| digits as f32 / scale as f32)
}

#[cfg(test)]
mod tests;
