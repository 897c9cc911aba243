//! Dense ids for the string keys of users and items, by first appearance.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

/// Keys and their ids `0..len`, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct IdMap {
    keys: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
}

/// There are more than 2^32 - 1 distinct keys.
#[derive(Debug, thiserror::Error)]
#[error("more than {} different users or items", u32::MAX)]
pub struct TooManyKeys;

impl IdMap {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The id of a key, new if it was not seen before.
    pub fn id(&mut self, key: &str) -> Result<u32, TooManyKeys> {
        if let Some(&id) = self.ids.get(key) {
            return Ok(id);
        }
        let id = u32::try_from(self.keys.len()).ok().filter(|&id| id < u32::MAX).ok_or(TooManyKeys)?;
        let key: Arc<str> = key.into();
        self.keys.push(key.clone());
        self.ids.insert(key, id);
        Ok(id)
    }

    /// The keys in order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(|key| &**key)
    }
}

/// Arrow form of an id map: `id: u32, key: utf8`, one row per id from 0.
pub fn keys_to_batch<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<RecordBatch, ArrowError> {
    let keys = StringArray::from_iter_values(keys);
    let ids = UInt32Array::from_iter_values(0..keys.len() as u32);
    let schema = Schema::new(vec![Field::new("id", DataType::UInt32, false), Field::new("key", DataType::Utf8, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(keys)])
}

/// Back from [`keys_to_batch`]: the keys in order of their ids.
pub fn keys_from_batch(batch: &RecordBatch) -> Result<&StringArray, ArrowError> {
    let keys = batch.column_by_name("key").and_then(|keys| keys.as_string_opt::<i32>());
    keys.ok_or_else(|| ArrowError::SchemaError("no text column `key`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_first_appearance() {
        let mut map = IdMap::default();
        let ids: Vec<u32> = ["b", "a", "b", "c"].into_iter().map(|key| map.id(key).unwrap()).collect();
        assert_eq!(ids, [0, 1, 0, 2]);
        assert_eq!(map.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
    }
}
