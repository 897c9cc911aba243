//! Rows of vectors: which ones a step reads, where they lie, and what is added to which.

use crate::kernel::Aligned;

/// A set of nodes: users, then items, numbered as the rows of the trained tables.
#[derive(Clone, Copy)]
pub enum Nodes<'a> {
    All,
    /// Those whose entry is true.
    Marked(&'a [bool]),
}

impl Nodes<'_> {
    /// Those before node `at`, and those from it on, numbered from 0.
    pub fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::All => (self, self),
            Self::Marked(marks) => {
                let (before, after) = marks.split_at(at);
                (Self::Marked(before), Self::Marked(after))
            }
        }
    }

    pub fn contains(self, node: usize) -> bool {
        match self {
            Self::All => true,
            Self::Marked(marks) => marks[node],
        }
    }
}

/// The vectors that are scored against each other, row-major, all of one width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    pub width: usize,
    /// One per user, or one per position where queries are positions of sequences.
    pub queries: Aligned,
    /// One per item.
    pub items: Aligned,
}

impl Vectors {
    /// Zeros.
    pub fn new(queries: usize, items: usize, width: usize) -> Self {
        Self { width, queries: Aligned::zeros(queries * width), items: Aligned::zeros(items * width) }
    }

    pub fn query(&self, row: u32) -> &[f32] {
        &self.queries[row as usize * self.width..][..self.width]
    }

    pub fn item(&self, item: u32) -> &[f32] {
        &self.items[item as usize * self.width..][..self.width]
    }
}

/// Rows taken from a row-major matrix, repetitions included.
#[derive(Clone, Copy)]
pub struct Gathered<'a> {
    pub matrix: &'a [f32],
    pub width: usize,
    /// Where each row lies; without them the rows are those of the matrix.
    pub ids: Option<&'a [u32]>,
}

impl<'a> Gathered<'a> {
    /// All rows of a matrix.
    pub fn all(matrix: &'a [f32], width: usize) -> Self {
        Self { matrix, width, ids: None }
    }

    pub fn len(&self) -> usize {
        self.ids.map_or_else(|| self.matrix.len() / self.width.max(1), <[u32]>::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        let place = self.ids.map_or(row, |ids| ids[row] as usize);
        &self.matrix[place * self.width..][..self.width]
    }

    /// The rows one after the other.
    pub fn to_vec(&self) -> Vec<f32> {
        (0..self.len()).flat_map(|row| self.row(row)).copied().collect()
    }
}

/// Summands of some rows, repetitions included.
#[derive(Clone, Copy)]
pub struct Summands<'a> {
    pub ids: &'a [u32],
    /// Row-major: one for each of the ids.
    pub values: &'a [f32],
}

/// The gradient with respect to the vectors of a step. Summands of one row are added in the order given.
#[derive(Clone, Copy)]
pub struct RowGradient<'a> {
    pub queries: Summands<'a>,
    pub items: &'a [Summands<'a>],
}
