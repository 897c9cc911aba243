//! Files that are not as they should be: each works, or says what is wrong, where, and what to do.

use super::formats::one;
use super::*;
use crate::stages::split::{self, Split};

/// CSV with a header `user,item,rating,time`.
fn csv(text: impl AsRef<[u8]>, extra: Value) -> Result<Ran, StageError> {
    let columns = json!({ "user": "user", "item": "item", "weight": "rating", "time": "time" });
    let mut params = json!({ "format": { "delimited": { "columns": columns } } });
    extra.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    one(text.as_ref(), params)
}

/// The message and the help of a refusal.
fn refusal(outcome: Result<Ran, StageError>) -> String {
    let error = outcome.err().expect("a refusal");
    format!("{}; {}", error.message, error.help.unwrap_or_default())
}

#[test]
fn empty_files_and_lone_headers_are_told_from_rows() {
    let told = "`raw` holds no interaction: it is empty, or nothing follows its header; \
                check `source`, `member` and `format`";
    for text in ["", "\n\r\n", "user,item,rating,time\n", "user,item,rating,time"] {
        assert_eq!(refusal(csv(text, json!({}))), told, "{text:?}");
    }
    for (format, text) in [("selfrec", "\n"), ("adjacency", "1\n2\n"), ("yelp", " "), ("pickle", "")] {
        assert_eq!(refusal(one(text.as_bytes(), json!({ "format": format }))), told, "{format}");
    }
}

#[test]
fn missing_columns_list_those_there_are() {
    let told = refusal(csv("userId,movieId,rating\n1,2,3\n", json!({})));
    assert!(told.contains("has no column `user`; it has: userId, movieId, rating"), "{told}");
    let told = refusal(one(b"{\"user\": 1, \"stars\": 2}\n", json!({ "format": "yelp" })));
    assert!(told.contains("line 1: no `user_id`; the object has: stars, user"), "{told}");
    assert!(told.contains("check `format`"), "{told}");
}

#[test]
fn ids_beyond_any_integer_keep_their_digits() {
    let huge = "340282366920938463463374607431768211456";
    let ran =
        csv(format!("user,item,rating,time\n{huge},18446744073709551616,1,1\n{huge}0,007,1,1\n"), json!({})).unwrap();
    assert_eq!(ran.text("users", "key"), [huge.to_owned(), format!("{huge}0")]);
    assert_eq!(ran.text("items", "key"), ["18446744073709551616", "007"]);
}

#[test]
fn ratings_may_be_negative_and_must_be_finite() {
    let text = "user,item,rating,time\n1,2,-0.5,1\n1,3,1e3,2\n1,4,NaN,3\n1,5,inf,4\n1,6,1e39,5\n1,7,,6\n1,8,four,7\n";
    let ran = csv(text, json!({ "max_malformed": 0.9 })).unwrap();
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!(parts.rows.weight.unwrap(), [-0.5, 1000.0]);
    assert_eq!(
        ran.text("malformed", "reason"),
        [
            "the weight `NaN` is not a finite number",
            "the weight `inf` is not a finite number",
            "the weight `1e39` is not a finite number",
            "no weight",
            "the weight `four` is not a number",
        ]
    );
    let told = refusal(csv(text, json!({})));
    assert!(
        told.contains("5 of 7 lines hold no interaction") && told.contains("accept more by `max_malformed`"),
        "{told}"
    );
}

#[test]
fn times_in_mixed_units_are_refused() {
    let rows = |times: [&str; 2]| format!("user,item,rating,time\n1,2,1,{}\n1,3,1,{}\n", times[0], times[1]);
    let told = refusal(csv(rows(["1500000000", "1500000001000"]), json!({})));
    assert!(told.contains("its times mix seconds and milliseconds: 1500000000 and 1500000001000"), "{told}");
    let told = refusal(csv(rows(["1500000000000", "1500000001000"]), json!({})));
    assert!(told.contains("say `time_unit: milliseconds`"), "{told}");
    let told = refusal(csv(rows(["1500000000", "2017-07-14T02:40:00Z"]), json!({})));
    assert!(told.contains("line 3: the time `2017-07-14T02:40:00Z` is not a number"), "{told}");
    assert!(told.contains("`time_unit: iso` reads dates"), "{told}");
    // Of JSON lines too.
    let line = |time: u64| format!("{{\"u\": 1, \"i\": {time}, \"t\": {time}}}\n");
    let format = json!({ "json_lines": { "columns": { "user": "u", "item": "i", "time": "t" } } });
    let told =
        refusal(one([line(1_500_000_000), line(1_500_000_000_000)].concat().as_bytes(), json!({ "format": format })));
    assert!(told.contains("its times mix seconds and milliseconds"), "{told}");
}

