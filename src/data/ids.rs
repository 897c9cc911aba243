//! Dense ids for the string keys of users and items, by first appearance.

use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringBuilder, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::decimal::decimal;

/// Keys and their ids `0..len`, in order of first appearance. A key costs its bytes and some 16 more.
#[derive(Clone, Debug, Default)]
pub struct IdMap {
    /// All keys, one after the other.
    text: String,
    /// Where each key ends in `text`.
    ends: Vec<usize>,
    /// Ids of keys that are no small numbers.
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// For each small number, its id and 1; 0 where there is none. Most data sets number their users and items: finding
    /// a number then takes one access, where text takes several.
    numbers: Vec<u32>,
}

/// Keys that spell a number below this, in the one way in which numbers are written, are looked up as numbers.
pub const SMALL: u32 = 1 << 25;

/// The small number that a key spells: `7`, but not `07` or `+7`.
pub fn small_number(key: &str) -> Option<u32> {
    let digits = key.as_bytes();
    if digits.len() > 8 || digits.starts_with(b"0") && digits.len() > 1 {
        return None;
    }
    decimal(digits).map(|number| number as u32).filter(|&number| number < SMALL)
}

/// Keys beyond what ids, or the tables of keys, can hold.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum TooManyKeys {
    #[error("more than {} different users or items", u32::MAX)]
    Number,
    #[error("the keys of users or items take more than 2 GiB; give them shorter keys, such as numbers")]
    Text,
}

/// Bytes of all keys together: tables of text have offsets of 31 bits.
const TEXT_LIMIT: usize = i32::MAX as usize;

impl IdMap {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all keys, but keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.ids.clear();
        self.numbers.fill(0);
    }

    /// The id of a key, new if it was not seen before.
    pub fn id(&mut self, key: &str) -> Result<u32, TooManyKeys> {
        if let Some(number) = small_number(key) {
            return self.id_of_number(number);
        }
        let Self { text, ends, ids, hasher, .. } = self;
        let same = |&id: &u32| key_at(text, ends, id as usize) == key;
        let rehash = |&id: &u32| hasher.hash_one(key_at(text, ends, id as usize));
        match ids.entry(hasher.hash_one(key), same, rehash) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => {
                let id = next_id(ends, key.len())?;
                place.insert(id);
                text.push_str(key);
                ends.push(text.len());
                Ok(id)
            }
        }
    }

    /// The id of the key that spells a number below [`SMALL`].
    ///
    /// # Panics
    /// The number is larger.
    #[inline]
    pub fn id_of_number(&mut self, number: u32) -> Result<u32, TooManyKeys> {
        match self.numbers.get(number as usize) {
            Some(&known) if known != 0 => Ok(known - 1),
            _ => self.add_number(number),
        }
    }

    #[cold]
    fn add_number(&mut self, number: u32) -> Result<u32, TooManyKeys> {
        assert!(number < SMALL, "{number} is no small number");
        let place = number as usize;
        if place >= self.numbers.len() {
            // Zeroed memory that is not touched costs nothing.
            let mut numbers = vec![0; (place + 1).next_power_of_two()];
            numbers[..self.numbers.len()].copy_from_slice(&self.numbers);
            self.numbers = numbers;
        }
        let id = next_id(&self.ends, number.checked_ilog10().unwrap_or(0) as usize + 1)?;
        self.numbers[place] = id + 1;
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number}");
        self.ends.push(self.text.len());
        Ok(id)
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

/// The id of a new key of so many bytes.
fn next_id(ends: &[usize], bytes: usize) -> Result<u32, TooManyKeys> {
    if ends.last().unwrap_or(&0) + bytes > TEXT_LIMIT {
        return Err(TooManyKeys::Text);
    }
    u32::try_from(ends.len()).ok().filter(|&id| id < u32::MAX).ok_or(TooManyKeys::Number)
}

fn key_at<'a>(text: &'a str, ends: &[usize], id: usize) -> &'a str {
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &text[start..ends[id]]
}

/// Arrow form of an id map: `id: u32, key: utf8`, one row per id from 0.
///
/// # Errors
/// The keys together are longer than a table can hold.
pub fn keys_to_batch<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<RecordBatch, ArrowError> {
    let mut builder = StringBuilder::new();
    for key in keys {
        let bytes = builder.values_slice().len() + key.len();
        if bytes > TEXT_LIMIT {
            return Err(ArrowError::ExternalError(TooManyKeys::Text.into()));
        }
        builder.append_value(key);
    }
    let keys = builder.finish();
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
    fn keys_of_more_than_two_gibibytes_are_refused_before_their_tables_overflow() {
        let full = [5, TEXT_LIMIT - 3];
        assert_eq!((next_id(&[], 1), next_id(&full, 3)), (Ok(0), Ok(2)));
        assert_eq!(next_id(&full, 4), Err(TooManyKeys::Text));
        assert!(TooManyKeys::Text.to_string().contains("shorter keys"));
        // The number of bytes is that of what is written.
        let mut map = IdMap::default();
        for number in [0, 9, 10, 99_999, 100_000, SMALL - 1] {
            let before = map.text.len();
            map.id_of_number(number).unwrap();
            assert_eq!(map.text.len() - before, number.checked_ilog10().unwrap_or(0) as usize + 1);
        }
    }

    #[test]
    fn small_numbers_are_those_that_a_parser_finds() {
        let plainly = |key: &str| {
            let number = key.parse::<u32>().ok().filter(|number| number.to_string() == key);
            number.filter(|&number| number < SMALL)
        };
        let numbers = (0..100_000).chain((0..u64::from(SMALL) * 4).step_by(7_919)).map(|number| number.to_string());
        for key in numbers {
            assert_eq!(small_number(&key), plainly(&key), "{key}");
        }
        for length in 1..=9 {
            for place in 0..length {
                for odd in (0..=127).map(char::from).chain(['é', '\u{9f}', '\u{7ff}']) {
                    let key: String = (0..length).map(|at| if at == place { odd } else { '5' }).collect();
                    assert_eq!(small_number(&key), plainly(&key), "{key}");
                }
            }
        }
    }

    #[test]
    fn keys_are_text_also_where_they_look_like_numbers() {
        let mut map = IdMap::default();
        let keys = ["7", "07", "7", "", "7.0", "0", "00", "33554431", "33554432", "-7", "99999999999", "33554431"];
        let ids: Vec<u32> = keys.iter().map(|key| map.id(key).unwrap()).collect();
        assert_eq!(ids, [0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 6]);
        assert!(keys.iter().zip(ids).all(|(key, id)| map.key(id) == *key));
        assert_eq!(
            (small_number("33554431"), small_number("33554432"), small_number("0")),
            (Some(SMALL - 1), None, Some(0))
        );
    }
}
