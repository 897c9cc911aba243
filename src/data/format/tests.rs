use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use serde_json::json;

use super::*;

type Owned = (String, String, Option<i64>, Option<f32>);

pub(super) fn read(format: serde_json::Value, bytes: impl AsRef<[u8]>) -> Result<(Vec<Owned>, Scan), FormatError> {
    let format: Format = serde_json::from_value(format).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    fs::write(&path, bytes).unwrap();
    let mut rows = Vec::new();
    let scan = format.read(&path, None, &mut |block| {
        let known = |all: usize| all == block.len();
        rows.extend((0..block.len()).map(|row| {
            let time = known(block.time.len()).then(|| block.time[row]);
            let weight = known(block.weight.len()).then(|| block.weight[row]);
            (block.users.key(block.user[row]).to_owned(), block.items.key(block.item[row]).to_owned(), time, weight)
        }));
        Ok(())
    })?;
    assert_eq!(rows.len() as u64, scan.rows);
    Ok((rows, scan))
}

pub(super) fn row(user: &str, item: &str, time: Option<i64>, weight: Option<f32>) -> Owned {
    (user.to_owned(), item.to_owned(), time, weight)
}

pub(super) fn malformed(scan: &Scan) -> Vec<(u64, &str, &str)> {
    scan.malformed.iter().map(|bad| (bad.line, &*bad.text, &*bad.reason)).collect()
}

fn ratings(extra: serde_json::Value) -> serde_json::Value {
    let mut delimited = json!({ "columns": { "user": "u", "item": "i", "time": "t", "weight": "w" } });
    for (key, value) in extra.as_object().unwrap() {
        delimited[key] = value.clone();
    }
    json!({ "delimited": delimited })
}

#[test]
fn selfrec_sets_malformed_lines_aside_as_at_the_head_of_the_public_yelp_file() {
    let (rows, scan) = read(json!("selfrec"), "0\n0 1\n0 1631 1\n\nann x-1 0.5\n7 8 nan\n7 8 one\n7 8 1 9\n").unwrap();
    assert_eq!(rows, [row("0", "1631", None, Some(1.0)), row("ann", "x-1", None, Some(0.5))]);
    assert_eq!(
        malformed(&scan),
        [
            (1, "0", "1 fields instead of 3"),
            (2, "0 1", "2 fields instead of 3"),
            (6, "7 8 nan", "the weight `nan` is not a finite number"),
            (7, "7 8 one", "the weight `one` is not a number"),
            (8, "7 8 1 9", "4 fields instead of 3"),
        ]
    );
}

#[test]
fn selfrec_takes_crlf_a_byte_order_mark_and_no_last_line_end() {
    let (rows, scan) = read(json!("selfrec"), "\u{feff}0 5 1\r\n1\t6  1").unwrap();
    assert_eq!(rows, [row("0", "5", None, Some(1.0)), row("1", "6", None, Some(1.0))]);
    assert!(scan.malformed.is_empty());
}

#[test]
fn selfrec_line_that_is_not_utf8_is_malformed_and_a_long_one_is_cut() {
    let mut bytes = b"0 5 1\n\xff 6 1\n".to_vec();
    bytes.extend("é".repeat(500).as_bytes());
    let (rows, scan) = read(json!("selfrec"), bytes).unwrap();
    assert_eq!(rows.len(), 1);
    assert!(scan.malformed[0].reason.starts_with("not UTF-8 text"), "{}", scan.malformed[0].reason);
    assert_eq!(scan.malformed[1].text.len(), TEXT_LIMIT);
}

#[test]
fn empty_files_hold_nothing() {
    for format in [json!("selfrec"), ratings(json!({}))] {
        assert_eq!(read(format, "\n\n").unwrap(), (Vec::new(), Scan::default()));
    }
}

#[test]
fn delimited_reads_named_columns_in_any_order_with_crlf_and_quotes() {
    let text = "\u{feff}w,u,title,t,i\r\n4.5,007,\"a, b\",881250949,x\r\n1,8,c,1.9,y\r\n";
    let (rows, scan) = read(ratings(json!({})), text).unwrap();
    assert_eq!(rows, [row("007", "x", Some(881_250_949), Some(4.5)), row("8", "y", Some(1), Some(1.0))]);
    assert!(scan.malformed.is_empty());
}

#[test]
fn delimited_tells_the_line_and_reason_of_what_does_not_fit() {
    let text = "# made by hand\nu;i;t;w\n1;2;3;NaN\n# more\n1;2;x;1\n\n1;;3;1\n1;2\n1;2;1500;1\n";
    let format = ratings(json!({ "separator": ";", "comment": "#", "time_unit": "milliseconds" }));
    let (rows, scan) = read(format, text).unwrap();
    assert_eq!(rows, [row("1", "2", Some(1), Some(1.0))]);
    assert_eq!(
        malformed(&scan),
        [
            (3, "1;2;3;NaN", "the weight `NaN` is not a finite number"),
            (5, "1;2;x;1", "the time `x` is not a number of seconds or milliseconds"),
            (7, "1;;3;1", "no item"),
            (8, "1;2", "no time"),
        ]
    );
}

#[test]
fn delimited_reads_numbered_columns_without_a_header() {
    let format = json!({ "delimited": { "separator": "\t", "header": false, "columns": { "user": 2, "item": 1 } } });
    let (rows, _) = read(format, "5\t0\n6\t1\n").unwrap();
    assert_eq!(rows, [row("0", "5", None, None), row("1", "6", None, None)]);
}

#[test]
fn a_missing_column_lists_those_there_are() {
    let error = read(ratings(json!({})), "user_id,item_id\n1,2\n").unwrap_err().to_string();
    assert!(error.ends_with("has no column `u`; it has: user_id, item_id"), "{error}");
    let format = json!({ "delimited": { "columns": { "user": 1, "item": 3 } } });
    let error = read(format, "user_id,item_id\n1,2\n").unwrap_err().to_string();
    assert!(error.ends_with("has no column `3`; it has: user_id, item_id"), "{error}");
}

#[test]
fn parquet_casts_keys_times_and_weights() {
    let columns: [(&str, ArrayRef); 4] = [
        ("user", Arc::new(Int64Array::from(vec![Some(10), Some(11), None]))),
        ("item", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![1500, 2500, 3500]))),
        ("ratio", Arc::new(Float64Array::from(vec![2.5, f64::NAN, 1.0]))),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let bytes = fs::read(&path).unwrap();

    let columns = json!({ "user": "user", "item": "item", "time": "at", "weight": "ratio" });
    let (rows, scan) = read(json!({ "parquet": { "columns": columns } }), &bytes).unwrap();
    assert_eq!(rows, [row("10", "a", Some(1), Some(2.5))]);
    assert_eq!(malformed(&scan), [(2, "", "the weight is not a finite number"), (3, "", "no user")]);

    let columns = json!({ "user": "user", "item": "video" });
    let error = read(json!({ "parquet": { "columns": columns } }), &bytes).unwrap_err().to_string();
    assert!(error.ends_with("has no column `video`; it has: user, item, at, ratio"), "{error}");
    let error =
        read(json!({ "parquet": { "columns": { "user": "user", "item": "item" } } }), "no parquet").unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}
