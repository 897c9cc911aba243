//! Killed runs, runs side by side, and damaged caches.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cnsdiff_pipe::engine::Outcome;
use serde_json::json;

use crate::lab::{Lab, Ran};

fn chain(sleep_ms: u64) -> Lab {
    (1..10).fold(Lab::new().sum("s0", 0, &[]), |lab, index| {
        let params = json!({ "value": index, "sleep_ms": sleep_ms });
        lab.sum_with(&format!("s{index}"), params, &[&format!("s{}", (index - 1) / 2)])
    })
}

fn object(lab: &Lab, ran: &Ran, id: &str) -> PathBuf {
    lab.store().object_path(&ran.digests()[id])
}

#[test]
fn killed_at_any_time_the_cache_stays_usable() {
    let lab = chain(5);
    let fresh = lab.run_in(&lab.dir.path().join("undisturbed"));
    for attempt in 0..12 {
        let begun = lab.journal().len();
        let mut child = lab.spawn();
        while lab.journal().len() == begun && child.try_wait().unwrap().is_none() {}
        // A stage has begun just now; the later attempts hit what follows it.
        std::thread::sleep(Duration::from_micros(700 * attempt));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(lab.store().verify(false).unwrap().damaged, []);
    }
    let ran = lab.run();
    assert_eq!(ran.digests(), fresh.digests());
    assert_eq!(lab.store().verify(false).unwrap().damaged, []);
}

#[test]
fn runs_side_by_side_execute_each_key_once() {
    let lab = chain(30);
    let mut children: Vec<_> = (0..3).map(|_| lab.spawn()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let mut journal = lab.journal();
    journal.sort();
    let expected: Vec<String> = (0..10).map(|index| format!("s{index}")).collect();
    assert_eq!(journal, expected);
}

#[test]
fn truncated_or_missing_object_is_made_anew() {
    let lab = chain(0);
    let ran = lab.run();
    fs::remove_file(object(&lab, &ran, "s0")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(object(&lab, &ran, "s9")).unwrap();
    file.set_len(10).unwrap();
    let again = lab.run();
    assert_eq!(again.executed(), ["s0", "s9"]);
    assert_eq!(again.digests(), ran.digests());
    assert_eq!(lab.store().verify(false).unwrap().damaged, []);
}

#[test]
fn torn_index_entry_is_a_miss() {
    let lab = Lab::new().sum("a", 1, &[]);
    let key = lab.run().states["a"].key().unwrap().to_string();
    let entry = lab.cache().join("index").join(&key[..2]).join(format!("{key}.entry"));
    let whole = fs::read(&entry).unwrap();
    for length in [0, 1, 64, 65, 66, whole.len() / 2, whole.len() - 1] {
        fs::write(&entry, &whole[..length]).unwrap();
        assert_eq!(lab.store().verify(false).unwrap().damaged.len(), 1, "cut to {length} bytes");
        assert_eq!(lab.run().outcome("a"), Outcome::Executed, "cut to {length} bytes");
    }
    let mut flipped = whole;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&entry, &flipped).unwrap();
    assert_eq!(lab.run().outcome("a"), Outcome::Executed);
}

#[test]
fn verify_finds_a_flipped_bit_and_repair_leads_to_a_new_execution() {
    let lab = Lab::new().sum("a", 1, &[]).sum("b", 2, &["a"]);
    let ran = lab.run();
    let path = object(&lab, &ran, "a");
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(lab.run().executed().len(), 0, "the size is right, and a run does not read everything again");

    let report = lab.store().verify(true).unwrap();
    assert_eq!(report.damaged.len(), 2, "the object and the entry that names it: {:?}", report.damaged);
    assert_eq!(lab.run().executed(), ["a"]);
    assert_eq!(lab.store().verify(false).unwrap().damaged, []);
}

#[test]
fn forced_execution_replaces_a_damaged_object() {
    let mut lab = Lab::new().sum("a", 1, &[]);
    let ran = lab.run();
    let path = object(&lab, &ran, "a");
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    fs::write(&path, &damaged).unwrap();
    lab.options.force = vec!["a".to_owned()];
    lab.run();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
