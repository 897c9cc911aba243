//! User-item interactions with dense ids, and their Arrow form.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Float32Array, Int64Array, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, UInt32Type};
use arrow::error::ArrowError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Interactions as columns of equal length. Rows keep the order in which they were read or made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interactions {
    /// Dense user ids, `0..U`.
    pub user: Vec<u32>,
    /// Dense item ids, `0..I`.
    pub item: Vec<u32>,
    /// Seconds since 1970, where the source has times.
    pub time: Option<Vec<i64>>,
    /// Rating, watch ratio or count, where the source has one.
    pub weight: Option<Vec<f32>>,
}

/// What becomes of several rows of one user-item pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dedup {
    /// The earliest row stays; without times, or among equal ones, the first.
    #[default]
    First,
    /// The latest row stays, in its place; without times, or among equal ones, the last.
    Last,
    /// As `first`, with the sum of the weights.
    Sum,
    /// All rows stay.
    None,
}

impl Interactions {
    pub fn len(&self) -> usize {
        self.user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    /// The rows at `rows`, in that order.
    pub fn take(&self, rows: &[usize]) -> Self {
        let mut taken = Self { time: self.time.as_ref().map(|_| Vec::new()), ..Self::default() };
        taken.weight = self.weight.as_ref().map(|_| Vec::new());
        taken.add(self, rows);
        taken
    }

    /// Makes room for so many rows more.
    pub fn reserve(&mut self, rows: usize) {
        self.user.reserve(rows);
        self.item.reserve(rows);
        self.time.iter_mut().for_each(|time| time.reserve(rows));
        self.weight.iter_mut().for_each(|weight| weight.reserve(rows));
    }

    /// Adds the rows of `other` at `rows`, in that order. Both have the same columns.
    pub fn add(&mut self, other: &Self, rows: &[usize]) {
        self.user.extend(rows.iter().map(|&row| other.user[row]));
        self.item.extend(rows.iter().map(|&row| other.item[row]));
        if let (Some(own), Some(time)) = (&mut self.time, &other.time) {
            own.extend(rows.iter().map(|&row| time[row]));
        }
        if let (Some(own), Some(weight)) = (&mut self.weight, &other.weight) {
            own.extend(rows.iter().map(|&row| weight[row]));
        }
    }

    /// Arrow form: `user: u32, item: u32, time: i64?, weight: f32?` (all null where unknown). Nothing is copied.
    pub fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        let n = self.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.user)),
            Arc::new(UInt32Array::from(self.item)),
            Arc::new(self.time.map_or_else(|| Int64Array::new_null(n), Int64Array::from)),
            Arc::new(self.weight.map_or_else(|| Float32Array::new_null(n), Float32Array::from)),
        ];
        RecordBatch::try_new(Arc::new(Self::schema()), columns)
    }

    /// The columns of the Arrow form.
    pub fn schema() -> Schema {
        Schema::new(vec![
            Field::new("user", DataType::UInt32, false),
            Field::new("item", DataType::UInt32, false),
            Field::new("time", DataType::Int64, true),
            Field::new("weight", DataType::Float32, true),
        ])
    }

    /// Back from [`Self::into_batch`]; further columns are ignored.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let mut rows = Self::default();
        rows.append(batch)?;
        Ok(rows)
    }

    /// Adds the rows of a further piece of the Arrow form.
    ///
    /// # Errors
    /// A column is missing or of another type, or times or weights are known of some rows only.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let before = self.len();
        let (time, weight) = (column::<Int64Type>(batch, "time")?, column::<Float32Type>(batch, "weight")?);
        self.user.extend_from_slice(column::<UInt32Type>(batch, "user")?.values());
        self.item.extend_from_slice(column::<UInt32Type>(batch, "item")?.values());
        append_known(&mut self.time, time, before, "time")?;
        append_known(&mut self.weight, weight, before, "weight")
    }
}

fn column<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>, ArrowError> {
    let column = batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column `{name}`")))?;
    column
        .as_primitive_opt::<T>()
        .ok_or_else(|| ArrowError::SchemaError(format!("column `{name}` is not of type {}", T::DATA_TYPE)))
}

/// Adds values to a column of `before` rows that is known throughout or not at all.
fn append_known<T: ArrowPrimitiveType>(
    own: &mut Option<Vec<T::Native>>,
    array: &PrimitiveArray<T>,
    before: usize,
    name: &str,
) -> Result<(), ArrowError> {
    if array.is_empty() {
        return Ok(());
    }
    if before == 0 && array.null_count() == 0 {
        *own = Some(Vec::new());
    }
    match own {
        Some(own) if array.null_count() == 0 => own.extend_from_slice(array.values()),
        None if array.null_count() == array.len() => {}
        _ => return Err(ArrowError::SchemaError(format!("column `{name}` has values in some rows only"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated() -> Interactions {
        Interactions {
            user: vec![1, 0, 1, 1, 0],
            item: vec![2, 0, 2, 3, 0],
            time: Some(vec![10, 20, 30, 40, 50]),
            weight: Some(vec![1.0, 2.0, 4.0, 8.0, 16.0]),
        }
    }

    #[test]
    fn arrow_and_back() {
        let with = repeated();
        let batch = with.clone().into_batch().unwrap();
        assert_eq!(Interactions::from_batch(&batch).unwrap(), with);
        let without = Interactions { time: None, weight: None, ..repeated() }.into_batch().unwrap();
        assert_eq!(
            Interactions::from_batch(&without).unwrap(),
            Interactions { time: None, weight: None, ..repeated() }
        );

        let mut pieces = Interactions::default();
        for (start, length) in [(0, 0), (0, 2), (2, 0), (2, 3)] {
            pieces.append(&batch.slice(start, length)).unwrap();
        }
        assert_eq!(pieces, with);
        let error = pieces.append(&without).unwrap_err().to_string();
        assert!(error.contains("column `time` has values in some rows only"), "{error}");
    }
}
