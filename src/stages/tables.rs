//! Columns that the tables of several kinds share.

use crate::spec::Column;

const USER: Column = Column { name: "user", dtype: "u32", doc: "Dense id of the user." };
const ITEM: Column = Column { name: "item", dtype: "u32", doc: "Dense id of the item." };
const TIME: Column = Column { name: "time", dtype: "i64?", doc: "Seconds since 1970, where known." };
const WEIGHT: Column = Column { name: "weight", dtype: "f32?", doc: "Rating, watch ratio or count, where known." };

/// Interactions.
pub const INTERACTIONS: &[Column] = &[USER, ITEM, TIME, WEIGHT];

/// Interactions in named parts.
pub const INTERACTIONS_BY_PART: &[Column] =
    &[USER, ITEM, TIME, WEIGHT, Column { name: "part", dtype: "utf8", doc: "Part of the data." }];

/// Interactions of the test sets.
pub const INTERACTIONS_BY_SET: &[Column] =
    &[USER, ITEM, TIME, WEIGHT, Column { name: "set", dtype: "utf8", doc: "`iid` or `ood`." }];

/// An id map.
pub const KEYS: &[Column] = &[
    Column { name: "id", dtype: "u32", doc: "Dense id, from 0." },
    Column { name: "key", dtype: "utf8", doc: "The key in the raw data." },
];

/// Named counts.
pub const COUNTS: &[Column] = &[
    Column { name: "name", dtype: "utf8", doc: "What is counted." },
    Column { name: "value", dtype: "i64", doc: "The count." },
];
