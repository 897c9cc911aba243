//! Parquet artifacts column by column: what tells two results apart when their bytes differ. Knows nothing of what
//! the columns mean, but that an `epoch` is how people name a row of a learning curve.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rayon::prelude::*;

use super::parquet::{ParquetError, ROW_GROUP, failure, pieces, read, read_each};
use crate::digest::Digest;

/// Name and digest of the content of each column: equal digests for equal values, types and order, whatever row groups
/// they stand in. Holds a few row groups at a time.
pub fn digests(path: &Path) -> Result<Vec<(String, Digest)>, ParquetError> {
    let mut columns: Option<Columns> = None;
    let schema = read_each(path, &[], |batch| {
        let own = match &mut columns {
            Some(own) => own,
            empty => empty.insert(Columns::new(&batch.schema()).map_err(failure("read", path))?),
        };
        own.add(&batch).map_err(failure("read", path))
    })?;
    let columns = match columns {
        Some(columns) => columns,
        None => Columns::new(&schema).map_err(failure("read", path))?,
    };
    columns.finish().map_err(failure("read", path))
}

/// Leaves what [`digests`] would answer beside a file that has just been written.
pub(super) fn keep_digests(path: &Path, digests: &[(String, Digest)]) -> Result<(), ParquetError> {
    let kept = path_of_kept(path);
    let text = serde_json::to_vec(digests).map_err(failure("write", &kept))?;
    std::fs::write(&kept, text).map_err(failure("write", &kept))
}

/// What was left beside a file by its writer; nothing if another program wrote it.
pub(super) fn kept_digests(path: &Path) -> Vec<(String, Digest)> {
    let text = std::fs::read(path_of_kept(path)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn path_of_kept(path: &Path) -> PathBuf {
    path.with_extension("columns")
}

/// Each column as a Parquet file of its own, digested as it is written: the encoding is deterministic and covers
/// every type that an artifact can have.
pub(super) struct Columns {
    /// Cuts rows anew: how a file was cut must not show.
    groups: Option<BatchCoalescer>,
    writers: Vec<(FieldRef, ArrowWriter<blake3::Hasher>)>,
}

impl Columns {
    /// `schema` has the types of values, also where batches come with dictionaries.
    pub fn new(schema: &SchemaRef) -> Result<Self, parquet::errors::ParquetError> {
        // Plain values: dictionaries and statistics cost several times as much as the digest.
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let writer = |field: &FieldRef| {
            let schema = Arc::new(Schema::new(vec![field.clone()]));
            let writer = ArrowWriter::try_new(blake3::Hasher::new(), schema, Some(properties.clone()))?;
            Ok((field.clone(), writer))
        };
        let writers = schema.fields().iter().map(writer).collect::<Result<_, parquet::errors::ParquetError>>()?;
        Ok(Self { groups: None, writers })
    }

    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), parquet::errors::ParquetError> {
        // Most row groups are whole, and need no copy.
        if batch.num_rows() == ROW_GROUP && self.groups.as_ref().is_none_or(BatchCoalescer::is_empty) {
            return self.write(batch);
        }
        let groups = self.groups.get_or_insert_with(|| BatchCoalescer::new(batch.schema(), ROW_GROUP));
        groups.push_batch(batch.clone())?;
        self.write_complete()
    }

    fn write_complete(&mut self) -> Result<(), parquet::errors::ParquetError> {
        while let Some(group) = self.groups.as_mut().and_then(BatchCoalescer::next_completed_batch) {
            self.write(&group)?;
        }
        Ok(())
    }

    fn write(&mut self, group: &RecordBatch) -> Result<(), parquet::errors::ParquetError> {
        self.writers.par_iter_mut().zip(group.columns()).try_for_each(|((field, writer), column)| {
            pieces(field, column)
                .try_for_each(|piece| writer.write(&RecordBatch::try_from_iter([(field.name(), piece)])?))
        })
    }

    pub fn finish(mut self) -> Result<Vec<(String, Digest)>, parquet::errors::ParquetError> {
        self.groups.as_mut().map_or(Ok(()), BatchCoalescer::finish_buffered_batch)?;
        self.write_complete()?;
        let digest = |(field, writer): (FieldRef, ArrowWriter<blake3::Hasher>)| {
            Ok((field.name().clone(), writer.into_inner()?.finalize().into()))
        };
        self.writers.into_iter().map(digest).collect()
    }
}

/// The first place in which two tables with the same columns differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// From 1.
    pub row: usize,
    /// The value of the column `epoch`, where there is one.
    pub epoch: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.epoch {
            Some(epoch) => write!(f, "epoch {epoch} (row {})", self.row),
            None => write!(f, "row {}", self.row),
        }
    }
}

