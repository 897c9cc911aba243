//! Dense ids for the string keys of users and items, by first appearance.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Keys and their ids `0..len`, in order of first appearance. A key costs its bytes and some 16 more.
#[derive(Clone, Debug, Default)]
pub struct IdMap {
    /// All keys, one after the other.
    text: String,
    /// Where each key ends in `text`.
    ends: Vec<usize>,
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// There are more than 2^32 - 1 distinct keys.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("more than {} different users or items", u32::MAX)]
pub struct TooManyKeys;

impl IdMap {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The id of a key, new if it was not seen before.
    pub fn id(&mut self, key: &str) -> Result<u32, TooManyKeys> {
        let Self { text, ends, ids, hasher } = self;
        let same = |&id: &u32| key_at(text, ends, id as usize) == key;
        let rehash = |&id: &u32| hasher.hash_one(key_at(text, ends, id as usize));
        match ids.entry(hasher.hash_one(key), same, rehash) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => {
                let id = u32::try_from(ends.len()).ok().filter(|&id| id < u32::MAX).ok_or(TooManyKeys)?;
                place.insert(id);
                text.push_str(key);
                ends.push(text.len());
                Ok(id)
            }
        }
    }

    /// The key of an id that this map gave.
    ///
    /// # Panics
    /// The id is not below [`Self::len`].
    pub fn key(&self, id: u32) -> &str {
        key_at(&self.text, &self.ends, id as usize)
    }

    /// The keys in order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|id| key_at(&self.text, &self.ends, id))
    }
}

fn key_at<'a>(text: &'a str, ends: &[usize], id: usize) -> &'a str {
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &text[start..ends[id]]
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
        assert_eq!(map.key(1), "a");
    }

    #[test]
    fn keys_are_text_also_where_they_look_like_numbers() {
        let mut map = IdMap::default();
        let ids: Vec<u32> = ["7", "07", "7", "", "7.0"].into_iter().map(|key| map.id(key).unwrap()).collect();
        assert_eq!(ids, [0, 1, 0, 2, 3]);
    }
}
