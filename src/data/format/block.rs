//! Rows on their way from a file to id maps. Keys that are small numbers are stored as such; the others are numbered
//! within the block, so that blocks can be encoded in parallel and each distinct key is looked up once when they are
//! merged.

use std::borrow::Cow;

use super::{Row, RowSink};
use crate::data::ids::{IdMap, SMALL, TooManyKeys, small_number};

/// Rows of a stretch of a file, in file order.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub user: Keys,
    pub item: Keys,
    /// One value per row, or fewer than rows where some have none.
    pub time: Vec<i64>,
    /// As `time`.
    pub weight: Vec<f32>,
}

/// A column of keys.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// For each row the number that the key spells, if it is below [`SMALL`]; else `SMALL` and an index into `text`.
    codes: Vec<u32>,
    /// The other keys, by first appearance.
    text: IdMap,
}

impl Keys {
    fn push(&mut self, key: &str) -> Result<(), TooManyKeys> {
        let code = match small_number(key) {
            Some(number) => number,
            None => self.text.id(key)?.checked_add(SMALL).ok_or(TooManyKeys::Number)?,
        };
        self.codes.push(code);
        Ok(())
    }

    /// The key of a row.
    ///
    /// # Panics
    /// There is no such row.
    pub fn key(&self, row: usize) -> Cow<'_, str> {
        match self.codes[row].checked_sub(SMALL) {
            Some(index) => self.text.key(index).into(),
            None => self.codes[row].to_string().into(),
        }
    }

    /// Appends the ids that `map` gives the keys to `ids`.
    pub fn append_ids(&self, map: &mut IdMap, ids: &mut Vec<u32>) -> Result<(), TooManyKeys> {
        let mut known = vec![None; self.text.len()];
        ids.reserve(self.codes.len());
        for &code in &self.codes {
            let id = match code.checked_sub(SMALL) {
                None => map.id_of_number(code)?,
                Some(index) => {
                    let place = &mut known[index as usize];
                    match *place {
                        Some(id) => id,
                        None => *place.insert(map.id(self.text.key(index))?),
                    }
                }
            };
            ids.push(id);
        }
        Ok(())
    }
}

impl Block {
    pub fn len(&self) -> usize {
        self.user.codes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Empties the block; it keeps its memory.
    pub fn clear(&mut self) {
        let Self { user, item, time, weight } = self;
        for keys in [user, item] {
            keys.codes.clear();
            keys.text.clear();
        }
        time.clear();
        weight.clear();
    }

    pub fn push(&mut self, row: Row<'_>) -> Result<(), TooManyKeys> {
        self.user.push(row.user)?;
        self.item.push(row.item)?;
        self.time.extend(row.time);
        self.weight.extend(row.weight);
        Ok(())
    }
}

/// Rows per block where a format has no blocks of its own.
const ROWS: usize = 1 << 16;

/// Gathers the rows of formats that are not read line by line into blocks for the sink.
pub struct BlockWriter<'a> {
    block: Block,
    count: u64,
    sink: RowSink<'a>,
}

impl<'a> BlockWriter<'a> {
    pub fn new(sink: RowSink<'a>) -> Self {
        Self { block: Block::default(), count: 0, sink }
    }

    pub fn push(&mut self, row: Row<'_>) -> Result<(), TooManyKeys> {
        self.block.push(row)?;
        if self.block.len() == ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands over what is left; answers the number of all rows.
    pub fn finish(mut self) -> Result<u64, TooManyKeys> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        Ok(self.count)
    }

    fn flush(&mut self) -> Result<(), TooManyKeys> {
        self.count += self.block.len() as u64;
        (self.sink)(&self.block)?;
        self.block.clear();
        Ok(())
    }
}