/// `None` when no row differs.
pub fn first_difference(old: &Path, new: &Path) -> Result<Option<Place>, ParquetError> {
    let (before, after) = (read(old)?, read(new)?);
    let rows = before.num_rows().max(after.num_rows());
    let row = before
        .columns()
        .iter()
        .zip(after.columns())
        .filter_map(|(old, new)| {
            let differs = |&row: &usize| {
                row >= old.len() || row >= new.len() || old.slice(row, 1).to_data() != new.slice(row, 1).to_data()
            };
            (0..rows).find(differs)
        })
        .min();
    let Some(row) = row else { return Ok(None) };
    let longer = if row < after.num_rows() { &after } else { &before };
    let epoch = longer.column_by_name("epoch").map(|column| array_value_to_string(column, row)).transpose();
    Ok(Some(Place { row: row + 1, epoch: epoch.map_err(failure("read", new))? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, DictionaryArray, Float64Array, UInt32Array};
    use arrow::datatypes::UInt32Type;

    fn curve(path: &Path, values: &[f64]) {
        let epochs: ArrayRef = Arc::new(UInt32Array::from_iter_values(1..=values.len() as u32));
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let batch = RecordBatch::try_from_iter([("epoch", epochs), ("value", values)]).unwrap();
        crate::store::parquet::write(path, &batch, &[("kind", "test".to_owned())]).unwrap();
    }

    #[test]
    fn the_column_and_the_epoch_that_differ_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        curve(&old, &[0.5, 0.4, 0.3]);
        curve(&new, &[0.5, 0.4, 0.25]);
        let (before, after) = (digests(&old).unwrap(), digests(&new).unwrap());
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
        assert_eq!(first_difference(&old, &old).unwrap(), None);
        let place = first_difference(&old, &new).unwrap();
        assert_eq!(place, Some(Place { row: 3, epoch: Some("3".to_owned()) }));
    }

    #[test]
    fn how_a_file_is_cut_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let n = ROW_GROUP + 70_000;
        let ids: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..n as u32).map(|id| id % 1000)));
        let texts: ArrayRef = Arc::new(arrow::array::StringArray::from_iter_values((0..n).map(|row| format!("{row}"))));
        let parts: DictionaryArray<UInt32Type> =
            (0..n).map(|row| if row % 5 == 0 { "log" } else { "uniform" }).collect();
        let parts: ArrayRef = Arc::new(parts);
        let batch = RecordBatch::try_from_iter([("id", ids), ("key", texts), ("part", parts)]).unwrap();
        let written = |name: &str, ends: &[usize]| {
            let path = dir.path().join(name);
            let mut writer = crate::store::parquet::Writer::create(&path, &batch.schema(), &[]).unwrap();
            let mut start = 0;
            for &end in ends {
                writer.write(&batch.slice(start, end - start)).unwrap();
                start = end;
            }
            writer.close().unwrap();
            let decoded = digests(&path).unwrap();
            assert_eq!(kept_digests(&path), decoded);
            decoded
        };
        let whole = written("whole", &[n]);
        assert_eq!(whole, written("cut", &[3, 60_000, 60_001, n - 10, n]));
        assert_eq!(whole.len(), 3);
        assert_ne!(whole, written("short", &[n - 1]));
        assert_eq!(written("empty", &[]).len(), 3);
    }

    #[test]
    fn a_missing_row_is_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        curve(&old, &[0.5, 0.4]);
        curve(&new, &[0.5]);
        assert_eq!(first_difference(&old, &new).unwrap().unwrap().to_string(), "epoch 2 (row 2)");
    }
}
