//! The first rows of a Parquet artifact as an aligned table, CSV or JSON lines.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use super::args::RowFormat;
use crate::ui::{Style, text};

/// A cell of a terminal table is cut here: an embedding would fill the screen.
const CELL: usize = 40;

/// The first `count` rows.
pub fn render(batch: &RecordBatch, count: usize, format: RowFormat, style: Style) -> Result<String, ArrowError> {
    let batch = batch.slice(0, count.min(batch.num_rows()));
    match format {
        RowFormat::Table => {
            let rows: Vec<Vec<String>> = cells(&batch)?
                .into_iter()
                .map(|row| row.into_iter().map(|cell| text::shorten(&text::one_line(&cell), CELL)).collect())
                .collect();
            Ok(text::table(style, &names(&batch).iter().map(String::as_str).collect::<Vec<_>>(), &rows))
        }
        RowFormat::Csv => {
            let line = |row: &Vec<String>| row.iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(",");
            let lines: Vec<String> = std::iter::once(&names(&batch)).chain(&cells(&batch)?).map(line).collect();
            Ok(lines.join("\n"))
        }
        RowFormat::Json => {
            let line = |row| text::json(&Value::Object(row)).map_err(|error| ArrowError::JsonError(error.to_string()));
            Ok(json(&batch)?.into_iter().map(line).collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
    }
}

fn names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// Row by row; nulls are empty.
fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect())
}

/// RFC 4180: quotes around what contains a separator, a quote or a line break.
fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// Rows as objects.
pub fn json(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, ArrowError> {
    let names = names(batch);
    let row = |row: usize| {
        let values = batch.columns().iter().map(|column| value(column, row));
        names.iter().cloned().zip(values).map(|(name, value)| Ok((name, value?))).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Numbers, truths, texts and lists as JSON has them; anything else, and numbers that JSON lacks, as text.
fn value(array: &dyn Array, row: usize) -> Result<Value, ArrowError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive_opt::<$type>().map(|array| array.value(row)).map(Value::from)
        };
    }
    let known = match array.data_type() {
        DataType::Boolean => array.as_boolean_opt().map(|array| Value::from(array.value(row))),
        DataType::Int8 => primitive!(Int8Type),
        DataType::Int16 => primitive!(Int16Type),
        DataType::Int32 => primitive!(Int32Type),
        DataType::Int64 => primitive!(Int64Type),
        DataType::UInt8 => primitive!(UInt8Type),
        DataType::UInt16 => primitive!(UInt16Type),
        DataType::UInt32 => primitive!(UInt32Type),
        DataType::UInt64 => primitive!(UInt64Type),
        DataType::Float32 => primitive!(Float32Type),
        DataType::Float64 => primitive!(Float64Type),
        DataType::FixedSizeList(..) => {
            array.as_fixed_size_list_opt().map(|list| elements(&list.value(row))).transpose()?
        }
        DataType::List(_) => array.as_list_opt::<i32>().map(|list| elements(&list.value(row))).transpose()?,
        _ => None,
    };
    match known.filter(|value| !value.is_null()) {
        Some(value) => Ok(value),
        None => Ok(ArrayFormatter::try_new(array, &FormatOptions::default())?.value(row).to_string().into()),
    }
}

fn elements(array: &dyn Array) -> Result<Value, ArrowError> {
    (0..array.len()).map(|row| value(array, row)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let metric: ArrayRef = Arc::new(StringArray::from(vec!["recall, \"at\" 20", "ndcg"]));
        let value: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.048), None]));
        RecordBatch::try_from_iter([("metric", metric), ("value", value)]).unwrap()
    }

    #[test]
    fn rows_are_spelled_in_three_ways() {
        let style = Style { color: false };
        let show = |format| render(&batch(), 5, format, style).unwrap();
        assert_eq!(show(RowFormat::Table), "metric           value\nrecall, \"at\" 20  0.048\nndcg");
        assert_eq!(show(RowFormat::Csv), "metric,value\n\"recall, \"\"at\"\" 20\",0.048\nndcg,");
        let json = "{\"metric\":\"recall, \\\"at\\\" 20\",\"value\":0.048}\n{\"metric\":\"ndcg\",\"value\":null}";
        assert_eq!(show(RowFormat::Json), json);
        assert_eq!(render(&batch(), 0, RowFormat::Csv, style).unwrap(), "metric,value");
    }
}
