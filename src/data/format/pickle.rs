//! Python pickles of a dict from users to the sequence of their items, as RealHNS ships them. The machine that decodes
//! them handles plain values only and never executes code.

mod machine;

use std::io::Read;
use std::path::Path;

use self::machine::{Heap, Value, load};
use super::{BlockWriter, FormatError, Malformed, Row, RowSink, Scan, cut};

/// Pickles are decoded in memory, where a byte may become a value of some 60: 64 MiB, or about 20 million items.
/// RealHNS's are below 1 MB.
const MAX_BYTES: u64 = 64 << 20;

const IDS: &str = "ids are ints, or strs that are not empty";

/// Passes `user, item` on in the order of the file. `time` is the position in the user's sequence, from 0: an order
/// within the user, and no clock.
pub fn read(path: &Path, stream: impl Read, sink: RowSink) -> Result<Scan, FormatError> {
    let mut bytes = Vec::new();
    stream.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| FormatError::read(path, error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("a pickle of more than {} MiB: save it as CSV or Parquet", MAX_BYTES >> 20);
        return Err(FormatError::read(path, reason));
    }
    if bytes.is_empty() {
        return Ok(Scan::default());
    }
    let (value, heap) = load(&bytes).map_err(|error| FormatError::read(path, error))?;
    let Value::Dict(dict) = value else {
        let reason = format!("the pickle holds {}, and not a dict of users to lists of items", value.kind());
        return Err(FormatError::read(path, reason));
    };
    let mut scan = Scan::default();
    let mut rows = BlockWriter::new(sink);
    let mut spent = 0;
    let (mut user, mut item) = (String::new(), String::new());
    for (&(key, items), entry) in heap.dicts[dict].iter().zip(1..) {
        let mut bad = |text: &str, reason: String| {
            scan.reject(Malformed { line: entry, text: cut(text), reason });
        };
        if let Err(kind) = heap.spell(key, &mut user) {
            bad("", format!("the user is {kind}; {IDS}"));
            continue;
        }
        let Value::List(list) = items else {
            bad(&user, format!("the user has {}, and not a list of items", items.kind()));
            continue;
        };
        for (&value, time) in heap.lists[list].iter().zip(0..) {
            // A list that many users share would give rows without bounds.
            spent += 1;
            if spent > bytes.len() {
                return Err(FormatError::read(path, "the pickle repeats its lists until rows outnumber its bytes"));
            }
            if let Err(kind) = heap.spell(value, &mut item) {
                bad(&user, format!("item {time} is {kind}; {IDS}"));
                continue;
            }
            rows.push(Row { user: &user, item: &item, time: Some(time), weight: None })?;
        }
    }
    scan.rows = rows.finish()?;
    Ok(scan)
}

impl Heap {
    /// Writes a key; says what the value is if it is none.
    fn spell(&self, value: Value, key: &mut String) -> Result<(), &'static str> {
        key.clear();
        match value {
            Value::Int(number) => key.push_str(&number.to_string()),
            Value::Text(text) => key.push_str(&self.texts[text]),
            other => return Err(other.kind()),
        }
        if key.is_empty() { Err("an empty str") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
