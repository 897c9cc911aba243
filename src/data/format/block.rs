//! Rows on their way from a file to id maps: columns of small numbers with dictionaries of their own, so that blocks of
//! a file can be encoded in parallel and each distinct key of a block is looked up once where they are merged.

use super::{Row, Sink};
use crate::data::ids::{IdMap, TooManyKeys};

/// Rows of a stretch of a file, in file order.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The keys of users of this block, by first appearance.
    pub users: IdMap,
    pub items: IdMap,
    /// For each row, the id in `users`.
    pub user: Vec<u32>,
    /// For each row, the id in `items`.
    pub item: Vec<u32>,
    /// One value per row, or fewer than rows where some have none.
    pub time: Vec<i64>,
    /// As `time`.
    pub weight: Vec<f32>,
}

impl Block {
    pub fn len(&self) -> usize {
        self.user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    pub fn push(&mut self, row: Row<'_>) -> Result<(), TooManyKeys> {
        self.user.push(self.users.id(row.user)?);
        self.item.push(self.items.id(row.item)?);
        self.time.extend(row.time);
        self.weight.extend(row.weight);
        Ok(())
    }
}

/// Rows per block where a format has no blocks of its own.
const ROWS: usize = 1 << 16;

/// Gathers the rows of formats that are not read line by line into blocks for the sink.
pub struct Rows<'a> {
    block: Block,
    count: u64,
    sink: Sink<'a>,
}

impl<'a> Rows<'a> {
    pub fn new(sink: Sink<'a>) -> Self {
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
        let block = std::mem::take(&mut self.block);
        self.count += block.len() as u64;
        (self.sink)(&block)
    }
}
