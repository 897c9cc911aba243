//! Parquet in and out, with deterministic bytes: the same batches and metadata give the same file, whatever the
//! machine, the time or the thread count.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use super::column_reuse::ReusableColumn;
use super::write_back::WriteBack;

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
    move |error| {
        let text = error.to_string();
        // The library's word for an error of the operating system.
        let reason = text.strip_prefix("External: ").unwrap_or(&text).to_owned();
        ParquetError { verb, path: path.to_owned(), reason }
    }
}

/// Rows of a row group: what is encoded at a time.
pub const ROW_GROUP: usize = 1 << 20;

/// Rows that are decoded at a time: they stay in a cache until they are handed on.
const BATCH: usize = 1 << 16;

/// Writes a file batch by batch. The columns of as many row groups as there are threads are encoded side by side, while
/// the row groups before are written.
pub struct Writer {
    path: PathBuf,
    columns: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    groups: usize,
    /// The last row groups, column by column.
    encoded: Vec<Encoded>,
    out: OutputFile,
}

/// A column of a row group.
enum Encoded {
    /// One chunk per leaf: nested columns have several. With what the column repeats, if that is one value.
    New(Vec<ArrowColumnChunk>, Option<Box<ReusableColumn>>),
    Reused(Arc<ReusableColumn>),
}

/// The file that is written.
struct OutputFile {
    path: PathBuf,
    file: SerializedFileWriter<File>,
    write_back: WriteBack,
    /// By column, what a further row group may take over.
    reusables: Vec<Option<Arc<ReusableColumn>>>,
}

impl Writer {
    /// `metadata` says what made the file (kind, version); never when or where, which would make equal results differ.
    /// Columns of dictionaries are declared by the type of their values: a dictionary is a matter of memory only.
    pub fn create(path: &Path, schema: &Schema, metadata: &[(&str, String)]) -> Result<Self, ParquetError> {
        let metadata = metadata.iter().map(|(key, value)| KeyValue::new(key.to_string(), value.clone())).collect();
        let level = ZstdLevel::try_new(1).map_err(failure("write", path))?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by("cnsdiff-pipe".to_owned())
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(metadata));
        let plain = schema.fields().iter().map(|field| match field.data_type() {
            DataType::Dictionary(_, values) => field.as_ref().clone().with_data_type(values.as_ref().clone()),
            _ => field.as_ref().clone(),
        });
        let schema = Arc::new(Schema::new(plain.collect::<Vec<_>>()));
        // Hashing each id and time for a dictionary takes several times as long as all the rest, and gives larger files.
        for field in schema.fields().iter().filter(|field| field.data_type().is_integer()) {
            let column = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let file = File::create(path).map_err(failure("write", path))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()));
        let (file, columns) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(failure("write", path))?;
        let reusables = schema.fields().iter().map(|_| None).collect();
        let out = OutputFile { path: path.to_owned(), file, write_back: WriteBack::default(), reusables };
        Ok(Self { path: path.to_owned(), columns, schema, groups: 0, encoded: Vec::new(), out })
    }

    /// Appends rows; every [`ROW_GROUP`] of them become a row group, and so do those that are left over.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.write_all(std::slice::from_ref(batch))
    }

    /// As [`Self::write`], batch by batch.
    pub fn write_all(&mut self, batches: &[RecordBatch]) -> Result<(), ParquetError> {
        let groups = |batch: &RecordBatch| {
            let (batch, rows) = (batch.clone(), batch.num_rows());
            (0..rows).step_by(ROW_GROUP).map(move |start| batch.slice(start, ROW_GROUP.min(rows - start)))
        };
        let groups: Vec<RecordBatch> = batches.iter().flat_map(groups).collect();
        let mut groups = groups.chunks(rayon::current_num_threads());
        groups.try_for_each(|groups| self.write_groups(groups)).map_err(failure("write", &self.path))
    }

    fn write_groups(&mut self, groups: &[RecordBatch]) -> Result<(), parquet::errors::ParquetError> {
        let mut columns = Vec::new();
        for rows in groups {
            let mut writers = self.columns.create_column_writers(self.groups)?.into_iter();
            self.groups += 1;
            for ((field, column), reusable) in self.schema.fields().iter().zip(rows.columns()).zip(&self.out.reusables)
            {
                let leaves = compute_leaves(field, &column.slice(0, 0))?.len();
                columns.push((field, column, reusable.clone(), writers.by_ref().take(leaves).collect::<Vec<_>>()));
            }
        }
        let before = std::mem::take(&mut self.encoded);
        let encode = || {
            let encoded = columns.into_par_iter().map(|(field, column, reusable, writers)| match reusable {
                Some(reusable) if reusable.is(column) => Ok(Encoded::Reused(reusable)),
                _ => encode(field, column, writers),
            });
            encoded.collect::<Result<Vec<_>, _>>()
        };
        let (written, encoded) = rayon::join(|| self.out.append(before), encode);
        written?;
        self.encoded = encoded?;
        Ok(())
    }

    /// Completes the file.
    pub fn close(self) -> Result<(), ParquetError> {
        let Self { path, encoded, mut out, .. } = self;
        out.append(encoded).and_then(|()| out.close()).map_err(failure("write", &path))
    }
}

