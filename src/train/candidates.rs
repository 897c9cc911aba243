//! Which items are ranked for the users, and in which order those with equal scores go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sampled;
use crate::method::Mistake;

/// The rule by which items are chosen to be ranked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CandidateRule {
    /// The items of the target domain where the split has two domains, else all items.
    Auto {},
    /// All items of the training part, whatever their domain.
    All {},
    /// The items that occur in one of these parts of the split; port `catalogue` brings them.
    ItemsOf(Vec<SplitPart>),
    /// The items that a file lists.
    Only(ItemList),
    /// All items but those that a file lists.
    Except(ItemList),
    /// For each user his or her test items and sampled others, both among the items of `auto`; port `targets` brings the
    /// tests.
    Sampled(Sampled),
    /// For each user the items that a file lists, as far as they are among those of `auto`; port `targets` brings the keys
    /// of the users.
    PerUser(ItemList),
}

impl Default for CandidateRule {
    fn default() -> Self {
        Self::Auto {}
    }
}

impl CandidateRule {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<(), Mistake> {
        if let Self::Sampled(rule) = self {
            rule.check()?;
        }
        Mistake::unless(*self != Self::ItemsOf(Vec::new()), &["candidates", "items_of"], "is empty")
    }
}

/// A part of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitPart {
    Train,
    Valid,
    Iid,
    Ood,
}

impl SplitPart {
    pub const ALL: [Self; 4] = [Self::Train, Self::Valid, Self::Iid, Self::Ood];

    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Iid => "iid",
            Self::Ood => "ood",
        }
    }
}

/// A file with the key of an item, as the raw data have it, in each line; for `per_user` with the key of a user before it,
/// and a tab or, in files without tabs, blanks between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemList {
    /// A path (relative to the pipeline file), or an `http:`, `https:` or `file:` URL.
    pub source: String,
    /// `sha256:<hex>` or `blake3:<hex>` of the bytes; needed for URLs.
    #[serde(default)]
    pub digest: Option<String>,
}

/// The items that are ranked. Equal scores go by a hash of the items' keys: their order says nothing of how often or how
/// early an item occurs in the data, is the same in every split of them, and another one for every seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// In the order in which equal scores go.
    order: Vec<u32>,
    /// By item: its place in `order`.
    place: Vec<Option<u32>>,
}

impl Candidates {
    /// Of the items with these keys, in the order of their ids, those that `ranked` accepts.
    pub fn new<'a>(seed: u64, keys: impl IntoIterator<Item = &'a str>, ranked: impl Fn(u32) -> bool) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("cnsdiff-pipe 2026 order of equal scores");
        hasher.update(&seed.to_le_bytes());
        let hash = |key: &str| *hasher.clone().update(key.as_bytes()).finalize().as_bytes();
        let mut n_items = 0;
        let chosen = (0u32..).zip(keys).inspect(|_| n_items += 1).filter(|(item, _)| ranked(*item));
        let mut hashed: Vec<([u8; 32], u32)> = chosen.map(|(item, key)| (hash(key), item)).collect();
        hashed.sort_unstable();
        Self::in_order(hashed.into_iter().map(|(_, item)| item).collect(), n_items)
    }

    /// Of `n_items` items those that are named, in the order in which equal scores are to go.
    pub fn in_order(order: Vec<u32>, n_items: usize) -> Self {
        let mut place = vec![None; n_items];
        (0u32..).zip(&order).for_each(|(at, &item)| place[item as usize] = Some(at));
        Self { order, place }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The items in the order in which equal scores go.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// The place of an item in that order, if it is ranked.
    pub fn place(&self, item: u32) -> Option<usize> {
        self.place.get(item as usize).copied().flatten().map(|at| at as usize)
    }

    pub fn contains(&self, item: u32) -> bool {
        self.place(item).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_in_order(seed: u64, keys: &[&str]) -> Vec<String> {
        let candidates = Candidates::new(seed, keys.iter().copied(), |_| true);
        candidates.order().iter().map(|&item| keys[item as usize].to_owned()).collect()
    }

    /// The order of the keys is fixed: it decides results.
    #[test]
    fn ties_go_by_a_seeded_hash_of_the_key_whatever_the_ids() {
        let order = keys_in_order(1, &["a", "b", "c", "d", "e", "f"]);
        assert_eq!(order, keys_in_order(1, &["f", "d", "b", "e", "c", "a"]));
        assert_ne!(order, keys_in_order(2, &["a", "b", "c", "d", "e", "f"]));
        assert_eq!(order.concat(), "afcdbe");
    }

    #[test]
    fn only_ranked_items_have_a_place() {
        let candidates = Candidates::new(1, ["a", "b", "c", "d"], |item| item % 2 == 1);
        assert_eq!(candidates.len(), 2);
        assert!(
            !candidates.contains(0) && candidates.contains(1) && !candidates.contains(2) && !candidates.contains(9)
        );
        assert!(candidates.order().iter().enumerate().all(|(at, &item)| candidates.place(item) == Some(at)));
    }
}
