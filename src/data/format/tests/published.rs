//! One file of each published kind, made up, but written as the real one is byte for byte.

use super::*;
use crate::data::format::presets;

/// Formats and files of them.
pub fn fixtures() -> Vec<(Format, &'static [u8])> {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../fixtures/", $name)).as_slice()
        };
    }
    vec![
        (Format::Selfrec, file!("selfrec.txt")),
        (Format::Adjacency, file!("adjacency.txt")),
        (Format::Delimited(presets::food_com()), file!("RAW_interactions.csv")),
        (Format::JsonLines(presets::amazon_reviews_2018()), file!("reviews_2018.json")),
        (Format::Recbole(Recbole::default()), file!("recbole.inter")),
        (Format::Pickle, file!("realhns.pkl")),
        (Format::Movielens100k, file!("u.data")),
        (Format::MovielensDat, file!("ratings.dat")),
        (Format::MovielensCsv, file!("ratings.csv")),
        (Format::KuairecBig, file!("big_matrix.csv")),
        (Format::KuairecSmall, file!("small_matrix.csv")),
        (Format::FoodCom, file!("RAW_interactions.csv")),
        (Format::Yelp, file!("yelp_review.json")),
        (Format::AmazonRatings2014, file!("ratings_2014.csv")),
        (Format::AmazonRatings2018, file!("ratings_2018.csv")),
        (Format::AmazonReviews2018, file!("reviews_2018.json")),
        (Format::AmazonReviews2023, file!("reviews_2023.jsonl")),
    ]
}

/// The rows of the fixture of a format that is named by a word.
fn published(name: &str) -> Vec<Owned> {
    let format: Format = serde_json::from_value(json!(name)).unwrap();
    let (_, file) = fixtures().into_iter().find(|(own, _)| *own == format).unwrap();
    let (rows, scan) = read(json!(name), file).unwrap();
    assert_eq!(malformed(&scan), []);
    rows
}

#[test]
fn lightgcn_lists_give_a_row_per_item_and_users_may_have_none() {
    let rows = published("adjacency");
    let pairs: Vec<(&str, &str)> = rows.iter().map(|(user, item, ..)| (&**user, &**item)).collect();
    assert_eq!(pairs, [("0", "0"), ("0", "1"), ("0", "2"), ("1", "3"), ("3", "1"), ("3", "0")]);
    assert!(rows.iter().all(|(.., time, weight)| time.is_none() && weight.is_none()));
}

#[test]
fn movielens_is_read_in_its_three_spellings() {
    for name in ["movielens_100k", "movielens_dat"] {
        let first = published(name).remove(0);
        let expected = match name {
            "movielens_100k" => row("12", "340", Some(880_000_001), Some(4.0)),
            _ => row("1", "3001", Some(970_000_001), Some(5.0)),
        };
        assert_eq!(first, expected);
    }
    assert_eq!(
        published("movielens_csv"),
        [
            row("1", "12", Some(1_110_000_001), Some(3.5)),
            row("1", "71001", Some(1_110_000_002), Some(0.5)),
            row("130001", "12", Some(1_250_000_003), Some(5.0)),
        ]
    );
}

#[test]
fn kuairec_weighs_by_watch_ratio_keeps_repeats_and_cuts_fractions_of_seconds() {
    assert_eq!(
        published("kuairec_big"),
        [
            row("0", "3001", Some(1_593_879_000), Some(1.5)),
            row("0", "3002", Some(1_593_879_015), Some(0.25)),
            row("0", "3001", Some(1_593_964_800), Some(2.4)),
        ]
    );
    assert_eq!(published("kuairec_small"), [row("14", "101", None, Some(0.5)), row("14", "102", None, Some(2.2))]);
    // With times, the small matrix loses the rows that have none, and says so.
    let (rows, scan) = read(json!("kuairec_big"), include_bytes!("../fixtures/small_matrix.csv")).unwrap();
    assert_eq!((rows.len(), malformed(&scan)[0].2), (1, "no time"));
}

#[test]
fn food_com_reviews_may_hold_quotes_line_ends_and_what_looks_like_rows() {
    let day = 86_400;
    assert_eq!(
        published("food_com"),
        [
            row("30001", "40001", Some(12_100 * day), Some(4.0)),
            row("1200001", "40001", Some(15_329 * day), Some(5.0)),
            row("30001", "44001", Some(12_022 * day), Some(0.0)),
            row("126001", "85001", Some(14_667 * day), Some(5.0)),
        ]
    );
}

#[test]
fn yelp_reviews_are_json_lines_with_dates() {
    let [user, business] = ["u_aaaaaaaaaaaaaaaaaa-1", "b-bbbbbbbbbbbbbbbbbb_1"];
    let rows = published("yelp");
    assert_eq!(rows[0], row(user, business, Some(1_531_001_351), Some(3.0)));
    assert_eq!(rows[1].2, Some(1_325_604_498));
}

