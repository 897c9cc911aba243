//! Columns of artifacts as slices, with messages that name what is missing.

use arrow::array::{Array, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};

use crate::engine::stage::{Input, StageError};

/// A column of `u32` without nulls.
pub fn u32s<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [u32], StageError> {
    Ok(primitive::<UInt32Type>(batch, name)?.values())
}

/// A column of `i64` without nulls.
pub fn i64s<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], StageError> {
    Ok(primitive::<Int64Type>(batch, name)?.values())
}

/// A column of `f64`; nulls are NaN.
pub fn f64s(batch: &RecordBatch, name: &str) -> Result<Vec<f64>, StageError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Float64Type>());
    let column = column.ok_or_else(|| wrong(name, "f64"))?;
    Ok(column.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// A column of finite `f64` of an artifact. `of` says what the value of a row belongs to.
pub fn finite(
    input: &Input,
    artifact: &str,
    batch: &RecordBatch,
    name: &str,
    of: impl Fn(usize) -> String,
) -> Result<Vec<f64>, StageError> {
    let values = finite_or_null(input, artifact, batch, name, &of)?;
    let value = |(row, value): (usize, Option<f64>)| {
        value.ok_or_else(|| not_finite(input, artifact, "no value", name, row, &of(row)))
    };
    values.into_iter().enumerate().map(value).collect()
}

/// As [`finite`], where the column may have nulls.
pub fn finite_or_null(
    input: &Input,
    artifact: &str,
    batch: &RecordBatch,
    name: &str,
    of: impl Fn(usize) -> String,
) -> Result<Vec<Option<f64>>, StageError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Float64Type>());
    let column = column.ok_or_else(|| wrong(name, "f64"))?;
    match column.iter().position(|value| value.is_some_and(|value| !value.is_finite())) {
        Some(row) => Err(not_finite(input, artifact, &column.value(row).to_string(), name, row, &of(row))),
        None => Ok(column.iter().collect()),
    }
}

fn not_finite(input: &Input, artifact: &str, found: &str, name: &str, row: usize, of: &str) -> StageError {
    let labels: Vec<String> = input.labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect();
    let source = if labels.is_empty() { String::new() } else { format!(" of {}", labels.join(",")) };
    StageError::new(format!(
        "the artifact `{artifact}`{source}, from port `{}`, has {found} in column `{name}`, row {row}: {of}",
        input.port
    ))
    .with_help("only finite numbers can be compared and shown; `cache verify` tells whether the artifact is damaged")
}

/// A column of text without nulls.
pub fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, StageError> {
    Some(optional_texts(batch, name)?).filter(|column| column.null_count() == 0).ok_or_else(|| wrong(name, "utf8"))
}

/// A column of text, null where a row has none.
pub fn optional_texts<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, StageError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    column.ok_or_else(|| wrong(name, "utf8"))
}

/// A column of truth values without nulls.
pub fn bools<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray, StageError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_boolean_opt());
    column.filter(|column| column.null_count() == 0).ok_or_else(|| wrong(name, "bool"))
}

fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, StageError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<T>());
    column.filter(|column| column.null_count() == 0).ok_or_else(|| wrong(name, &T::DATA_TYPE.to_string()))
}

fn wrong(name: &str, dtype: &str) -> StageError {
    StageError::new(format!("an input has no column `{name}` of type {dtype} without nulls"))
        .with_help("connect the port to the artifact that its documentation names")
}
