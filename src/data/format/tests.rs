mod bounded;
mod published;

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use proptest::prelude::*;
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
            (block.user.key(row).into_owned(), block.item.key(row).into_owned(), time, weight)
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
    let text = "# made by hand\nu;i;t;w\n1;2;3;NaN\n# more\n1;2;x;1\n\n1;;3;1\n1;2\n1;2;3;4;5\n1;2;1500;1\n";
    let format = ratings(json!({ "separator": ";", "comment": "#", "time_unit": "milliseconds" }));
    let (rows, scan) = read(format, text).unwrap();
    assert_eq!(rows, [row("1", "2", Some(1), Some(1.0))]);
    assert_eq!(
        malformed(&scan),
        [
            (3, "1;2;3;NaN", "the weight `NaN` is not a finite number"),
            (5, "1;2;x;1", "the time `x` is not a number of seconds or milliseconds"),
            (7, "1;;3;1", "no item"),
            (8, "1;2", "2 fields instead of 4"),
            (9, "1;2;3;4;5", "5 fields instead of 4"),
        ]
    );
}

#[test]
fn delimited_reads_numbered_columns_without_a_header() {
    let format = json!({ "delimited": { "separator": "\t", "header": false, "columns": { "user": 2, "item": 1 } } });
    let (rows, _) = read(format, "5\t0\n6\t1\n").unwrap();
    assert_eq!(rows, [row("0", "5", None, None), row("1", "6", None, None)]);
}

proptest! {
    #[test]
    fn lines_read_together_are_those_read_one_by_one(
        fields in prop::collection::vec(prop::sample::select(&["7", "é", "12345678901", "4.5", " 3 ", "", "x", ",", "\n", "\r\n", "#"][..]), 0..120),
        end in prop::sample::select(&["", "\n"][..]),
    ) {
        let text = format!("u,i,t,w\n1,2,3,4\n{}{end}", fields.join(","));
        let text = text.replace(",\n,", "\n").replace(",\r\n,", "\r\n");
        // Where there may be comments, lines are looked at one by one.
        let one_by_one = read(ratings(json!({ "comment": "no such comment" })), &text).unwrap();
        prop_assert_eq!(read(ratings(json!({})), &text).unwrap(), one_by_one);
    }
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
fn delimited_without_a_header_lists_the_columns_by_number() {
    let format = json!({ "delimited": { "header": false, "columns": { "user": "a", "item": 3 } } });
    let error = read(format, "1,2\n").unwrap_err().to_string();
    assert!(error.ends_with("has no column `a`; it has: 1, 2"), "{error}");
}

#[test]
fn separators_of_several_characters_as_in_movielens_1m() {
    let columns = json!({ "user": 1, "item": 2, "weight": 3, "time": 4 });
    let format = json!({ "delimited": { "separator": "::", "header": false, "columns": columns } });
    let (rows, scan) = read(format, "1::1193::5::978300760\r\n1::661::3::978302109\r\n1:661:3:978302109\n").unwrap();
    assert_eq!(rows[0], row("1", "1193", Some(978_300_760), Some(5.0)));
    assert_eq!(malformed(&scan), [(3, "1:661:3:978302109", "1 fields instead of 4")]);
}

#[test]
fn quoted_fields_hold_separators_quotes_and_line_ends_as_in_food_com() {
    let text = "u,i,review\n1,2,\"well, \"\"good\"\"\r\n\n\"\n3,4,plain\n5,\"6\n6\",\"x\"\n7,8,a \"b\" c\n9,9\n8,7,\"open\n1,1,1\n";
    let format = json!({ "delimited": { "columns": { "user": "u", "item": "i" } } });
    let (rows, scan) = read(format, text).unwrap();
    let pairs: Vec<(&str, &str)> = rows.iter().map(|row| (&*row.0, &*row.1)).collect();
    assert_eq!(pairs, [("1", "2"), ("3", "4"), ("5", "6\n6"), ("7", "8")]);
    assert_eq!(malformed(&scan)[0], (9, "9,9", "2 fields instead of 3"));
    assert_eq!(
        malformed(&scan)[1],
        (
            10,
            "8,7,\"open\n1,1,1\n",
            "a quote is not closed; if quotes are ordinary characters there, say `quoted: false`"
        )
    );
    let format = json!({ "delimited": { "quoted": false, "columns": { "user": "u", "item": "i" } } });
    let (rows, _) = read(format, "u,i\n\"1,2\n").unwrap();
    assert_eq!(rows, [row("\"1", "2", None, None)]);
}

#[test]
fn blocks_keep_the_order_of_rows_and_the_numbers_of_lines() {
    // Some 20 MB: several blocks, with quotes in some only.
    let count = 1_200_000;
    let line = |n: usize| match n {
        700_000 => "broken\n".to_owned(),
        n if n % 100_000 == 7 => format!("{n},\"a\nb\",1\n"),
        n => format!("{n},i{},1\n", n % 1000),
    };
    let text: String = (0..count).map(line).collect();
    let format: Format = serde_json::from_value(json!({
        "delimited": { "header": false, "columns": { "user": 1, "item": 2 } }
    }))
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    fs::write(&path, text).unwrap();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut next = 0;
        let scan = pool.install(|| {
            format.read(&path, None, &mut |block| {
                for row in 0..block.len() {
                    next += usize::from(next == 700_000);
                    assert_eq!(block.user.key(row), next.to_string());
                    next += 1;
                }
                Ok(())
            })
        });
        let scan = scan.unwrap();
        assert_eq!((next, scan.rows), (count, count as u64 - 1));
        // Seven rows before it take two lines.
        assert_eq!(malformed(&scan), [(700_008, "broken", "1 fields instead of 3")]);
    }
}

