//! User-item interactions with dense ids, and their Arrow form.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, UInt32Type};
use arrow::error::ArrowError;

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

impl Interactions {
    pub fn len(&self) -> usize {
        self.user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    /// The rows at `rows`, in that order.
    pub fn take(&self, rows: &[usize]) -> Self {
        Self {
            user: rows.iter().map(|&row| self.user[row]).collect(),
            item: rows.iter().map(|&row| self.item[row]).collect(),
            time: self.time.as_ref().map(|time| rows.iter().map(|&row| time[row]).collect()),
            weight: self.weight.as_ref().map(|weight| rows.iter().map(|&row| weight[row]).collect()),
        }
    }

    /// Arrow form: `user: u32, item: u32, time: i64?, weight: f32?` (all null where unknown).
    pub fn to_batch(&self) -> Result<RecordBatch, ArrowError> {
        let schema = Schema::new(vec![
            Field::new("user", DataType::UInt32, false),
            Field::new("item", DataType::UInt32, false),
            Field::new("time", DataType::Int64, true),
            Field::new("weight", DataType::Float32, true),
        ]);
        let time = match &self.time {
            Some(time) => Int64Array::from(time.clone()),
            None => Int64Array::new_null(self.len()),
        };
        let weight = match &self.weight {
            Some(weight) => Float32Array::from(weight.clone()),
            None => Float32Array::new_null(self.len()),
        };
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(UInt32Array::from(self.user.clone())),
                Arc::new(UInt32Array::from(self.item.clone())),
                Arc::new(time),
                Arc::new(weight),
            ],
        )
    }

    /// Back from [`Self::to_batch`]; further columns are ignored.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column `{name}`")))
        };
        let ids = |name: &str| -> Result<Vec<u32>, ArrowError> {
            let array = column(name)?;
            let array = array
                .as_primitive_opt::<UInt32Type>()
                .ok_or_else(|| ArrowError::SchemaError(format!("column `{name}` is not u32")))?;
            Ok(array.values().to_vec())
        };
        let time = column("time")?;
        let weight = column("weight")?;
        Ok(Self {
            user: ids("user")?,
            item: ids("item")?,
            time: time
                .as_primitive_opt::<Int64Type>()
                .filter(|array| array.null_count() < array.len())
                .map(|array| array.values().to_vec()),
            weight: weight
                .as_primitive_opt::<Float32Type>()
                .filter(|array| array.null_count() < array.len())
                .map(|array| array.values().to_vec()),
        })
    }
}
