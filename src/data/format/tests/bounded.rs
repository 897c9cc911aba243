//! The bounded run of what `fuzz/` does without end: fixtures, changed at random.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::published::fixtures;
use crate::data::Format;
use crate::data::format::fuzz::{case, formats};
use crate::data::open::tests::{deflated, gzip, tar};
use crate::rng;

/// Cases in a run of the tests: a few seconds.
const CASES: u64 = 6000;

/// Longer cases are not made longer still by repetition.
const LARGE: usize = 1 << 14;

/// Pieces that mean something to one reader or another.
const PIECES: [&[u8]; 22] = [
    b"\n",
    b"\r\n",
    b"\"",
    b"\"\"",
    b",",
    b"\t",
    b"::",
    b"{",
    b"]",
    b"null",
    b"1e400",
    b"-1",
    b"NaN",
    b"18446744073709551616",
    b"2018-07-07 22:09:11",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"\x1f\x8b\x08",
    b"PK\x03\x04",
    b"\x28\xb5\x2f\xfd",
    b"PAR1",
];

#[test]
fn no_bytes_make_a_reader_panic_or_hold_more_than_the_file_can_give() {
    let (mut plain, mut packed) = (Vec::new(), Vec::new());
    let number = |of: &dyn Fn(&Format) -> bool| formats().iter().position(of).unwrap() as u8;
    for (format, file) in fixtures() {
        let number = number(&|own| *own == format);
        plain.push([&[number], file].concat());
        let zst = zstd::encode_all(file, 0).unwrap();
        let archives = [zst, deflated(&[("a", file)]), gzip(&tar(&[("a", file)]))];
        packed.extend(archives.into_iter().map(|file| [vec![number], file].concat()));
    }
    packed.push([vec![number(&|format| matches!(format, Format::Parquet(_)))], parquet()].concat());
    for seed in plain.iter().chain(&packed) {
        let outcome = case(seed).unwrap();
        assert!(outcome.rows > 0 && !outcome.refused, "{:?}: {outcome:?}", formats()[usize::from(seed[0])]);
    }
    let (mut refused, mut rows) = (0, 0);
    for index in 0..CASES {
        let mut draws = rng::stream(0, "fuzz", index);
        // Most changes of packed files only break their packing.
        let seeds = if draws.random_bool(0.8) { &plain } else { &packed };
        let mut bytes = seeds[draws.random_range(0..seeds.len())].clone();
        for _ in 0..draws.random_range(1..8) {
            change(&mut bytes, seeds, &mut draws);
        }
        let outcome = case(&bytes).unwrap();
        refused += u64::from(outcome.refused);
        rows += outcome.rows;
    }
    assert!(refused < CASES / 2 && rows > CASES, "the cases are too alike: {refused} refused, {rows} rows");
}

/// A Parquet file with the columns that its format in [`formats`] reads.
fn parquet() -> Vec<u8> {
    let columns: [(&str, ArrayRef); 4] = [
        ("reviewerID", Arc::new(StringArray::from(vec!["a", "b", "a"]))),
        ("asin", Arc::new(Int64Array::from(vec![1, 2, 2]))),
        ("unixReviewTime", Arc::new(Int64Array::from(vec![10, 20, 30]))),
        ("overall", Arc::new(Float64Array::from(vec![1.0, 2.5, 5.0]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], draws: &mut ChaCha8Rng) {
    let at = draws.random_range(0..=bytes.len());
    let end = draws.random_range(at..=bytes.len());
    match draws.random_range(0..7) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..at, PIECES[draws.random_range(0..PIECES.len())].iter().copied())),
        3 if bytes.len() < LARGE => {
            let again = bytes[at..end].repeat(draws.random_range(1..20));
            bytes.splice(at..at, again);
        }
        4 => {
            let other = &seeds[draws.random_range(0..seeds.len())];
            bytes.splice(at..end, other[draws.random_range(0..other.len())..].iter().copied());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << draws.random_range(0..8);
            }
        }
    }
}

#[test]
fn every_format_is_fuzzed_and_has_a_file() {
    let tag = |format: &Format| match serde_json::to_value(format).unwrap() {
        serde_json::Value::String(name) => name,
        other => other.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let schema = serde_json::to_value(schemars::schema_for!(Format)).unwrap();
    let mut known = BTreeSet::new();
    for variant in schema["oneOf"].as_array().unwrap() {
        let names = variant["enum"].as_array().into_iter().flatten().chain(variant.get("const"));
        known.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        known
            .extend(variant["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()));
    }
    assert_eq!(formats().iter().map(tag).collect::<BTreeSet<_>>(), known);
    // Parquet's file is made where it is tested: `parquet_casts_keys_times_and_weights`.
    known.remove("parquet");
    assert_eq!(fixtures().iter().map(|(format, _)| tag(format)).collect::<BTreeSet<_>>(), known);
}
