//! No datum is changed, dropped or dated wrongly without a word: each case says which, in the words that a user reads.

use super::formats::one;
use super::*;

/// Text with columns by number: user, item, and what `extra` adds.
fn numbered(text: &str, columns: Value, format: Value, extra: Value) -> Result<Ran, StageError> {
    let mut delimited = json!({ "columns": { "user": 1, "item": 2 } });
    columns.as_object().unwrap().iter().for_each(|(key, value)| delimited["columns"][key] = value.clone());
    format.as_object().unwrap().iter().for_each(|(key, value)| delimited[key] = value.clone());
    let mut params = json!({ "format": { "delimited": delimited } });
    extra.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    one(text.as_bytes(), params)
}

fn refusal(outcome: Result<Ran, StageError>) -> String {
    let error = outcome.err().expect("a refusal");
    format!("{}; {}", error.message, error.help.unwrap_or_default())
}

#[test]
fn a_file_without_header_is_refused_where_one_is_expected() {
    for (text, columns) in [
        ("u1,i1,5,881250949\nu2,i2,4,881250950\n", json!({ "weight": 3, "time": 4 })),
        ("u1,i1,,881250949\nu2,i2,4,881250950\n", json!({ "weight": 3, "time": 4 })),
        ("\"u1\",\"i1\",\"5\"\nu2,i2,4\n", json!({ "weight": 3 })),
        ("196,242\n186,302\n", json!({})),
    ] {
        let told = refusal(numbered(text, columns.clone(), json!({}), json!({})));
        assert!(
            told.contains("which `header: true` takes for names, holds data") && told.contains("`header: false`"),
            "{told}"
        );
        let rows = numbered(text, columns, json!({ "header": false }), json!({ "max_malformed": 0.5 })).unwrap();
        assert!(rows.read("interactions").num_rows() + rows.read("malformed").num_rows() == 2, "{text}");
    }
}

#[test]
fn a_header_where_none_is_expected_is_malformed_and_its_advice_told() {
    let rows = "1,2,5\n3,4,5\n";
    for (header, columns) in [("user,item,rating\n", json!({ "weight": 3 })), ("user,item,rating\n", json!({}))] {
        let text = format!("{header}{rows}");
        let ran =
            numbered(&text, columns.clone(), json!({ "header": false }), json!({ "max_malformed": 0.5 })).unwrap();
        assert_eq!(ran.text("malformed", "reason"), ["it names the columns, as it seems: say `header: true`"]);
        assert_eq!(ran.text("users", "key"), ["1", "3"]);
        let told = refusal(numbered(&text, columns.clone(), json!({ "header": false }), json!({})));
        assert!(told.contains("line 1: it names the columns"), "{told}");
        let ran = numbered(&text, columns, json!({}), json!({})).unwrap();
        assert_eq!((ran.text("users", "key"), ran.warnings), (vec!["1".to_owned(), "3".to_owned()], Vec::new()));
    }
}

#[test]
fn a_first_line_of_which_nothing_tells_whether_it_is_a_header_is_named_in_a_warning() {
    let ran = numbered("ann,x\nbob,y\n", json!({}), json!({}), json!({})).unwrap();
    assert_eq!(ran.text("users", "key"), ["bob"]);
    assert!(ran.warnings[0].contains("the first line is taken for names of columns: `ann,x`"), "{:?}", ran.warnings);
    assert_eq!(ran.text("warnings", "text"), ran.warnings);
    let ran = numbered("ann,x\nbob,y\n", json!({}), json!({ "header": false }), json!({})).unwrap();
    assert_eq!((ran.text("users", "key").len(), ran.warnings.len()), (2, 0));
}