#[test]
fn text_in_latin_1_is_malformed_and_says_what_to_do() {
    let format = json!({ "delimited": { "columns": { "user": "u", "item": "i" } } });
    let (rows, scan) = read(format.clone(), b"u,i\n1,2\ncaf\xe9,3\n4,5\n").unwrap();
    assert_eq!(rows.len(), 2);
    assert!(scan.malformed[0].reason.contains("iconv -f latin1"), "{}", scan.malformed[0].reason);
    assert_eq!(scan.malformed[0].line, 3);
    let error = read(format, b"u,i,caf\xe9\n1,2,3\n").unwrap_err().to_string();
    assert!(error.contains("line 1 is not UTF-8 text"), "{error}");
}

#[test]
fn a_long_line_is_read_and_an_endless_one_refused() {
    let long = format!("{} 1 1\n2 2 2\n", "u".repeat(10 << 20));
    assert_eq!(read(json!("selfrec"), long).unwrap().1.rows, 2);
    let error = read(json!("selfrec"), "u".repeat(40 << 20)).unwrap_err().to_string();
    assert!(error.contains("is longer than 16 MiB"), "{error}");
    let open = format!("u,i,t,w\n\"{}", "1,2,3,4\n".repeat(5 << 20));
    let error = read(ratings(json!({})), open).unwrap_err().to_string();
    assert!(error.contains("say `quoted: false`"), "{error}");
}

#[test]
fn times_in_iso_and_times_in_mixed_units() {
    let (rows, _) = read(ratings(json!({ "time_unit": "iso" })), "u,i,t,w\n1,2,2018-01-31,1\n").unwrap();
    assert_eq!(rows[0].2, Some(1_517_356_800));
    let error = read(ratings(json!({})), "u,i,t,w\n1,2,1517356800,1\n1,3,1517356800000,1\n").unwrap_err().to_string();
    assert!(error.contains("mix seconds and milliseconds: 1517356800 and 1517356800000"), "{error}");
}

