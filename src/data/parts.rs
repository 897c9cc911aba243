//! Interactions in named parts: what comes in before it is split, and test sets.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
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
    pub fn only(self, names: &[String]) -> Result<Self, &String> {
        if names.is_empty() {
            return Ok(self);
        }
        if let Some(unknown) = names.iter().find(|name| !self.names.contains(name)) {
            return Err(unknown);
        }
        let wanted: Vec<bool> = self.names.iter().map(|name| names.contains(name)).collect();
        let rows: Vec<usize> = (0..self.part.len()).filter(|&row| wanted[self.part[row] as usize]).collect();
        let part = rows.iter().map(|&row| self.part[row]).collect();
        Ok(Self { rows: self.rows.take(&rows), part, names: self.names })
    }

    /// Arrow form: that of [`Interactions::into_batch`] and the name of the part in a text column called `column`, as a
    /// dictionary.
    pub fn into_batch(self, column: &str) -> Result<RecordBatch, ArrowError> {
        let names = StringArray::from_iter_values(&self.names);
        let mut columns = self.rows.into_batch()?.columns().to_vec();
        columns.push(Arc::new(DictionaryArray::try_new(UInt32Array::from(self.part), Arc::new(names))?));
        RecordBatch::try_new(Arc::new(Self::schema(column)), columns)
    }

    /// The columns of the Arrow form.
    pub fn schema(column: &str) -> Schema {
        let mut fields = Interactions::schema().fields().to_vec();
        let names = DataType::Dictionary(DataType::UInt32.into(), DataType::Utf8.into());
        fields.push(Arc::new(Field::new(column, names, false)));
        Schema::new(fields)
    }

    /// Back from [`Self::into_batch`], with the names in order of first appearance.
    pub fn from_batch(batch: &RecordBatch, column: &str) -> Result<Self, ArrowError> {
        let mut parts = Self::default();
        parts.append(batch, column)?;
        Ok(parts)
    }

    /// Adds the rows of a further piece of the Arrow form.
    ///
    /// # Errors
    /// As [`Interactions::append`].
    pub fn append(&mut self, batch: &RecordBatch, column: &str) -> Result<(), ArrowError> {
        let no_column = || ArrowError::SchemaError(format!("no text column `{column}`"));
        let text = batch.column_by_name(column).ok_or_else(no_column)?;
        let dictionary = cast(text, &DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()))?;
        let dictionary = dictionary.as_dictionary::<Int32Type>();
        let names = dictionary.values().as_string::<i32>();
        let mut index = vec![None; names.len()];
        self.rows.append(batch)?;
        if dictionary.null_count() > 0 {
            return Err(no_column());
        }
        self.part.reserve(dictionary.len());
        for &key in dictionary.keys().values() {
            let key = key as usize;
            let part = match index[key] {
                Some(part) => part,
                None => *index[key].insert(self.index_of(names.value(key))),
            };
            self.part.push(part);
        }
        Ok(())
    }

    fn index_of(&mut self, name: &str) -> u32 {
        let known = self.names.iter().position(|own| own == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        known as u32
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
        let back = Parts::from_batch(&parts.clone().into_batch("set").unwrap(), "set").unwrap();
        assert_eq!((back.rows, &*back.names), (parts.rows.clone(), &["log".to_owned(), "test".to_owned()][..]));

        let test = parts.clone().only(&["test".to_owned()]).unwrap();
        assert_eq!((test.rows.user, test.part), (vec![3], vec![2]));
        assert_eq!(parts.clone().only(&[]).unwrap(), parts);
        assert_eq!(parts.only(&["x".to_owned()]), Err(&"x".to_owned()));
    }

    #[test]
    fn times_that_one_part_lacks_are_dropped() {
        let parts = vec![("a".to_owned(), rows(&[1], Some(vec![5]))), ("b".to_owned(), rows(&[2], None))];
        assert_eq!(Parts::concat(parts).rows.time, None);
    }
}