#[test]
fn quotes_stay_as_they_stand_or_make_a_line_malformed() {
    let text = "a\tthe \"weird\" al\t29\nb\t\"weird al\" yankovic\t29\nc\t\"weird al\"\t29\nd\t5\" floppy\t1\n";
    let tabs = json!({ "separator": "\t", "header": false });
    let ran = numbered(text, json!({ "weight": 3 }), tabs, json!({ "max_malformed": 0.5 })).unwrap();
    assert_eq!(ran.text("items", "key"), ["the \"weird\" al", "weird al", "5\" floppy"]);
    let reason = "text follows a closing quote; if quotes are ordinary characters there, say `quoted: false`";
    assert_eq!(ran.text("malformed", "reason"), [reason]);
    let plain = json!({ "separator": "\t", "header": false, "quoted": false });
    let ran = numbered(text, json!({ "weight": 3 }), plain, json!({})).unwrap();
    assert_eq!(ran.text("items", "key"), ["the \"weird\" al", "\"weird al\" yankovic", "\"weird al\"", "5\" floppy"]);
}

#[test]
fn a_quote_that_is_never_closed_counts_as_all_lines_that_it_swallows() {
    let mut text: String = (0..5_000).map(|row| format!("{row},x,1\n")).collect();
    text.push_str("7,\"open,1\n");
    text.extend((0..5_000).map(|row| format!("{row},y,1\n")));
    let told = refusal(numbered(&text, json!({ "weight": 3 }), json!({ "header": false }), json!({})));
    assert!(told.contains("5001 of 10001 lines hold no interaction") && told.contains("say `quoted: false`"), "{told}");
}

#[test]
fn quotes_in_comments_swallow_nothing() {
    let text = "1,2,3\n# a,\"b\n4,5,6\n7,8,9\n";
    let format = json!({ "header": false, "comment": "#" });
    let ran = numbered(text, json!({ "weight": 3 }), format, json!({})).unwrap();
    assert_eq!(ran.text("users", "key"), ["1", "4", "7"]);
}

#[test]
fn blank_lines_and_comments_before_the_first_row_take_linear_time() {
    for (line, format) in [("\n", json!({ "header": false })), ("#\n", json!({ "header": false, "comment": "#" }))] {
        let text = format!("{}1,2\n", line.repeat(8 << 20));
        let started = std::time::Instant::now();
        let ran = numbered(&text, json!({}), format, json!({})).unwrap();
        // Quadratic time was half a minute for a tenth of it.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        assert_eq!(ran.text("users", "key"), ["1"]);
    }
}

#[test]
fn integers_that_single_precision_would_change_are_malformed() {
    let text = "1,1,16777216\n1,2,16777217\n1,3,9007199254740993\n1,4,0.1\n1,5,-16777217\n1,6,100000000000000000000000000000000000000000\n";
    let ran =
        numbered(text, json!({ "weight": 3 }), json!({ "header": false }), json!({ "max_malformed": 0.9 })).unwrap();
    assert_eq!(ran.text("items", "key"), ["1", "4"]);
    assert_eq!(
        ran.text("malformed", "reason")[0],
        "the weight `16777217` is an integer that single precision does not hold exactly"
    );
    assert_eq!(ran.warnings, ["`a`: 4 of 6 lines hold no interaction and are left out (artifact `malformed`)"]);
}

#[test]
fn microseconds_are_named_and_implausible_years_refused() {
    let rows = |times: &[&str]| times.iter().enumerate().map(|(n, time)| format!("1,{n},{time}\n")).collect::<String>();
    let read = |times: &[&str], unit: &str, extra: Value| {
        numbered(&rows(times), json!({ "time": 3 }), json!({ "header": false, "time_unit": unit }), extra)
    };
    let micro = ["1588615855070123", "1588615856000000"];
    for unit in ["seconds", "milliseconds", "nanoseconds"] {
        let told = refusal(read(&micro, unit, json!({})));
        assert!(told.contains("look like microseconds") && told.contains("say `time_unit: microseconds`"), "{told}");
    }
    let ran = read(&micro, "microseconds", json!({})).unwrap();
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!(parts.rows.time.unwrap(), [1_588_615_855, 1_588_615_856]);

    let odd = ["1588615855", "-5", "0", "1588615856"];
    let told = refusal(read(&odd, "seconds", json!({})));
    assert!(told.contains("2 of 4 times lie before 1970-01-02 or after 2099-12-31: 1969-12-31"), "{told}");
    assert!(told.contains("`max_implausible_times` (now 0.01)"), "{told}");
    let ran = read(&odd, "seconds", json!({ "max_implausible_times": 0.5 })).unwrap();
    assert_eq!((ran.count("a.implausible_times"), ran.warnings.len()), (2, 1));
    let told = refusal(read(&["2018-01-01", "9999-12-31"], "iso", json!({})));
    assert!(told.contains("1 of 2 times") && told.contains("9999-12-31"), "{told}");
}

