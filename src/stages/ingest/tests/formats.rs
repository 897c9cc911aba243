//! Formats and archives as the kind reads them, on public files where they are at hand.

use super::*;

// methods.md 5.1
#[test]
#[ignore = "needs the public data"]
fn realhns_logs_have_the_measured_users_items_and_events() {
    let files = ["toy", "game", "mix"].map(|name| format!("amazon-toy-game/{name}_log_file_final.pkl"));
    let files = files.each_ref().map(String::as_str);
    let ran = public(&files, json!({ "format": "pickle", "steps": [] }));
    for (file, events, items, longest) in
        [("toy", 114_487, 37_868, 480), ("game", 82_871, 11_735, 615), ("mix", 197_358, 49_603, 626)]
    {
        let count = |what: &str| ran.count(&format!("{file}_log_file_final.pkl.{what}"));
        let counted = ["rows", "users", "items", "malformed_lines"].map(count);
        assert_eq!(counted, [events, 7_996, items, 0], "{file}");
        let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
        let part = parts.names.iter().position(|name| name.starts_with(file)).unwrap();
        let times = parts.rows.time.unwrap().into_iter().zip(parts.part);
        let last = times.filter(|&(_, of)| of as usize == part).map(|(time, _)| time).max();
        assert_eq!(last, Some(longest - 1), "positions count from 0");
    }
}

#[test]
#[ignore = "needs the public data"]
fn recbole_finds_the_columns_of_ml_100k() {
    let ran = public(&["ml-100k/ml-100k.inter"], json!({ "format": { "recbole": {} } }));
    let parts = Parts::from_batch(&ran.read("interactions"), "part").unwrap();
    assert_eq!((ran.count("users"), ran.count("items"), parts.rows.len()), (943, 1_682, 100_000));
    assert_eq!((parts.rows.time.unwrap()[0], parts.rows.weight.unwrap()[0]), (881_250_949, 3.0));
}

/// Ingests one file of these bytes.
pub fn one(bytes: &[u8], extra: Value) -> Result<Ran, StageError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    std::fs::write(&path, bytes).unwrap();
    let mut params = json!({ "files": [{ "part": "a", "source": "raw" }] });
    for (key, value) in extra.as_object().unwrap() {
        match key.as_str() {
            "member" => params["files"][0][key] = value.clone(),
            _ => params[key] = value.clone(),
        }
    }
    run_kind::<Ingest>(run, params, vec![path], &[])
}

#[test]
fn a_member_of_an_archive_gives_the_bytes_of_the_plain_file() {
    let text = "9 x 1\n4 y 1\n";
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in [("data/README", "read me"), ("data/train.txt", text)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let archive = zstd::encode_all(&builder.into_inner().unwrap()[..], 0).unwrap();
    let plain = one(text.as_bytes(), json!({})).unwrap();
    let packed = one(&archive, json!({ "member": "data/train.txt" })).unwrap();
    assert_eq!(packed.bytes()["interactions"], plain.bytes()["interactions"]);
    let error = one(&archive, json!({})).err().unwrap().message;
    assert!(error.contains("holds 2 files; name one by `member`: data/README, data/train.txt"), "{error}");
    let error = one(&archive, json!({ "member": "../train.txt" })).err().unwrap().message;
    assert!(error.contains("leaves the archive; write it relative and without `..`"), "{error}");
}
