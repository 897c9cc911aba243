//! The text of SELFRec and its descendants: lines `user item weight`. Keys are arbitrary strings.
//!
//! Their own loader stops at a line with fewer than three fields (the public Yelp2018 file begins with two of
//! them); here such lines are set aside. Runs of spaces and tabs, a byte order mark and CRLF are accepted.

use std::fs;
use std::path::Path;

use super::{FormatError, Malformed, Row, Scan, Sink, cut, weight};

pub fn read(path: &Path, sink: Sink) -> Result<Scan, FormatError> {
    let bytes = fs::read(path).map_err(|error| FormatError::read(path, error))?;
    parse(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes), sink)
}

fn parse(bytes: &[u8], sink: Sink) -> Result<Scan, FormatError> {
    let mut scan = Scan::default();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let row = str::from_utf8(line).map_err(|_| "not UTF-8 text".to_owned()).and_then(row);
        match row {
            Ok(row) => {
                sink(row)?;
                scan.rows += 1;
            }
            Err(reason) => scan.malformed.push(Malformed {
                line: index as u64 + 1,
                text: cut(&String::from_utf8_lossy(line)),
                reason,
            }),
        }
    }
    Ok(scan)
}

fn row(line: &str) -> Result<Row<'_>, String> {
    let mut fields = line.split_ascii_whitespace();
    let (Some(user), Some(item), Some(field), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(format!("{} fields instead of 3", line.split_ascii_whitespace().count()));
    };
    Ok(Row { user, item, time: None, weight: Some(weight(field)?) })
}