impl OutputFile {
    /// Writes row groups, column by column.
    fn append(&mut self, columns: Vec<Encoded>) -> Result<(), parquet::errors::ParquetError> {
        let mut columns = columns.into_iter();
        while !columns.as_slice().is_empty() {
            self.append_group(columns.by_ref().take(self.reusables.len()))?;
        }
        Ok(self.write_back.send(self.file.inner(), self.file.bytes_written() as u64)?)
    }

    fn append_group(&mut self, columns: impl Iterator<Item = Encoded>) -> Result<(), parquet::errors::ParquetError> {
        let (mut group, mut leaf, mut found) = (self.file.next_row_group()?, 0, Vec::new());
        for (index, encoded) in columns.enumerate() {
            match encoded {
                Encoded::Reused(reusable) => {
                    reusable.append(&self.path, &mut group)?;
                    leaf += 1;
                }
                Encoded::New(chunks, reusable) => {
                    found.extend(reusable.map(|reusable| (index, leaf, reusable)));
                    leaf += chunks.len();
                    chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut group))?;
                }
            }
        }
        let group = group.close()?;
        for (index, leaf, reusable) in found {
            self.reusables[index] = Some(Arc::new(reusable.written(group.column(leaf))?));
            self.file.flush()?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<(), parquet::errors::ParquetError> {
        self.file.close()?;
        Ok(self.write_back.wait()?)
    }
}

fn encode(
    field: &FieldRef,
    column: &ArrayRef,
    mut writers: Vec<ArrowColumnWriter>,
) -> Result<Encoded, parquet::errors::ParquetError> {
    for piece in pieces(field, column) {
        let leaves = compute_leaves(field, &piece)?;
        writers.iter_mut().zip(leaves).try_for_each(|(writer, leaf)| writer.write(&leaf))?;
    }
    let chunks: Vec<_> = writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
    let reusable = match chunks.as_slice() {
        [chunk] => ReusableColumn::new(column, chunk).map(Box::new),
        _ => None,
    };
    Ok(Encoded::New(chunks, reusable))
}

/// Cuts a column for the encoder, so that what is made of a piece on the way stays in a cache. The bytes are those of the
/// whole column: pieces end where the encoder, by itself, looks whether a page is full. Where there are no levels, it
/// does so every 1,024 values; where they are all alike, at the end of a page of 20,000. Other columns are not cut.
fn pieces(field: &Field, column: &ArrayRef) -> impl Iterator<Item = ArrayRef> {
    let alike = column.null_count() == 0 || column.null_count() == column.len();
    let length = match field.is_nullable() {
        false if !field.data_type().is_nested() => 64 * 1024,
        true if !field.data_type().is_nested() && alike => 3 * 20_000,
        _ => column.len().max(1),
    };
    let piece = move |start| column.slice(start, length.min(column.len() - start));
    (0..column.len()).step_by(length).map(piece)
}

/// Writes one batch as a file; see [`Writer`].
pub fn write(path: &Path, batch: &RecordBatch, metadata: &[(&str, String)]) -> Result<(), ParquetError> {
    let mut writer = Writer::create(path, &batch.schema(), metadata)?;
    writer.write(batch)?;
    writer.close()
}

/// Reads a whole file as one batch.
pub fn read(path: &Path) -> Result<RecordBatch, ParquetError> {
    let mut batches = Vec::new();
    let schema = read_each(path, &[], |batch| {
        batches.push(batch);
        Ok::<_, ParquetError>(())
    })?;
    concat_batches(&schema, &batches).map_err(failure("read", path))
}

