//! Objects that are damaged when a stage is about to read them: nothing is computed from them, and the run ends with the
//! results of an undamaged cache.

use std::fs;
use std::path::{Path, PathBuf};

use cnsdiff_pipe::engine::{Event, Outcome};
use cnsdiff_pipe::store::{Entry, Origin};
use serde_json::json;

use crate::lab::{Lab, Ran};

/// `c` and `d` need `b`, which needs `a`.
fn lab() -> Lab {
    Lab::new().sum("a", 1, &[]).sum("b", 10, &["a"]).sum("c", 100, &["b"]).sum("d", 1000, &["b"])
}

fn object(lab: &Lab, ran: &Ran, id: &str) -> PathBuf {
    lab.store().object_path(&ran.digests()[id])
}

fn flip(path: &Path, byte: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

/// What the pipeline gives in a new cache.
fn undisturbed(lab: &Lab) -> Ran {
    lab.run_in(&lab.dir.path().join("undisturbed"))
}

fn told(ran: &Ran) -> Vec<&str> {
    let damaged = ran.events.iter().filter_map(|event| match event {
        Event::ArtifactDamaged { id, .. } => Some(id.as_str()),
        _ => None,
    });
    damaged.collect()
}

#[track_caller]
fn assert_healed(lab: &Lab, ran: &Ran) {
    assert_eq!(ran.digests(), undisturbed(lab).digests());
    assert_eq!(lab.store().verify(false).unwrap().damaged, []);
}

#[test]
fn every_flipped_byte_of_an_input_is_noticed_and_the_input_made_anew() {
    let mut lab = lab();
    let first = lab.run();
    let path = object(&lab, &first, "a");
    let length = fs::metadata(&path).unwrap().len() as usize;
    for (round, byte) in (0..length).step_by(length / 40).enumerate() {
        flip(&path, byte, (byte % 8) as u8);
        lab.set("b", "value", json!(11 + round));
        let ran = lab.run();
        assert_eq!(told(&ran), ["a"], "byte {byte} of {length}");
        assert_eq!(ran.executed(), ["a", "b", "c", "d"], "byte {byte} of {length}");
        let Some(Event::RunFinished(summary)) = ran.events.last() else { panic!("no end") };
        assert_eq!((summary.executed, summary.cached, summary.failed), (4, 0, 0));
    }
    assert_healed(&lab, &lab.run());
}

#[test]
fn what_nobody_reads_is_not_digested() {
    let mut lab = lab();
    let first = lab.run();
    flip(&object(&lab, &first, "a"), 30, 0);
    assert!(lab.run().executed().is_empty());
    lab.set("c", "value", json!(101));
    assert_eq!(lab.run().executed(), ["c"], "it reads `b` only");
}

#[test]
fn damage_of_several_inputs_one_behind_the_other_is_mended_in_one_run() {
    for jobs in [1, 4] {
        let mut lab = lab();
        lab.options.jobs = jobs;
        let first = lab.run();
        flip(&object(&lab, &first, "a"), 30, 0);
        flip(&object(&lab, &first, "b"), 30, 7);
        lab.set("c", "value", json!(101));
        lab.set("d", "value", json!(1001));
        let ran = lab.run();
        let mut found = told(&ran);
        found.sort_unstable();
        assert_eq!((found, ran.executed()), (vec!["a", "b"], vec!["a", "b", "c", "d"]));
        assert_healed(&lab, &ran);
    }
}

#[test]
fn results_made_from_the_undamaged_input_stay_cached() {
    let mut lab = lab();
    let first = lab.run();
    flip(&object(&lab, &first, "b"), 30, 0);
    lab.set("c", "value", json!(101));
    let ran = lab.run();
    assert_eq!(ran.executed(), ["b", "c"]);
    assert_eq!(ran.outcome("d"), Outcome::Cached);
    assert_healed(&lab, &ran);
}

#[test]
fn folders_in_the_place_of_files_are_replaced() {
    let mut lab = lab();
    let first = lab.run();
    let store = lab.store();
    let key = first.states["d"].key().unwrap().to_string();
    let entry = store.dir().join("index").join(&key[..2]).join(format!("{key}.entry"));
    let known = fs::read_dir(store.dir().join("pipelines")).unwrap().next().unwrap().unwrap().path();
    let paths = [object(&lab, &first, "a"), entry, known];
    let in_the_place_of_files = || {
        for path in &paths {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
    };
    in_the_place_of_files();
    lab.set("b", "value", json!(11));
    assert_eq!(lab.run().executed(), ["a", "b", "c", "d"]);
    lab.set("b", "value", json!(10));
    assert_healed(&lab, &lab.run());

    in_the_place_of_files();
    assert_eq!(lab.store().verify(true).unwrap().damaged.len(), 4, "and the entry of `a`");
    assert_eq!(lab.store().verify(false).unwrap().damaged, []);
    assert_healed(&lab, &lab.run());
}

/// Leaves the cache as an earlier version did, which looked at sizes only: `b`'s entry names what was computed from the
/// damaged object of `a`.
fn poisoned() -> (Lab, Ran) {
    let lab = lab();
    let first = lab.run();
    let store = lab.store();
    let entry = |id: &str| Entry::clone(first.states[id].entry().unwrap());
    let origin = store.origin(&entry("b").key).unwrap().unwrap();
    // Any other table will do.
    let junk = Entry { outputs: entry("d").outputs, ..entry("b") };
    store.commit(&junk, &Origin { digested: false, ..origin }).unwrap();
    flip(&object(&lab, &first, "a"), 30, 0);
    let again = lab.run();
    assert_ne!(again.digests()["c"], first.digests()["c"]);
    (lab, first)
}

#[test]
fn repair_removes_what_an_earlier_version_may_have_computed_from_damage() {
    let (lab, first) = poisoned();
    let report = lab.store().verify(true).unwrap();
    assert_eq!(report.damaged.len(), 3, "object and entry of `a`, entry of `b`: {:?}", report.damaged);
    let ran = lab.run();
    assert_eq!(ran.executed(), ["a", "b"]);
    assert_eq!(ran.digests(), first.digests());
}

#[test]
fn a_run_that_meets_damage_makes_anew_what_an_earlier_version_may_have_computed_from_it() {
    let (lab, first) = poisoned();
    let lab = lab.sum("e", 5, &["a"]);
    let ran = lab.run();
    assert_eq!(ran.executed(), ["a", "b", "e"]);
    assert!(["a", "b", "c", "d"].iter().all(|id| ran.digests()[id] == first.digests()[id]));
    assert_healed(&lab, &ran);
}