#[test]
fn of_many_malformed_lines_some_are_kept_and_all_counted() {
    let (_, scan) = read(json!("selfrec"), "x\n".repeat(KEPT + 5)).unwrap();
    assert_eq!((scan.malformed.len(), scan.malformed_lines), (KEPT, KEPT as u64 + 5));
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

#[test]
fn short_decimals_are_what_the_parser_makes_of_them() {
    let digits = |number: u32, places: usize| {
        let text = format!("{number:07}");
        let (whole, fraction) = text.split_at(text.len() - places);
        if places == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
    };
    for number in (0..9_999_999).step_by(7_919).chain([9_999_999]) {
        for places in 0..=7 {
            let text = digits(number, places);
            assert_eq!(short_decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
    for (text, value) in [("4", Some(4.0)), ("3.5", Some(3.5)), ("5.", Some(5.0)), (".25", Some(0.25))] {
        assert_eq!(short_decimal(text.as_bytes()), value);
    }
    assert!(
        ["", ".", "-1", "1e3", "1.2.3", "12345678", "nan"].iter().all(|text| short_decimal(text.as_bytes()).is_none())
    );
}

fn parquet_file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn parquet_keeps_integers_whole_or_says_which_do_not_fit() {
    let keys = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..3)) };
    let weighted = |weights: ArrayRef| {
        let format = json!({ "parquet": { "columns": { "user": "u", "item": "i", "weight": "w" } } });
        let (rows, scan) = read(format, parquet_file(vec![("u", keys()), ("i", keys()), ("w", weights)])).unwrap();
        let weights: Vec<f32> = rows.iter().filter_map(|row| row.3).collect();
        (weights, scan.malformed.iter().map(|bad| bad.reason.contains("does not hold exactly")).collect::<Vec<_>>())
    };
    let first = (vec![16_777_216.0], vec![true, true]);
    assert_eq!(weighted(Arc::new(Int64Array::from(vec![16_777_216, 16_777_217, i64::MAX]))), first);
    assert_eq!(weighted(Arc::new(Float64Array::from(vec![16_777_216.0, 16_777_217.0, 1e15 + 1.0]))), first);
    assert_eq!(weighted(Arc::new(Float64Array::from(vec![0.1, 2.5, -3.0]))), (vec![0.1, 2.5, -3.0], vec![]));
}

#[test]
fn parquet_times_are_of_their_unit() {
    let keys = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..2)) };
    let times = |unit: &str| {
        let format = json!({ "parquet": { "columns": { "user": "u", "item": "i", "time": "t" }, "time_unit": unit } });
        let times = Int64Array::from(vec![1_588_615_855_070, 1_588_615_856_000]);
        read(format, parquet_file(vec![("u", keys()), ("i", keys()), ("t", Arc::new(times))]))
    };
    let told = times("seconds").unwrap_err().to_string();
    assert!(told.contains("look like milliseconds") && told.contains("time_unit: milliseconds"), "{told}");
    let (rows, _) = times("milliseconds").unwrap();
    assert_eq!(rows.iter().map(|row| row.2.unwrap()).collect::<Vec<_>>(), [1_588_615_855, 1_588_615_856]);
}

#[test]
fn damaged_parquet_files_are_errors_also_where_the_decoder_panics() {
    let read = |bytes: &[u8], columns: serde_json::Value| {
        read(json!({ "parquet": { "columns": columns } }), bytes).map(|(rows, _)| rows.len())
    };
    // Some bytes of its footer were changed.
    let damaged = include_bytes!("fixtures/damaged_footer.parquet");
    let told = read(damaged, json!({ "user": "user", "item": "item", "time": "time" })).unwrap_err().to_string();
    assert!(told.contains("the file is damaged"), "{told}");
    let keys = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..200)) };
    let sound = parquet_file(vec![("u", keys()), ("i", keys())]);
    let columns = json!({ "user": "u", "item": "i" });
    assert_eq!(read(&sound, columns.clone()).unwrap(), 200);
    for end in (0..sound.len()).step_by(50) {
        assert!(read(&sound[..end], columns.clone()).is_err(), "cut at {end}");
    }
}
