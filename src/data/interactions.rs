//! User-item interactions with dense ids, and their Arrow form.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, Int64Array, RecordBatch, UInt32Array};
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
    /// The first row stays.
    #[default]
    First,
    /// The last row stays, in its place.
    Last,
    /// The first row stays, with the sum of the weights.
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
        Self {
            user: rows.iter().map(|&row| self.user[row]).collect(),
            item: rows.iter().map(|&row| self.item[row]).collect(),
            time: self.time.as_ref().map(|time| rows.iter().map(|&row| time[row]).collect()),
            weight: self.weight.as_ref().map(|weight| rows.iter().map(|&row| weight[row]).collect()),
        }
    }

    /// Without repeated pairs, in the order of the rows; [`Self::len`] tells how many rows went.
    pub fn dedup(&self, rule: Dedup) -> Self {
        if rule == Dedup::None {
            return self.clone();
        }
        // Equal pairs side by side, each group in row order.
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by_key(|&row| (self.user[row], self.item[row], row));
        let mut kept: Vec<(usize, f32)> = Vec::new();
        for group in order.chunk_by(|&a, &b| (self.user[a], self.item[a]) == (self.user[b], self.item[b])) {
            let row = if rule == Dedup::Last { group[group.len() - 1] } else { group[0] };
            let sum = self.weight.as_ref().map_or(0.0, |weight| group.iter().map(|&row| f64::from(weight[row])).sum());
            kept.push((row, sum as f32));
        }
        kept.sort_unstable_by_key(|&(row, _)| row);
        let rows: Vec<usize> = kept.iter().map(|&(row, _)| row).collect();
        let mut distinct = self.take(&rows);
        if rule == Dedup::Sum && distinct.weight.is_some() {
            distinct.weight = Some(kept.into_iter().map(|(_, sum)| sum).collect());
        }
        distinct
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
    fn dedup_keeps_one_row_per_pair_in_row_order() {
        let times = |rule| repeated().dedup(rule).time.unwrap();
        assert_eq!(times(Dedup::First), [10, 20, 40]);
        assert_eq!(times(Dedup::Last), [30, 40, 50]);
        assert_eq!(repeated().dedup(Dedup::None), repeated());
        let sum = repeated().dedup(Dedup::Sum);
        assert_eq!((sum.time.unwrap(), sum.weight.unwrap()), (vec![10, 20, 40], vec![5.0, 18.0, 8.0]));
    }

    #[test]
    fn arrow_and_back() {
        let with = repeated();
        assert_eq!(Interactions::from_batch(&with.to_batch().unwrap()).unwrap(), with);
        let without = Interactions { time: None, weight: None, ..repeated() };
        assert_eq!(Interactions::from_batch(&without.to_batch().unwrap()).unwrap(), without);
    }
}