/// Reads a file row group by row group, in order; as many are decoded side by side as there are threads, while `each`
/// gets those before, in pieces. The named text columns come as dictionaries with keys of type i32.
///
/// # Errors
/// The file cannot be read, or `each` fails.
pub fn read_each<E: From<ParquetError> + Send>(
    path: &Path,
    dictionaries: &[&str],
    mut each: impl FnMut(RecordBatch) -> Result<(), E> + Send,
) -> Result<SchemaRef, E> {
    let file = File::open(path).map_err(failure("read", path))?;
    let mut metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(failure("read", path))?;
    if !dictionaries.is_empty() {
        let field = |field: &FieldRef| match field.data_type() {
            DataType::Utf8 if dictionaries.contains(&field.name().as_str()) => {
                let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
                field.as_ref().clone().with_data_type(dictionary)
            }
            _ => field.as_ref().clone(),
        };
        let schema = Arc::new(Schema::new(metadata.schema().fields().iter().map(field).collect::<Vec<_>>()));
        let options = ArrowReaderOptions::new().with_schema(schema);
        metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(failure("read", path))?;
    }
    let decode = |group: usize| -> Result<Vec<RecordBatch>, ParquetError> {
        let file = File::open(path).map_err(failure("read", path))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        let reader = builder.with_row_groups(vec![group]).with_batch_size(BATCH).build();
        reader.map_err(failure("read", path))?.collect::<Result<_, _>>().map_err(failure("read", path))
    };
    let groups: Vec<usize> = (0..metadata.metadata().num_row_groups()).collect();
    let decode = |groups: &[usize]| groups.par_iter().map(|&group| decode(group)).collect::<Vec<_>>();
    let mut decoded = Vec::new();
    for groups in groups.chunks(rayon::current_num_threads()).chain([&[][..]]) {
        let pass = |batches: Result<Vec<_>, ParquetError>| batches?.into_iter().try_for_each(&mut each);
        let (next, passed) = rayon::join(|| decode(groups), || decoded.into_iter().try_for_each(pass));
        passed?;
        decoded = next;
    }
    Ok(metadata.schema().clone())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, DictionaryArray, Float32Array, StringArray, UInt32Array};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::store::columns::digests;

    fn table(rows: u32) -> RecordBatch {
        let names: DictionaryArray<Int32Type> = (0..rows).map(|row| if row % 3 == 0 { "a" } else { "b" }).collect();
        let weights = (0..rows).map(|row| (row % 7 > 0).then_some(row as f32));
        RecordBatch::try_from_iter([
            ("id", Arc::new(UInt32Array::from_iter_values((0..rows).map(|row| row.wrapping_mul(7919)))) as ArrayRef),
            ("weight", Arc::new(Float32Array::from_iter(weights))),
            ("part", Arc::new(names)),
        ])
        .unwrap()
    }

    #[test]
    fn bytes_do_not_depend_on_threads_nor_on_dictionaries_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let batch = table(ROW_GROUP as u32 + 10);
        let file = |name: &str, batch: &RecordBatch, threads| {
            let path = dir.path().join(name);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| write(&path, batch, &[("kind", "test".to_owned())])).unwrap();
            path
        };
        let [one, four] = [1, 4].map(|threads| file(&threads.to_string(), &batch, threads));
        let bytes = |path: &Path| std::fs::read(path).unwrap();
        assert_eq!(bytes(&one), bytes(&four));
        assert_eq!(digests(&one).unwrap().0, ROW_GROUP as u64 + 10);

        let plain = read(&one).unwrap();
        assert_eq!(plain["part"].as_string::<i32>().iter().flatten().next(), Some("a"));
        assert_eq!((&plain["id"], &plain["weight"]), (&batch["id"], &batch["weight"]));
        assert_eq!(bytes(&one), bytes(&file("plain", &plain, 2)));

        let mut pieces = Vec::new();
        read_each(&one, &["part"], |batch| {
            let keys = batch["part"].as_dictionary::<Int32Type>();
            pieces.push((batch.num_rows(), keys.values().len()));
            Ok::<_, ParquetError>(())
        })
        .unwrap();
        assert!(pieces.iter().all(|&(rows, values)| rows <= BATCH && values == 2));
        assert_eq!(pieces.iter().map(|(rows, _)| rows).sum::<usize>(), ROW_GROUP + 10);
    }

    #[test]
    fn cutting_columns_does_not_show() {
        let n = 150_001;
        let floats = |null: fn(usize) -> bool| -> ArrayRef {
            Arc::new((0..n).map(|row| (!null(row)).then_some((row % 11) as f32)).collect::<Float32Array>())
        };
        let texts = StringArray::from_iter_values((0..n).map(|row| format!("{}", row * row % 90_000)));
        let columns: [(ArrayRef, bool, usize); 6] = [
            (Arc::new(UInt32Array::from_iter_values((0..n as u32).map(|row| row.wrapping_mul(7919)))), false, 3),
            (Arc::new(texts), false, 3),
            (floats(|_| false), true, 3),
            (floats(|_| true), true, 3),
            (floats(|row| row % 70_000 == 69_999), true, 1),
            (floats(|_| false), false, 3),
        ];
        for (column, nullable, parts) in columns {
            let schema = Arc::new(Schema::new(vec![Field::new("x", column.data_type().clone(), nullable)]));
            let bytes = |pieces: Vec<ArrayRef>| {
                let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
                for piece in pieces {
                    writer.write(&RecordBatch::try_new(schema.clone(), vec![piece]).unwrap()).unwrap();
                }
                writer.into_inner().unwrap()
            };
            let cut: Vec<ArrayRef> = pieces(schema.field(0), &column).collect();
            assert_eq!(cut.len(), parts);
            assert_eq!(bytes(cut), bytes(vec![column]));
        }
    }

    #[test]
    fn an_empty_table_and_odd_types_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let columns: [(&str, ArrayRef); 2] = [
            ("text", Arc::new(StringArray::from(vec![None, Some("x")]))),
            ("flag", Arc::new(arrow::array::BooleanArray::from(vec![true, false]))),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        for batch in [batch.clone(), batch.slice(0, 0)] {
            write(&path, &batch, &[]).unwrap();
            assert_eq!(read(&path).unwrap(), batch);
        }
    }
}
