//! Parquet artifacts column by column: digests of columns, and the first row in which two artifacts differ. A column
//! `epoch` names the rows of learning curves.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use arrow::datatypes::FieldRef;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::ColumnChunkMetaData;
use rayon::prelude::*;

use super::parquet::{ParquetError, failure, read};
use crate::digest::Digest;

/// The number of rows of a file, and name and digest of each column: of its type and its encoded bytes, wherever in the
/// file they stand. Nothing is decoded: files that were cut into the same row groups by the same writer have equal
/// digests where they have equal values.
pub fn digests(path: &Path) -> Result<(u64, Vec<(String, Digest)>), ParquetError> {
    let file = File::open(path).map_err(failure("read", path))?;
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(failure("read", path))?;
    let (fields, metadata) = (metadata.schema().fields(), metadata.metadata());
    let leaves = metadata.file_metadata().schema_descr();
    let length = file.metadata().map_err(failure("read", path))?.len();
    let digest = |(index, field): (usize, &FieldRef)| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(field.data_type().to_string().as_bytes());
        let mut bytes = Vec::new();
        for group in metadata.row_groups() {
            let own = group.columns().iter().enumerate().filter(|&(leaf, _)| leaves.get_column_root_idx(leaf) == index);
            for (_, chunk) in own {
                read_chunk(&file, length, chunk, &mut bytes).map_err(failure("read", path))?;
                hasher.update(&bytes);
            }
        }
        Ok((field.name().clone(), hasher.finalize().into()))
    };
    let columns = fields.par_iter().enumerate().map(digest).collect::<Result<_, ParquetError>>()?;
    Ok((u64::try_from(metadata.file_metadata().num_rows()).map_err(failure("read", path))?, columns))
}

/// The encoded bytes of a column in a row group of a file of `end` bytes.
fn read_chunk(file: &File, end: u64, chunk: &ColumnChunkMetaData, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let place = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
    let within = place.filter(|(start, length)| start.checked_add(*length).is_some_and(|own| own <= end));
    let (start, length) = within.ok_or_else(|| std::io::Error::other("a column lies outside of the file"))?;
    bytes.resize(length as usize, 0);
    file.read_exact_at(bytes, start)
}

/// The first place in which two tables with the same columns differ.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferingRow {
    /// From 1.
    pub row: usize,
    /// The value of the column `epoch`, where there is one.
    pub epoch: Option<String>,
}

impl fmt::Display for DifferingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.epoch {
            Some(epoch) => write!(f, "epoch {epoch} (row {})", self.row),
            None => write!(f, "row {}", self.row),
        }
    }
}

/// `None` when no row differs.
pub fn first_difference(old: &Path, new: &Path) -> Result<Option<DifferingRow>, ParquetError> {
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
    Ok(Some(DifferingRow { row: row + 1, epoch: epoch.map_err(failure("read", new))? }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::parquet::ROW_GROUP;
    use arrow::array::{ArrayRef, DictionaryArray, Float64Array, RecordBatch, UInt32Array};
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
        let ((_, before), (_, after)) = (digests(&old).unwrap(), digests(&new).unwrap());
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
        assert_eq!(first_difference(&old, &old).unwrap(), None);
        let place = first_difference(&old, &new).unwrap();
        assert_eq!(place, Some(DifferingRow { row: 3, epoch: Some("3".to_owned()) }));
    }

    #[test]
    fn where_columns_stand_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let n = ROW_GROUP + 70_000;
        let ids: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..n as u32).map(|id| id % 1000)));
        let longer: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..n as u32).map(|id| id.wrapping_mul(7919))));
        let parts: DictionaryArray<UInt32Type> = (0..n).map(|row| if row % 5 == 0 { "log" } else { "all" }).collect();
        let digests = |name: &str, first: &ArrayRef, last: &ArrayRef| {
            let path = dir.path().join(name);
            let columns =
                [("first", first.clone()), ("part", Arc::new(parts.clone()) as ArrayRef), ("last", last.clone())];
            crate::store::parquet::write(&path, &RecordBatch::try_from_iter(columns).unwrap(), &[]).unwrap();
            let (rows, columns) = digests(&path).unwrap();
            assert_eq!(rows, n as u64);
            columns.into_iter().map(|(_, digest)| digest).collect::<Vec<_>>()
        };
        let [before, after] = [digests("short", &ids, &ids), digests("long", &longer, &ids)];
        assert_eq!((before[0], before[1]), (before[2], after[1]));
        assert_ne!(before[0], after[0]);
        assert_eq!(before[2], after[2]);
        let signed: ArrayRef = Arc::new(arrow::array::Int32Array::from_iter_values((0..n as i32).map(|id| id % 1000)));
        assert_ne!(digests("signed", &signed, &ids)[0], before[0]);
    }

    #[test]
    fn a_flipped_bit_in_a_column_shows_in_its_digest_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curve");
        curve(&path, &[0.5, 0.4]);
        let (bytes, (_, before)) = (std::fs::read(&path).unwrap(), digests(&path).unwrap());
        let metadata = ArrowReaderMetadata::load(&File::open(&path).unwrap(), Default::default()).unwrap();
        let chunks: Vec<_> =
            metadata.metadata().row_group(0).columns().iter().map(|chunk| chunk.byte_range()).collect();
        for byte in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 0x80;
            std::fs::write(&path, &damaged).unwrap();
            let column = chunks.iter().position(|&(start, length)| (start..start + length).contains(&(byte as u64)));
            // Elsewhere an answer or an error: not all of the footer is read, but none of it may end the program.
            let found = digests(&path);
            if let Some(column) = column {
                let (_, found) = found.unwrap();
                let changed: Vec<usize> = (0..before.len()).filter(|&own| found[own] != before[own]).collect();
                assert_eq!(changed, [column], "byte {byte}");
            }
        }
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curve");
        curve(&path, &[0.5, 0.4]);
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(digests(&path).is_err(), "{length} bytes");
        }
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
