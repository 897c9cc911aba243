//! Parquet artifacts column by column: what tells two results apart when their bytes differ. Knows nothing of what
//! the columns mean, but that an `epoch` is how people name a row of a learning curve.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use arrow::util::display::array_value_to_string;
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;

use super::parquet::{ParquetError, failure, read};
use crate::digest::Digest;

/// Name and digest of the content of each column: equal digests for equal values, types and order.
pub fn digests(path: &Path) -> Result<Vec<(String, Digest)>, ParquetError> {
    let batch = read(path)?;
    let column = |index: usize| {
        let field = batch.schema().field(index).clone();
        let name = field.name().clone();
        let schema = Arc::new(Schema::new(vec![field]));
        let digest = digest(schema, batch.column(index).clone()).map_err(failure("read", path))?;
        Ok((name, digest))
    };
    (0..batch.num_columns()).into_par_iter().map(column).collect()
}

/// The column as a Parquet file of its own, digested as it is written: the encoding is deterministic and covers
/// every type that an artifact can have.
fn digest(schema: Arc<Schema>, column: ArrayRef) -> Result<Digest, parquet::errors::ParquetError> {
    let batch = RecordBatch::try_new(schema.clone(), vec![column])?;
    let mut writer = ArrowWriter::try_new(blake3::Hasher::new(), schema, None)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.finalize().into())
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
    use arrow::array::{Float64Array, UInt32Array};

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
    fn a_missing_row_is_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        curve(&old, &[0.5, 0.4]);
        curve(&new, &[0.5]);
        assert_eq!(first_difference(&old, &new).unwrap().unwrap().to_string(), "epoch 2 (row 2)");
    }
}
