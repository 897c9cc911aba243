//! Parquet in and out, with deterministic bytes: the same batches and metadata give the same file, whatever the
//! machine, the time or the thread count.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;

/// A Parquet file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} `{}`: {reason}", path.display())]
pub struct ParquetError {
    verb: &'static str,
    path: PathBuf,
    reason: String,
}

pub(super) fn failure<'a, E: std::fmt::Display>(
    verb: &'static str,
    path: &'a Path,
) -> impl FnOnce(E) -> ParquetError + 'a {
    move |error| ParquetError { verb, path: path.to_owned(), reason: error.to_string() }
}

/// Writes one batch as a file. `metadata` says what made it (kind, version); never when or where, which would
/// make equal results differ.
pub fn write(path: &Path, batch: &RecordBatch, metadata: &[(&str, String)]) -> Result<(), ParquetError> {
    let metadata = metadata.iter().map(|(key, value)| KeyValue::new(key.to_string(), value.clone())).collect();
    let level = ZstdLevel::try_new(1).map_err(failure("write", path))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by("cnsdiff-pipe".to_owned())
        .set_key_value_metadata(Some(metadata))
        .build();
    let file = File::create(path).map_err(failure("write", path))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(failure("write", path))?;
    writer.write(batch).map_err(failure("write", path))?;
    writer.close().map_err(failure("write", path))?;
    Ok(())
}

/// Reads a whole file as one batch.
pub fn read(path: &Path) -> Result<RecordBatch, ParquetError> {
    let file = File::open(path).map_err(failure("read", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failure("read", path))?;
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(1 << 20).build().map_err(failure("read", path))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(failure("read", path))?;
    concat_batches(&schema, &batches).map_err(failure("read", path))
}

/// Number of rows of a file, from its footer.
pub fn rows(path: &Path) -> Result<u64, ParquetError> {
    let file = File::open(path).map_err(failure("read", path))?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(failure("read", path))?;
    u64::try_from(metadata.file_metadata().num_rows()).map_err(failure("read", path))
}