#[test]
fn windows_line_ends_and_byte_order_marks_do_not_matter() {
    // All but the digests of the raw files.
    let data = |ran: &Ran| {
        let mut bytes = ran.bytes();
        bytes.remove("sources").unwrap();
        bytes
    };
    let plain = csv("user,item,rating,time\n1,2,1,1\n3,4,2,2\n", json!({})).unwrap();
    let windows = csv("\u{feff}user,item,rating,time\r\n1,2,1,1\r\n3,4,2,2\r\n", json!({})).unwrap();
    assert_eq!(data(&plain), data(&windows));
    let plain = one(b"0 1 2\n1 3\n", json!({ "format": "adjacency" })).unwrap();
    let windows = one("\u{feff}0 1 2\r\n1 3\r\n".as_bytes(), json!({ "format": "adjacency" })).unwrap();
    assert_eq!(data(&plain), data(&windows));
}

#[test]
fn latin_1_text_says_how_to_convert_it() {
    let told = refusal(csv(b"user,item,rating,time\nJos\xe9,2,1,1\n", json!({})));
    assert!(told.contains("line 2: not UTF-8 text (is it Latin-1? convert it: `iconv -f latin1 -t utf8`)"), "{told}");
    let told = refusal(csv(b"user,item,rating,a\xf1o\n1,2,1,1\n", json!({})));
    assert!(told.contains("line 1 is not UTF-8 text (is it Latin-1?"), "{told}");
    let told = refusal(one(b"user,item\n1,2\n".map(|byte| [byte, 0]).as_flattened(), json!({})));
    assert!(told.contains("lines hold no interaction") && told.contains("check `format`"), "UTF-16: {told}");
}

#[test]
fn a_line_of_ten_megabytes_is_read_and_one_without_end_is_refused() {
    let text = format!("user,item,rating,time\n1,{},1,1\n2,b,1,1\n", "a".repeat(10 << 20));
    let ran = csv(text, json!({})).unwrap();
    assert_eq!((ran.count("users"), ran.text("items", "key")[0].len()), (2, 10 << 20));
    let text = format!("user,item,rating,time\n1,{},1,1\n", "a".repeat(40 << 20));
    let told = refusal(csv(text, json!({})));
    assert!(told.contains("is longer than 16 MiB"), "{told}");
}

#[test]
fn steps_that_leave_nothing_tell_which_and_of_how_much() {
    let told = refusal(one(b"1 2 3\n1 3 4\n2 2 4\n", json!({ "steps": [{ "positive": { "min": 5 } }] })));
    assert!(told.contains("step 1 (`positive`: weight >= 5) leaves nothing of 3 rows, 2 users and 2 items"), "{told}");
    assert!(told.contains("relax it, or look at the steps before it"), "{told}");
    let told = refusal(one(b"1 2\n", json!({ "format": "adjacency", "steps": [{ "positive": { "min": 5 } }] })));
    assert!(told.contains("needs weights, and these rows have none"), "{told}");
}

#[test]
fn one_user_or_one_item_is_enough() {
    let scenario = json!({ "scenario": { "random": { "valid": 0.1, "iid": 0.2 } } });
    let split = |data: &Ran| run_kind::<Split>(split::run, scenario.clone(), Vec::new(), &[("data", data)]);
    let user: String = (0..10).map(|item| format!("ann {item} 1\n")).collect();
    let ran = split(&one(user.as_bytes(), json!({})).unwrap()).unwrap();
    let train = ran.read("train").num_rows();
    assert!(train > 0 && ran.text("users", "key") == ["ann"]);
    let item: String = (0..10).map(|user| format!("{user} x 1\n")).collect();
    let ran = split(&one(item.as_bytes(), json!({})).unwrap()).unwrap();
    // Each user has one row, which is for training.
    assert_eq!((ran.read("train").num_rows(), ran.text("items", "key").len()), (10, 1));
    let ran = split(&one(b"ann x 1\n", json!({})).unwrap()).unwrap();
    assert_eq!((ran.read("train").num_rows(), ran.read("test").num_rows()), (1, 0));
}

#[test]
fn a_temporal_split_of_data_without_times_says_where_times_come_from() {
    let data = one(b"1 2 1\n1 3 1\n2 2 1\n", json!({})).unwrap();
    let scenario = json!({ "scenario": { "temporal": { "early": 0.6, "ood": 0.2, "valid": 0.1, "iid": 0.2 } } });
    let told = refusal(run_kind::<Split>(split::run, scenario, Vec::new(), &[("data", &data)]));
    assert!(told.contains("needs the times of interactions") && told.contains("name the column of times"), "{told}");
}
