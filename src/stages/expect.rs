//! Counts that an author expects of data or of a split, and the error when they differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::stage::StageError;

/// Counts that are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub users: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub items: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub rows: Option<u64>,
}

impl Expect {
    /// `found` are users, items and rows.
    ///
    /// # Errors
    /// What there is, and what was expected.
    pub fn check(&self, whose: &str, found: [usize; 3]) -> Result<(), String> {
        let wanted = [("users", self.users), ("items", self.items), ("rows", self.rows)].into_iter().zip(found);
        let wrong = |((what, wanted), found): ((&str, Option<u64>), usize)| {
            let wanted = wanted.filter(|&wanted| wanted != found as u64)?;
            Some(format!("{found} {what} where `expect` says {wanted}"))
        };
        let wrong: Vec<String> = wanted.filter_map(wrong).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{whose}: {}", wrong.join(", "))) }
    }
}

/// The end of a stage whose counts are not those expected.
pub fn failure(differences: String) -> StageError {
    StageError::new(differences)
        .with_help("find out which numbers are right: another file, filter or rule may be at work")
}

/// A count as people read it: `238,516`.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_not_as_stated_are_named_with_both_numbers() {
        let expect = Expect { users: Some(3), items: Some(5), rows: None };
        assert_eq!(expect.check("the data", [3, 5, 17]), Ok(()));
        let told = "the data: 4 users where `expect` says 3, 6 items where `expect` says 5";
        assert_eq!(expect.check("the data", [4, 6, 17]), Err(told.to_owned()));
        assert_eq!(Expect::default().check("the data", [0, 0, 0]), Ok(()));
    }

    #[test]
    fn long_counts_are_grouped() {
        assert_eq!([0, 999, 1000, 238_516, 1_000_000].map(grouped), ["0", "999", "1,000", "238,516", "1,000,000"]);
    }
}