#[test]
fn columns_that_only_some_files_have_are_dropped_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| dir.path().join(name));
    std::fs::write(&paths[0], "1 2 5\n").unwrap();
    std::fs::write(&paths[1], "3 4\n").unwrap();
    let files = json!([{ "part": "a", "source": "a" }, { "part": "b", "source": "b", "format": "adjacency" }]);
    let ran = run_kind::<Ingest>(run, json!({ "files": files }), paths.to_vec(), &[]).unwrap();
    assert_eq!(ran.warnings, ["1 of 2 rows have weights: all must have them, and so they are dropped"]);
}

#[test]
fn counts_that_are_not_those_expected_end_the_stage() {
    let expect = json!({ "users": 2, "items": 3, "rows": 3 });
    let told = refusal(one(b"1 2 1\n1 3 1\n2 2 1\n", json!({ "expect": expect })));
    assert!(told.contains("the data: 2 items where `expect` says 3"), "{told}");
    one(b"1 2 1\n1 3 1\n2 2 1\n", json!({ "expect": { "users": 2, "items": 2, "rows": 3 } })).unwrap();
}

#[test]
fn many_repeats_are_told() {
    let ran = one(b"1 2 1\n1 2 1\n2 2 1\n", json!({})).unwrap();
    assert_eq!(ran.warnings, ["1 of 3 rows repeat a user-item pair and are dropped"]);
}

// Cases of other readers' bug reports that were right from the start.
#[test]
fn odd_lines_of_published_files_are_read_as_they_are_meant() {
    let ran = one(b"13647 \n1 5 6\n", json!({ "format": "adjacency" })).unwrap();
    assert_eq!((ran.text("users", "key"), ran.read("malformed").num_rows()), (vec!["1".to_owned()], 0));
    let text = "217,3136,1598930863.599\n217,3136,1598930863.599\n";
    let ran = numbered(text, json!({ "time": 3 }), json!({ "header": false }), json!({})).unwrap();
    assert_eq!((ran.count("a.valid_lines"), ran.count("a.rows")), (2, 1));
    let text = "u,i,p\n1,2,\u{2014}\n1,3,4\n";
    let columns = json!({ "columns": { "user": "u", "item": "i", "weight": "p" } });
    let ran = one(text.as_bytes(), json!({ "format": { "delimited": columns }, "max_malformed": 0.5 })).unwrap();
    assert_eq!(ran.text("malformed", "reason"), ["the weight `\u{2014}` is not a number"]);
    let format = json!({ "separator": "\t", "header": false });
    let text = "u1\t\tbetty\t2137\nu1\tm\tbetty\t2137\n";
    let ran = numbered(text, json!({ "weight": 4 }), format, json!({ "max_malformed": 0.5 })).unwrap();
    assert_eq!(ran.text("malformed", "reason"), ["no item"]);
    let text = "0\t2010-10-19T23:55:27Z\t7\n0\t2010-10-18T22:17:43Z\t7\n";
    let columns = json!({ "columns": { "user": 1, "item": 3, "time": 2 }, "separator": "\t", "header": false, "time_unit": "iso" });
    let ran = one(text.as_bytes(), json!({ "format": { "delimited": columns } })).unwrap();
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!(parts.rows.time.unwrap(), [1_287_440_263], "of a repeated pair the earliest stays");
}
