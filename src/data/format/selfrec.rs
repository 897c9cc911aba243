//! The text of SELFRec and its descendants: lines `user item weight`. Keys are arbitrary strings.
//!
//! Their own loader stops at a line with fewer than three fields (the public Yelp2018 file begins with two of
//! them); here such lines are set aside. Runs of spaces and tabs are accepted.

use super::lines::LineFormat;
use super::{Row, weight};

pub struct Selfrec;

impl LineFormat for Selfrec {
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String> {
        let mut fields = line.split_ascii_whitespace();
        let (Some(user), Some(item), Some(field), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("{} fields instead of 3", line.split_ascii_whitespace().count()));
        };
        emit(Row { user, item, time: None, weight: Some(weight(field)?) });
        Ok(())
    }
}
