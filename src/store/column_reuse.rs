//! Columns of one value, such as the part of the data: a row group reuses the encoded bytes of an earlier one with as
//! many rows of that value, because encoding them again would give the same bytes.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::UInt32Type;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::writer::SerializedRowGroupWriter;

/// An encoded column whose rows all have one value.
pub(super) struct ReusableColumn {
    value: String,
    rows: usize,
    close: ColumnCloseResult,
}

impl ReusableColumn {
    /// What a column was encoded to, if it is a dictionary of texts of which it has but one.
    pub fn new(column: &ArrayRef, chunk: &ArrowColumnChunk) -> Option<Self> {
        let value = only_text(column)?.to_owned();
        Some(Self { value, rows: column.len(), close: chunk.close().clone() })
    }

    /// This column with the offsets at which it was written to the file.
    pub fn written(self, place: &ColumnChunkMetaData) -> Result<Self, ParquetError> {
        let start = place.dictionary_page_offset().unwrap_or_else(|| place.data_page_offset());
        let dictionary = usize::try_from(place.data_page_offset() - start)?;
        let mut close = self.close.update_dictionary_location(dictionary)?;
        for page in close.offset_index.iter_mut().flat_map(|index| &mut index.page_locations) {
            page.offset += start;
        }
        close.metadata = place.clone();
        Ok(Self { close, ..self })
    }

    /// Whether a column would be encoded to the same bytes.
    pub fn is(&self, column: &ArrayRef) -> bool {
        self.rows == column.len() && only_text(column) == Some(&self.value)
    }

    /// Copies the bytes from the file, which must have been flushed, to a further row group of it.
    pub fn append(&self, path: &Path, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<(), ParquetError> {
        group.append_column(&File::open(path)?, self.close.clone())
    }
}

/// The text that all rows of a dictionary share.
fn only_text(column: &ArrayRef) -> Option<&str> {
    let dictionary = column.as_dictionary_opt::<UInt32Type>()?;
    let (&first, others) = dictionary.keys().values().split_first()?;
    let shared = dictionary.null_count() == 0 && others.iter().all(|&key| key == first);
    shared.then(|| dictionary.values().as_string_opt::<i32>())?.map(|texts| texts.value(first as usize))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, RecordBatch, UInt32Array};
    use arrow::compute::cast;
    use arrow::datatypes::DataType;

    use crate::store::parquet::{ROW_GROUP, read, write};

    #[test]
    fn a_column_of_one_value_gives_the_bytes_of_any_other() {
        let n = 3 * ROW_GROUP + 1000;
        let keys = |change: usize| -> DictionaryArray<_> {
            let texts = Arc::new(arrow::array::StringArray::from(vec!["log", "uniform"]));
            let keys = UInt32Array::from_iter_values((0..n).map(|row| u32::from(row >= change)));
            DictionaryArray::new(keys, texts)
        };
        let dir = tempfile::tempdir().unwrap();
        let [with, without] = ["with", "without"].map(|name| dir.path().join(name));
        // One value throughout, another from the third row group on, and a change within a row group.
        for change in [n, 2 * ROW_GROUP, ROW_GROUP + 5] {
            let ids: arrow::array::ArrayRef = Arc::new(UInt32Array::from_iter_values(0..n as u32));
            let batch = RecordBatch::try_from_iter([
                ("id", ids.clone()),
                ("part", Arc::new(keys(change)) as arrow::array::ArrayRef),
                ("again", Arc::new(keys(change))),
            ])
            .unwrap();
            let texts = cast(&batch["part"], &DataType::Utf8).unwrap();
            let plain = RecordBatch::try_from_iter([("id", ids), ("part", texts.clone()), ("again", texts)]).unwrap();
            write(&with, &batch, &[]).unwrap();
            write(&without, &plain, &[]).unwrap();
            assert!(std::fs::read(&with).unwrap() == std::fs::read(&without).unwrap(), "{change}");
            assert!(read(&with).unwrap() == plain, "{change}");
        }
    }
}
