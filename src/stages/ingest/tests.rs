mod bad_input;
mod formats;
mod word_for_word;

use std::path::PathBuf;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use serde_json::json;

use super::*;
use crate::stages::testing::{Ran, public_data, run_kind};

/// Ingests texts as parts `a`, `b` and so on.
fn ingest(texts: &[&str], extra: Value) -> Result<Ran, StageError> {
    let dir = tempfile::tempdir().unwrap();
    let mut params = json!({ "files": [] });
    let mut paths = Vec::new();
    for (text, part) in texts.iter().zip(["a", "b", "c"]) {
        let path = dir.path().join(part);
        std::fs::write(&path, text).unwrap();
        params["files"].as_array_mut().unwrap().push(json!({ "part": part, "source": format!("{part}.txt") }));
        paths.push(path);
    }
    extra.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    run_kind::<Ingest>(run, params, paths, &[])
}

#[test]
fn ids_follow_first_appearance_over_the_parts_in_order() {
    let ran = ingest(&["9 x 1\n4 y 1\n9 x 2\n", "5 y 1\n9 z 3\n"], json!({})).unwrap();
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!((parts.rows.user, parts.rows.item), (vec![0, 1, 2, 0], vec![0, 1, 1, 2]));
    assert_eq!((parts.rows.weight, parts.rows.time), (Some(vec![1.0, 1.0, 1.0, 3.0]), None));
    assert_eq!((parts.part, parts.names), (vec![0, 0, 1, 1], vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(
        (ran.text("users", "key"), ran.text("items", "key").len()),
        (["9", "4", "5"].map(String::from).into(), 3)
    );
    assert_eq!((ran.count("a.valid_lines"), ran.count("a.rows"), ran.count("users")), (3, 2, 3));
}

#[test]
fn sources_tell_digest_terms_and_citation_of_each_file() {
    let files = json!([
        { "part": "train", "source": "a.txt" },
        { "part": "test", "source": "b.txt", "licence": "MIT" },
    ]);
    let told = json!({ "files": files, "licence": "CC BY 4.0", "citation": "Somebody (2020)" });
    let ran = ingest(&["9 x 1\n4 y 1\n9 x 2\n", "5 y 1\n"], told).unwrap();
    let digests = [b"9 x 1\n4 y 1\n9 x 2\n".as_slice(), b"5 y 1\n"].map(crate::stages::testing::blake3);
    assert_eq!(ran.text("sources", "digest"), digests);
    assert_eq!(ran.text("sources", "licence"), ["CC BY 4.0", "MIT"]);
    assert_eq!(ran.text("sources", "citation"), ["Somebody (2020)"; 2]);
    // Before the repeated pair goes.
    assert_eq!(ran.read("sources")["rows"].as_primitive::<UInt64Type>().values(), &[3, 1]);
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let bytes = || ingest(&["9 x 1\n4 y 1\n"], json!({})).unwrap().bytes();
    assert_eq!(bytes(), bytes());
}

#[test]
fn malformed_lines_are_kept_and_told() {
    let ran = ingest(&["0\n0 1 1\n"], json!({ "max_malformed": 0.5 })).unwrap();
    assert_eq!(ran.text("malformed", "file"), ["files[0]"]);
    assert_eq!(ran.text("malformed", "reason"), ["1 fields instead of 3"]);
    assert_eq!(ran.log, ["`a.txt`: 1 of 2 lines hold no interaction:\n  line 1: 1 fields instead of 3: `0`"]);
}

#[test]
fn too_many_malformed_lines_and_empty_files_are_refused() {
    let error = |text| ingest(&[text], json!({})).err().unwrap();
    let refused = error("u,i,w\n0,1,1\n0 1 1\n");
    assert!(refused.message.contains("`a.txt`: 2 of 3 lines hold no interaction"), "{}", refused.message);
    assert!(refused.message.contains("line 2: 1 fields instead of 3: `0,1,1`"), "{}", refused.message);
    assert!(refused.help.unwrap().contains("max_malformed"));
    assert!(error("").message.starts_with("`a.txt` holds no interaction: it is empty"));
    assert!(ingest(&["0 1\n"], json!({ "max_malformed": 1.0 })).is_err(), "nothing valid is nothing to go on with");
}

#[test]
fn steps_filter_before_ids_are_given_and_leave_their_counts() {
    let steps = json!([{ "positive": { "min": 4 } }, { "core": { "user": 2 } }]);
    let ran = ingest(&["0 1 3\n1 2 4\n2 2 5\n2 3 5\n"], json!({ "steps": steps })).unwrap();
    assert_eq!(
        (ran.text("users", "key"), ran.text("items", "key")),
        (vec!["2".to_owned()], vec!["2".to_owned(), "3".to_owned()])
    );
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!((parts.rows.user, parts.rows.item), (vec![0, 0], vec![0, 1]));
    assert_eq!(ran.text("steps", "rule")[0], "weight >= 4");
    let counted = |column: &str| ran.read("steps")[column].as_primitive::<UInt64Type>().values().to_vec();
    assert_eq!(
        ["rows_before", "rows", "users_before", "users", "items_before", "items"].map(counted),
        [vec![4, 3], vec![3, 2], vec![3, 2], vec![2, 1], vec![3, 2], vec![2, 2]]
    );
}

#[test]
fn steps_that_leave_nothing_or_lack_something_are_named() {
    let refused = |text: &str, extra| ingest(&[text], extra).err().unwrap().message;
    let steps = json!([{ "dedup": "first" }, { "core": { "user": 5, "item": 5 } }]);
    let message = refused("0 1 3\n1 2 4\n", json!({ "steps": steps }));
    assert!(message.contains("step 2 (`core`") && message.contains("leaves nothing of 2 rows"), "{message}");
    let format = json!({ "delimited": { "columns": { "user": "u", "item": "i" } } });
    let steps = json!([{ "positive": { "min": 4 } }]);
    let message = refused("u,i\n1,2\n", json!({ "steps": steps, "format": format }));
    assert!(message.contains("step 1 (`positive`) needs weights"), "{message}");
}

#[test]
fn one_user_and_one_item_are_data_and_a_header_alone_is_not() {
    let format = json!({ "delimited": { "columns": { "user": "u", "item": "i" } } });
    let ran = ingest(&["u,i\n1,2\n"], json!({ "format": format })).unwrap();
    assert_eq!((ran.count("users"), ran.count("items"), ran.count("a.rows")), (1, 1, 1));
    let error = ingest(&["u,i\n"], json!({ "format": format })).err().unwrap();
    assert_eq!(error.message, "`a.txt` holds no interaction: it is empty, or nothing follows its header");
}

#[test]
fn mistakes_in_parameters_are_placed() {
    let mistake = |params: Value| Ingest::check(&serde_json::from_value(params).unwrap()).unwrap_err();
    let file = json!({ "part": "", "source": "x" });
    assert_eq!(mistake(json!({ "files": [] })).path, ["files"]);
    assert_eq!(mistake(json!({ "files": [file] })).path, ["files", "0", "part"]);
    let file = json!({ "part": "a", "source": "x" });
    assert_eq!(mistake(json!({ "files": [file], "max_malformed": 2 })).path, ["max_malformed"]);
    assert_eq!(mistake(json!({ "files": [file], "steps": [{ "core": {} }] })).path, ["steps", "0"]);
    let format = json!({ "delimited": { "separator": "", "columns": { "user": 1, "item": 2 } } });
    assert!(mistake(json!({ "files": [file], "format": format })).message.contains("at least one character"));
}

/// Ingests files of a public data set; parts are named after the files.
fn public(names: &[&str], extra: Value) -> Ran {
    let root = public_data();
    let part = |name: &&str| json!({ "part": name.rsplit('/').next(), "source": name });
    let mut params = json!({ "files": names.iter().map(part).collect::<Vec<_>>() });
    extra.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    let paths: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
    run_kind::<Ingest>(run, params, paths, &[]).unwrap()
}

// Facts of the public files, methods.md 8.3.

#[test]
#[ignore = "needs the public data"]
fn food_has_the_rows_users_and_items_that_were_measured() {
    let files = ["food/train.txt", "food/valid_iid.txt", "food/test_iid.txt", "food/test.txt"];
    let ran = public(&files, json!({}));
    for (part, rows, users, items) in [
        ("train.txt", 106_253, 7_732, 6_293),
        ("valid_iid.txt", 20_468, 6_511, 5_629),
        ("test_iid.txt", 43_183, 7_595, 6_190),
        ("test.txt", 46_149, 7_724, 6_159),
    ] {
        let counted = ["rows", "users", "items"].map(|what| ran.count(&format!("{part}.{what}")));
        assert_eq!(counted, [rows, users, items], "{part}");
    }
    assert_eq!((ran.count("users"), ran.count("items")), (7_732, 6_293));
    assert!(ran.log.is_empty());
}

#[test]
#[ignore = "needs the public data"]
fn yelp_begins_with_two_malformed_lines_and_keeps_238514_rows() {
    let files = ["yelp2018/train.txt", "yelp2018/valid_iid.txt", "yelp2018/test_iid.txt", "yelp2018/test.txt"];
    let ran = public(&files, json!({}));
    let rows = ["train", "valid_iid", "test_iid", "test"].map(|part| ran.count(&format!("{part}.txt.rows")));
    assert_eq!(rows, [238_514, 47_570, 95_173, 16_346]);
    assert_eq!((ran.count("users"), ran.count("items"), ran.count("train.txt.malformed_lines")), (8_093, 13_879, 2));
    assert_eq!(ran.text("malformed", "text"), ["0", "0 1"]);
}

#[test]
#[ignore = "needs the public data"]
fn kuairec_repeats_20526_of_its_rows() {
    let ran = public(&["kuairec/test_iid.txt", "kuairec/test_ood.txt"], json!({}));
    let counted = ["valid_lines", "rows", "users", "items"];
    assert_eq!(
        counted.map(|what| ran.count(&format!("test_iid.txt.{what}"))),
        [172_404, 172_404 - 20_526, 7_146, 4_545]
    );
    assert_eq!(counted.map(|what| ran.count(&format!("test_ood.txt.{what}"))), [215_729, 215_729, 1_408, 3_235]);
    assert_eq!(ran.count("items"), 5_016);
}

#[test]
#[ignore = "needs the public data"]
fn movielens_is_delimited_text_with_typed_column_names() {
    let columns = json!({ "user": "user_id:token", "item": "item_id:token", "weight": "rating:float", "time": "timestamp:float" });
    let format = json!({ "delimited": { "separator": "\t", "columns": columns } });
    let ran = public(&["ml-100k/ml-100k.inter"], json!({ "format": format }));
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!((ran.count("users"), ran.count("items"), parts.rows.len()), (943, 1_682, 100_000));
    assert_eq!((parts.rows.time.unwrap()[0], parts.rows.weight.unwrap()[0]), (881_250_949, 3.0));
    assert_eq!(ran.text("users", "key")[0], "196");
}
