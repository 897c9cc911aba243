//! Adjacency lists, as LightGCN and its descendants ship them: lines `user item item ...`, one user per line.
//!
//! Users without items are allowed (the public Gowalla and Amazon-Book test files have some) and give no rows.

use super::Row;
use super::lines::LineFormat;

pub struct Adjacency;

impl LineFormat for Adjacency {
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String> {
        let mut fields = line.split_ascii_whitespace();
        let user = fields.next().unwrap_or_default();
        fields.for_each(|item| emit(Row { user, item, time: None, weight: None }));
        Ok(())
    }
}
