//! Interactions in named parts: what comes in before it is split, and test sets.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::Interactions;

/// Interactions, each belonging to one part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    pub rows: Interactions,
    /// Index into `names` for each row.
    pub part: Vec<u32>,
    pub names: Vec<String>,
}

impl Parts {
    /// The parts one after the other. Times and weights stay only if every part that has rows has them.
    pub fn concat(parts: Vec<(String, Interactions)>) -> Self {
        let filled = || parts.iter().map(|(_, rows)| rows).filter(|rows| !rows.is_empty());
        let time = filled().map(|rows| rows.time.as_deref()).collect::<Option<Vec<_>>>().map(|all| all.concat());
        let weight = filled().map(|rows| rows.weight.as_deref()).collect::<Option<Vec<_>>>().map(|all| all.concat());
        let user = parts.iter().flat_map(|(_, rows)| &rows.user).copied().collect();
        let item = parts.iter().flat_map(|(_, rows)| &rows.item).copied().collect();
        let part =
            parts.iter().zip(0..).flat_map(|((_, rows), index)| std::iter::repeat_n(index, rows.len())).collect();
        let names = parts.into_iter().map(|(name, _)| name).collect();
        Self { rows: Interactions { user, item, time, weight }, part, names }
    }

    /// The rows of the named parts; all if none is named.
    ///
    /// # Errors
    /// The first name that no part has.
    pub fn only<'a>(&self, names: &'a [String]) -> Result<Self, &'a String> {
        if let Some(unknown) = names.iter().find(|name| !self.names.contains(name)) {
            return Err(unknown);
        }
        let wanted: Vec<bool> = self.names.iter().map(|name| names.is_empty() || names.contains(name)).collect();
        let rows: Vec<usize> = (0..self.part.len()).filter(|&row| wanted[self.part[row] as usize]).collect();
        let part = rows.iter().map(|&row| self.part[row]).collect();
        Ok(Self { rows: self.rows.take(&rows), part, names: self.names.clone() })
    }

    /// Arrow form: that of [`Interactions::to_batch`] and the name of the part in a text column called `column`.
    pub fn to_batch(&self, column: &str) -> Result<RecordBatch, ArrowError> {
        let batch = self.rows.to_batch()?;
        let names = StringArray::from_iter_values(self.part.iter().map(|&part| &self.names[part as usize]));
        let mut fields = batch.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(column, DataType::Utf8, false)));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(names));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    /// Back from [`Self::to_batch`], with the names in order of first appearance.
    pub fn from_batch(batch: &RecordBatch, column: &str) -> Result<Self, ArrowError> {
        let text = batch.column_by_name(column).and_then(|text| text.as_string_opt::<i32>());
        let text = text.ok_or_else(|| ArrowError::SchemaError(format!("no text column `{column}`")))?;
        let mut index = HashMap::new();
        let mut names = Vec::new();
        let part = text
            .iter()
            .map(|name| {
                let name = name.unwrap_or_default();
                *index.entry(name).or_insert_with(|| {
                    names.push(name.to_owned());
                    names.len() as u32 - 1
                })
            })
            .collect();
        Ok(Self { rows: Interactions::from_batch(batch)?, part, names })
    }
}

/// Arrow form of counts: `name: utf8, value: i64`.
pub fn counts_to_batch(counts: &[(String, i64)]) -> Result<RecordBatch, ArrowError> {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(counts.iter().map(|(name, _)| name)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(counts.iter().map(|&(_, value)| value)));
    let schema =
        Schema::new(vec![Field::new("name", DataType::Utf8, false), Field::new("value", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![names, values])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(user: &[u32], time: Option<Vec<i64>>) -> Interactions {
        Interactions { user: user.to_vec(), item: user.to_vec(), time, weight: None }
    }

    #[test]
    fn parts_are_joined_chosen_and_survive_arrow() {
        let parts = Parts::concat(vec![
            ("log".to_owned(), rows(&[1, 2], Some(vec![5, 6]))),
            ("empty".to_owned(), rows(&[], None)),
            ("test".to_owned(), rows(&[3], Some(vec![7]))),
        ]);
        assert_eq!((&*parts.part, parts.rows.time.as_deref()), (&[0, 0, 2][..], Some(&[5, 6, 7][..])));
        let back = Parts::from_batch(&parts.to_batch("set").unwrap(), "set").unwrap();
        assert_eq!((back.rows, &*back.names), (parts.rows.clone(), &["log".to_owned(), "test".to_owned()][..]));

        let test = parts.only(&["test".to_owned()]).unwrap();
        assert_eq!((test.rows.user, test.part), (vec![3], vec![2]));
        assert_eq!(parts.only(&[]).unwrap(), parts);
        assert_eq!(parts.only(&["x".to_owned()]), Err(&"x".to_owned()));
    }

    #[test]
    fn times_that_one_part_lacks_are_dropped() {
        let parts = vec![("a".to_owned(), rows(&[1], Some(vec![5]))), ("b".to_owned(), rows(&[2], None))];
        assert_eq!(Parts::concat(parts).rows.time, None);
    }
}
