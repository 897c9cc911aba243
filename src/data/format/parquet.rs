//! Parquet files of interactions: keys are text or integers, times integers, floats or timestamps, weights numbers.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Once};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::compute::kernels::nullif::nullif;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BlockWriter, FormatError, Malformed, Row, RowSink, Scan};
use crate::data::time::{TimeCheck, TimeUnit as Unit};

/// An Apache Parquet file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetFile {
    pub columns: TableColumns,
    /// How times are written that are no timestamps or dates.
    #[serde(default)]
    pub time_unit: Unit,
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
    pub(super) fn read(&self, path: &Path, file: File, sink: RowSink) -> Result<Scan, FormatError> {
        let failure = |error: &dyn Display| FormatError::read(path, error);
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(|error| failure(&error))?;
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
        let mut reader = guarded(|| builder.with_projection(mask).build()).map_err(|error| failure(&error))?;
        let mut scan = Scan::default();
        let mut rows = BlockWriter::new(sink);
        let mut times = TimeCheck::new(self.time_unit);
        let mut before = 0;
        while let Some(batch) = guarded(|| reader.next().transpose()).map_err(|error| failure(&error))? {
            let columns = self.columns(&batch).map_err(|error| failure(&error))?;
            for index in 0..batch.num_rows() {
                match columns.row(index) {
                    Ok(row) => {
                        row.time.iter().for_each(|&time| times.see(&[time]));
                        rows.push(row)?;
                    }
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
        scan.implausible = times.implausible().map_err(|mistake| failure(&mistake))?;
        Ok(scan)
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Columns, ArrowError> {
        let raw = |name: &String| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| ArrowError::SchemaError(format!("column `{name}` was not read")))
        };
        let column = |name: &String, dtype: &DataType| -> Result<ArrayRef, ArrowError> {
            let column = raw(name)?;
            cast(column, dtype)
                .map_err(|_| ArrowError::SchemaError(format!("column `{name}` ({}) is no {dtype}", column.data_type())))
        };
        let time = |name: &String| -> Result<CastColumn, ArrowError> {
            let raw = raw(name)?;
            let moment = matches!(raw.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
            let (values, scale) = if moment || self.time_unit == Unit::Iso {
                (cast(&column(name, &DataType::Timestamp(TimeUnit::Second, None))?, &DataType::Int64)?, Unit::Seconds)
            } else {
                (column(name, &DataType::Int64)?, self.time_unit)
            };
            let seconds = values.as_primitive::<Int64Type>().unary::<_, Int64Type>(|number| scale.seconds(number));
            Ok(CastColumn { raw: raw.clone(), values: Arc::new(seconds) })
        };
        let weight = |name: &String| -> Result<CastColumn, ArrowError> {
            let raw = raw(name)?;
            let values = column(name, &DataType::Float32)?;
            // An integer must come back as it was, also one in a column of floats.
            let inexact: BooleanArray = if raw.data_type().is_integer() {
                let (wide, back) = (cast(raw, &DataType::Int64)?, cast(&values, &DataType::Int64)?);
                let pairs = wide.as_primitive::<Int64Type>().iter().zip(back.as_primitive::<Int64Type>());
                pairs.map(|(wide, back)| Some(wide.is_none() || wide != back)).collect()
            } else {
                let (wide, back) = (cast(raw, &DataType::Float64)?, cast(&values, &DataType::Float64)?);
                let pairs = wide.as_primitive::<Float64Type>().iter().zip(back.as_primitive::<Float64Type>());
                pairs.map(|(wide, back)| Some(wide.is_some_and(|wide| wide.fract() == 0.0) && wide != back)).collect()
            };
            Ok(CastColumn { raw: raw.clone(), values: nullif(&values, &inexact)? })
        };
        Ok(Columns {
            user: column(&self.columns.user, &DataType::LargeUtf8)?,
            item: column(&self.columns.item, &DataType::LargeUtf8)?,
            time: self.columns.time.as_ref().map(time).transpose()?,
            weight: self.columns.weight.as_ref().map(weight).transpose()?,
        })
    }
}

thread_local! {
    /// Whether a panic of this thread is an error of the decoder, which is told without a backtrace.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls the crate `parquet`, which panics on some damaged files.
fn guarded<T, E: Display>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic)
            }
        }));
    });
    GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(false);
    match result {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the file is damaged: the decoder of Parquet gives up on it".to_owned()),
    }
}

/// The columns of a batch, cast to one type each.
struct Columns {
    user: ArrayRef,
    item: ArrayRef,
    time: Option<CastColumn>,
    weight: Option<CastColumn>,
}

/// A column as it was, and with the type that is kept: null where a value has no counterpart.
struct CastColumn {
    raw: ArrayRef,
    values: ArrayRef,
}

impl Columns {
    fn row(&self, index: usize) -> Result<Row<'_>, &'static str> {
        let known = |column: &ArrayRef, reason| if column.is_null(index) { Err(reason) } else { Ok(()) };
        let cast = |CastColumn { raw, values }: &CastColumn, missing, unfit| {
            known(raw, missing)?;
            known(values, unfit)
        };
        let mut row = Row { user: "", item: "", time: None, weight: None };
        if let Some(column) = &self.weight {
            cast(
                column,
                "no weight",
                "the weight is not a number, or an integer that single precision does not hold exactly",
            )?;
            let weight = column.values.as_primitive::<Float32Type>().value(index);
            row.weight =
                Some(Some(weight).filter(|weight| weight.is_finite()).ok_or("the weight is not a finite number")?);
        }
        if let Some(column) = &self.time {
            cast(column, "no time", "the time is no moment within 64 bits")?;
            row.time = Some(column.values.as_primitive::<Int64Type>().value(index));
        }
        known(&self.user, "no user")?;
        known(&self.item, "no item")?;
        row.user = self.user.as_string::<i64>().value(index);
        row.item = self.item.as_string::<i64>().value(index);
        Ok(row)
    }
}