#[test]
fn amazon_ratings_and_reviews_are_read_in_the_columns_of_their_years() {
    let rows = [
        ("amazon_ratings_2014", row("A1AAAAAAAAAAAA", "0205000001", Some(1_369_699_200), Some(5.0))),
        ("amazon_ratings_2018", row("A1AAAAAAAAAAAA", "0143000001", Some(1_424_304_000), Some(1.0))),
        ("amazon_reviews_2018", row("A1AAAAAAAAAAAA", "B000000001", Some(1_441_324_800), Some(5.0))),
        ("amazon_reviews_2023", row("AEAAAAAAAAAAAAAAAAAAAAAAAAAA", "B0PARENT01", Some(1_634_275_259), Some(4.0))),
    ];
    for (name, first) in rows {
        let read = published(name);
        assert_eq!((read.len(), &read[0]), (2, &first), "{name}");
    }
}

fn recbole(columns: serde_json::Value, text: &str) -> Result<(Vec<Owned>, Scan), String> {
    read(json!({ "recbole": columns }), text).map_err(|error| error.to_string())
}

#[test]
fn recbole_columns_are_found_by_name_and_held_to_their_types() {
    let text = str::from_utf8(include_bytes!("../fixtures/recbole.inter")).unwrap();
    let (rows, scan) = recbole(json!({}), text).unwrap();
    assert_eq!(rows[1], row("7", "341", Some(880_000_002), Some(2.5)));
    assert_eq!((rows.len(), scan.malformed_lines), (3, 0));
    // Without ratings and times, and a quote that is a character like any other.
    let (rows, _) = recbole(json!({}), "item_id:token\tuser_id:token\n\"a\t1\n").unwrap();
    assert_eq!(rows, [row("1", "\"a", None, None)]);
    let renamed = json!({ "user": "uid", "item": "iid", "weight": "ratio", "time": "at" });
    let (rows, _) = recbole(renamed.clone(), "at:float\tuid:token\tiid:token\tratio:float\n9.5\t1\t2\t0.5\n").unwrap();
    assert_eq!(rows, [row("1", "2", Some(9), Some(0.5))]);
    let told = recbole(renamed, text).unwrap_err();
    assert!(told.ends_with("has no column `uid`; it has: user_id, item_id, rating, timestamp"), "{told}");
    let sessions = str::from_utf8(include_bytes!("../fixtures/sessions.inter")).unwrap();
    let columns = json!({ "user": "session_id", "item": "item_id_list" });
    let told = recbole(columns, sessions).unwrap_err();
    assert!(told.ends_with("`item_id_list` is of type token_seq, and must be of type token"), "{told}");
    let told = recbole(json!({}), "user_id:token\titem_id:int\n1\t2\n").unwrap_err();
    let types = "must be `name:type`, of type token, token_seq, float, float_seq";
    assert!(told.ends_with(&format!("the header's column `item_id:int` {types}")), "{told}");
    assert_eq!(recbole(json!({}), "\n").unwrap().1, Scan::default());
}

#[test]
fn json_lines_take_dotted_paths_and_keep_all_digits_of_ids() {
    let columns = json!({ "user": "user.id", "item": "a.b", "time": "at", "weight": "w" });
    let lines = [
        r#"{ "user": { "id": 18446744073709551615 }, "a.b": "x", "at": 1.9, "w": "2.5" }"#,
        r#"{ "user": { "id": -9223372036854775808 }, "a": { "b": " é " }, "at": "7", "w": 1 }"#,
        r#"{ "user": { "id": 18446744073709551616 }, "a.b": "x", "at": 1, "w": 1 }"#,
        r#"{ "user": { "id": null }, "a.b": "x", "at": 1, "w": 1 }"#,
        r#"{ "user": { "id": [1] }, "a.b": "x", "at": 1, "w": 1 }"#,
        r#"{ "user": { "id": 1 }, "at": 1, "w": 1 }"#,
        r#"{ "user": { "id": 1 }, "a.b": "x", "at": null, "w": 1 }"#,
        r#"{ "user": { "id": 1 }, "a.b": "x", "at": 1, "w": true }"#,
        "[1]",
        "{",
    ];
    let format = json!({ "json_lines": { "columns": columns } });
    let (rows, scan) = read(format.clone(), lines.join("\n")).unwrap();
    assert_eq!(
        rows,
        [row("18446744073709551615", "x", Some(1), Some(2.5)), row("-9223372036854775808", "é", Some(7), Some(1.0)),]
    );
    let reasons: Vec<&str> = malformed(&scan).into_iter().map(|(_, _, reason)| reason).collect();
    assert_eq!(
        reasons,
        [
            "the user `1.8446744073709552e19` is no integer of 64 bits; ids are such integers or text",
            "no user",
            "the user is neither text nor an integer",
            "no `a.b`; the object has: at, user, w",
            "the time is neither a number nor text",
            "the weight is no number",
            "a JSON value that is no object",
            "no JSON object: EOF while parsing an object at line 1 column 1",
        ]
    );
    // Nesting without end is passed over, not followed.
    let (_, scan) = read(format.clone(), "[".repeat(100_000)).unwrap();
    assert!(scan.malformed[0].reason.contains("EOF while parsing"), "{}", scan.malformed[0].reason);
    let deep = format!(
        "{{ \"x\": {}{}, \"user\": {{ \"id\": 1 }}, \"a.b\": 2, \"at\": 3, \"w\": 4 }}",
        "[".repeat(9999),
        "]".repeat(9999)
    );
    assert_eq!(read(format, deep).unwrap().0, [row("1", "2", Some(3), Some(4.0))]);
}
