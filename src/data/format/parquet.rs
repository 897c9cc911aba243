//! Parquet files of interactions: keys are text or integers, times integers, floats or timestamps, weights numbers.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, Malformed, Row, Rows, Scan, Sink};

/// An Apache Parquet file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetFile {
    pub columns: TableColumns,
}

/// Which column is what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableColumns {
    pub user: String,
    pub item: String,
    /// A timestamp, or a number of seconds since 1970.
    #[serde(default)]
    pub time: Option<String>,
    /// A rating, watch ratio or count.
    #[serde(default)]
    pub weight: Option<String>,
}

impl ParquetFile {
    pub(super) fn read(&self, path: &Path, file: File, sink: Sink) -> Result<Scan, FormatError> {
        let failure = |error: &dyn std::fmt::Display| FormatError::read(path, error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failure(&error))?;
        let schema = builder.schema();
        let TableColumns { user, item, time, weight } = &self.columns;
        let mut wanted = Vec::new();
        for name in [Some(user), Some(item), time.as_ref(), weight.as_ref()].into_iter().flatten() {
            wanted.push(schema.index_of(name).map_err(|_| FormatError::NoColumn {
                path: path.to_owned(),
                column: name.clone(),
                found: schema.fields().iter().map(|field| field.name().clone()).collect(),
            })?);
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder.with_projection(mask).build().map_err(|error| failure(&error))?;
        let mut scan = Scan::default();
        let mut rows = Rows::new(sink);
        let mut before = 0;
        for batch in reader {
            let batch = batch.map_err(|error| failure(&error))?;
            let columns = self.columns(&batch).map_err(|error| failure(&error))?;
            for index in 0..batch.num_rows() {
                match columns.row(index) {
                    Ok(row) => rows.push(row)?,
                    Err(reason) => scan.reject(Malformed {
                        line: before + index as u64 + 1,
                        text: String::new(),
                        reason: reason.to_owned(),
                    }),
                }
            }
            before += batch.num_rows() as u64;
        }
        scan.rows = rows.finish()?;
        Ok(scan)
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Columns, ArrowError> {
        let column = |name: &String, dtype: &DataType| -> Result<ArrayRef, ArrowError> {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| ArrowError::SchemaError(format!("column `{name}` was not read")))?;
            cast(column, dtype)
                .map_err(|_| ArrowError::SchemaError(format!("column `{name}` ({}) is no {dtype}", column.data_type())))
        };
        let time = |name: &String| -> Result<ArrayRef, ArrowError> {
            let timestamp = batch.column_by_name(name).is_some_and(|column| {
                matches!(column.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
            });
            if timestamp {
                return cast(&column(name, &DataType::Timestamp(TimeUnit::Second, None))?, &DataType::Int64);
            }
            column(name, &DataType::Int64)
        };
        Ok(Columns {
            user: column(&self.columns.user, &DataType::Utf8)?,
            item: column(&self.columns.item, &DataType::Utf8)?,
            time: self.columns.time.as_ref().map(time).transpose()?,
            weight: self.columns.weight.as_ref().map(|name| column(name, &DataType::Float32)).transpose()?,
        })
    }
}

/// The columns of a batch, cast to one type each.
struct Columns {
    user: ArrayRef,
    item: ArrayRef,
    time: Option<ArrayRef>,
    weight: Option<ArrayRef>,
}

impl Columns {
    fn row(&self, index: usize) -> Result<Row<'_>, &'static str> {
        fn known<'a>(column: &'a ArrayRef, index: usize, reason: &'static str) -> Result<&'a ArrayRef, &'static str> {
            if column.is_null(index) { Err(reason) } else { Ok(column) }
        }
        let weight = match &self.weight {
            Some(column) => {
                let weight = known(column, index, "no weight")?.as_primitive::<Float32Type>().value(index);
                Some(weight).filter(|weight| weight.is_finite()).ok_or("the weight is not a finite number").map(Some)?
            }
            None => None,
        };
        let time = match &self.time {
            Some(column) => Some(known(column, index, "no time")?.as_primitive::<Int64Type>().value(index)),
            None => None,
        };
        let user = known(&self.user, index, "no user")?.as_string::<i32>().value(index);
        let item = known(&self.item, index, "no item")?.as_string::<i32>().value(index);
        Ok(Row { user, item, time, weight })
    }
}
