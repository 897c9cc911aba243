//! Columns that the tables of several kinds share, and how long tables of interactions are read and written: in
//! pieces, so that no second copy of them is made.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use rayon::prelude::*;

use crate::data::Parts;
use crate::engine::stage::StageError;
use crate::spec::Column;
use crate::store::parquet::{ROW_GROUP, Writer, read_each};

const USER: Column = Column { name: "user", dtype: "u32", doc: "Dense id of the user." };
const ITEM: Column = Column { name: "item", dtype: "u32", doc: "Dense id of the item." };
const TIME: Column = Column { name: "time", dtype: "i64?", doc: "Seconds since 1970, where known." };
const WEIGHT: Column = Column { name: "weight", dtype: "f32?", doc: "Rating, watch ratio or count, where known." };

/// Interactions.
pub const INTERACTIONS: &[Column] = &[USER, ITEM, TIME, WEIGHT];

/// Interactions in named parts.
pub const INTERACTIONS_BY_PART: &[Column] =
    &[USER, ITEM, TIME, WEIGHT, Column { name: "part", dtype: "utf8", doc: "Part of the data." }];

/// Interactions of the test sets.
pub const INTERACTIONS_BY_SET: &[Column] =
    &[USER, ITEM, TIME, WEIGHT, Column { name: "set", dtype: "utf8", doc: "`iid` or `ood`." }];

const ID: Column = Column { name: "id", dtype: "u32", doc: "Dense id, from 0." };
const KEY: Column = Column { name: "key", dtype: "utf8", doc: "The key in the raw data." };
pub const DOMAIN: Column =
    Column { name: "domain", dtype: "utf8?", doc: "`target` or `source`, where there are two domains." };

/// An id map.
pub const KEYS: &[Column] = &[ID, KEY];

/// The id map of the items of a split.
pub const ITEMS: &[Column] = &[ID, KEY, DOMAIN];

/// Named counts.
pub const COUNTS: &[Column] = &[
    Column { name: "name", dtype: "utf8", doc: "What is counted." },
    Column { name: "value", dtype: "i64", doc: "The count." },
];

/// Interactions by the names in the text column `column`.
pub fn read_parts(path: &Path, column: &str) -> Result<Parts, StageError> {
    let mut parts = Parts::default();
    read_each(path, &[column], |batch| Ok::<_, StageError>(parts.append(&batch, column)?))?;
    Ok(parts)
}

/// Cuts rows into pieces of the size of a row group.
pub fn pieces(rows: usize) -> Vec<Range<usize>> {
    (0..rows).step_by(ROW_GROUP).map(|start| start..rows.min(start + ROW_GROUP)).collect()
}

/// Writes a table that is made batch by batch, one of each place: as many side by side as there are threads, while those
/// before are written.
pub fn write_batches<P: Sync>(
    path: &Path,
    schema: &Schema,
    metadata: &[(&str, String)],
    places: &[P],
    make: impl Fn(&P) -> Result<RecordBatch, ArrowError> + Sync,
) -> Result<(), StageError> {
    let mut writer = Writer::create(path, schema, metadata)?;
    let mut batches = Vec::new();
    for places in places.chunks(rayon::current_num_threads()).chain([&[][..]]) {
        let make = || places.par_iter().map(&make).collect::<Result<_, _>>();
        let (written, next) = rayon::join(|| writer.write_all(&batches), make);
        written?;
        batches = next?;
    }
    Ok(writer.close()?)
}

/// Gives the memory of a long table back while its caller goes on: for gigabytes, the system takes as long as for hashing
/// the file.
pub fn release(table: impl Send + 'static) {
    // Without a thread to be had, the table is dropped here.
    drop(thread::Builder::new().spawn(move || drop(table)));
}

/// Columns of rendered files.
pub const FILES: &[Column] = &[
    Column { name: "name", dtype: "utf8", doc: "Name of the file." },
    Column { name: "text", dtype: "utf8", doc: "What it holds." },
];

/// A table with the names and nullability of `columns`; one array for each.
pub fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let named = columns.iter().zip(arrays).map(|(column, array)| (column.name, array, column.dtype.ends_with('?')));
    RecordBatch::try_from_iter_with_nullable(named)
}

/// The table [`FILES`] of names and texts.
pub fn files_to_batch(files: &[(String, String)]) -> Result<RecordBatch, ArrowError> {
    let names = StringArray::from_iter_values(files.iter().map(|(name, _)| name));
    let texts = StringArray::from_iter_values(files.iter().map(|(_, text)| text));
    batch(FILES, vec![Arc::new(names), Arc::new(texts)])
}
