//! `literal`: a small table written into the pipeline itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::stage::{Context, Stage, StageError, parse};
use crate::spec::{Form, Output, ParamError, Port};
use crate::store::parquet;

pub struct Literal;

/// All integers up to here are floats: 2^53.
const EXACT: u64 = 1 << 53;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// One map per row, from column to a text, number or boolean. What a row lacks is null. Columns stand in the
    /// order of their names; one with any number that has a fraction holds `f64`.
    rows: Vec<Map<String, Value>>,
}

impl Stage for Literal {
    type Params = Params;

    const KIND: &'static str = "literal";
    const VERSION: u32 = 2;
    const DOC: &'static str = "A small table written into the pipeline itself.";
    const PORTS: &'static [Port] = &[];
    const OUTPUTS: &'static [Output] =
        &[Output { name: "table", doc: "The rows, in their order.", form: Form::Table(&[]) }];

    fn check(params: &Params) -> Result<(), ParamError> {
        batch(params).map(|_| ())
    }
}

pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let batch = batch(&parse::<Literal>(params)?)?;
    parquet::write(&context.output("table"), &batch, &super::made_by::<Literal>())?;
    Ok(())
}

fn batch(params: &Params) -> Result<RecordBatch, ParamError> {
    let names: BTreeSet<&String> = params.rows.iter().flat_map(Map::keys).collect();
    if names.is_empty() {
        return Err(ParamError {
            path: vec!["rows".to_owned()],
            message: "a table needs at least one row with one column".to_owned(),
            help: Some("write `rows: [{ name: value }]`".to_owned()),
        });
    }
    let columns = names.into_iter().map(|name| Ok((name, column(params, name)?, true)));
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ParamError>>()?)
        .map_err(|error| ParamError { path: vec!["rows".to_owned()], message: error.to_string(), help: None })
}

/// The type of a column is that of its first value, integers giving way to floats.
fn column(params: &Params, name: &str) -> Result<ArrayRef, ParamError> {
    let cells: Vec<&Value> = params.rows.iter().map(|row| row.get(name).unwrap_or(&Value::Null)).collect();
    let cell = |wanted: &'static str, fits: &dyn Fn(&Value) -> bool| match cells
        .iter()
        .position(|cell| !cell.is_null() && !fits(cell))
    {
        None => Ok(()),
        Some(row) => Err(ParamError {
            path: vec!["rows".to_owned(), row.to_string(), name.to_owned()],
            message: format!("{} does not fit: this column holds {wanted}", cells[row]),
            help: Some("give a column values of one type: text, number or boolean".to_owned()),
        }),
    };
    Ok(match cells.iter().find(|cell| !cell.is_null()) {
        Some(Value::Bool(_)) => {
            cell("booleans", &Value::is_boolean)?;
            Arc::new(cells.iter().map(|cell| cell.as_bool()).collect::<BooleanArray>())
        }
        Some(Value::Number(_)) => {
            cell("numbers", &Value::is_number)?;
            let whole = cells.iter().all(|cell| cell.is_null() || cell.is_i64());
            let too_large = |cell: &Value| {
                let integer = cell.as_i64().map(i64::unsigned_abs).or(cell.as_u64());
                integer.is_some_and(|integer| integer > EXACT)
            };
            if let Some(row) = cells.iter().position(|cell| too_large(cell)).filter(|_| !whole) {
                return Err(ParamError {
                    path: vec!["rows".to_owned(), row.to_string(), name.to_owned()],
                    message: format!("the column holds `f64`, in which {} is another number", cells[row]),
                    help: Some("quote the numbers of this column to keep them as texts".to_owned()),
                });
            }
            if whole {
                Arc::new(cells.iter().map(|cell| cell.as_i64()).collect::<Int64Array>())
            } else {
                Arc::new(cells.iter().map(|cell| cell.as_f64()).collect::<Float64Array>())
            }
        }
        _ => {
            cell("texts", &Value::is_string)?;
            Arc::new(cells.iter().map(|cell| cell.as_str()).collect::<StringArray>())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(rows: Value) -> Result<RecordBatch, ParamError> {
        batch(&serde_json::from_value(json!({ "rows": rows })).unwrap())
    }

    #[test]
    fn columns_take_the_type_of_their_values() {
        let batch = table(json!([{ "b": 1, "a": "x", "d": true }, { "b": 2.5 }, { "c": 3, "a": "y" }])).unwrap();
        let types: Vec<String> =
            batch.schema().fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
        assert_eq!(types, ["a Utf8", "b Float64", "c Int64", "d Boolean"]);
        assert_eq!((batch.num_rows(), batch.column(0).null_count(), batch.column(2).null_count()), (3, 1, 2));
    }

    #[test]
    fn integers_are_kept_exactly_or_refused() {
        let large = table(json!([{ "a": 9_007_199_254_740_993_i64 }, { "a": i64::MAX }])).unwrap();
        assert_eq!(large.column(0).as_ref(), &Int64Array::from(vec![9_007_199_254_740_993, i64::MAX]));
        for rows in [
            json!([{ "a": 18_446_744_073_709_551_615_u64 }]),
            json!([{ "a": 0.5 }, { "a": 9_007_199_254_740_993_i64 }]),
            json!([{ "a": 0.5 }, { "a": -9_007_199_254_740_993_i64 }]),
        ] {
            let error = table(rows.clone()).expect_err(&rows.to_string());
            assert!(error.message.contains("another number") && error.help.is_some(), "{}", error.message);
        }
        assert!(table(json!([{ "a": 0.5 }, { "a": 9_007_199_254_740_992_i64 }, { "a": 1e300 }])).is_ok());
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        let error = table(json!([{ "a": 1 }, { "a": "x" }])).unwrap_err();
        assert_eq!(error.path, ["rows", "1", "a"]);
        assert_eq!(table(json!([{ "a": [1] }])).unwrap_err().path, ["rows", "0", "a"]);
        assert_eq!(table(json!([])).unwrap_err().path, ["rows"]);
    }

    #[test]
    fn integers_that_a_column_would_change_are_refused() {
        for rows in [
            json!([{ "a": 18_446_744_073_709_551_615u64 }]),
            json!([{ "a": 1 }, { "a": 9_223_372_036_854_775_808u64 }]),
            json!([{ "a": 9_007_199_254_740_993i64 }, { "a": 0.5 }]),
        ] {
            let error = table(rows.clone()).err().unwrap_or_else(|| panic!("{rows}"));
            assert!(error.message.ends_with("is another number"), "{}", error.message);
        }
        assert!(table(json!([{ "a": 9_007_199_254_740_993i64 }, { "a": i64::MIN }])).is_ok());
        assert!(table(json!([{ "a": 9_007_199_254_740_992i64 }, { "a": 0.5 }])).is_ok());
    }
}
