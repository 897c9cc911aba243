use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("cache")).unwrap();
        Self { dir, store }
    }

    /// Puts a table with one value and commits it under a key named after it.
    fn commit(&self, value: i64) -> (Digest, OutputEntry) {
        let file = self.store.dir().join("made.parquet");
        let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![value])) as _)]).unwrap();
        parquet::write(&file, &batch, &[]).unwrap();
        let output = self.store.put("table", &file).unwrap();
        let key = Digest::of(&value.to_le_bytes());
        let entry = Entry {
            key,
            kind: "k".to_owned(),
            kind_version: 1,
            outputs: vec![output.clone()],
            seconds: 0.25,
            cpu_seconds: 0.125,
            peak_memory_bytes: None,
            warnings: vec!["two rows are odd".to_owned()],
            threads: 2,
        };
        let origin =
            Origin { id: "a".to_owned(), material: vec![("f".to_owned(), "1".to_owned())], ..Origin::default() };
        self.store.commit(&entry, &origin).unwrap();
        assert_eq!(self.store.entry(&key), Some(entry));
        assert_eq!(self.store.origin(&key).unwrap(), Some(origin));
        (key, output)
    }
}

#[test]
fn objects_are_named_by_their_bytes_and_stored_once() {
    let lab = Lab::new();
    let (_, first) = lab.commit(1);
    let path = lab.store.object_path(&first.digest);
    assert_eq!(Digest::of(&fs::read(&path).unwrap()), first.digest);
    assert_eq!((first.rows, first.bytes), (1, fs::metadata(&path).unwrap().len()));
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    lab.commit(1);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
}

#[test]
fn there_is_no_entry_without_its_objects() {
    let lab = Lab::new();
    let (key, output) = lab.commit(1);
    let entry = Entry { key: Digest::of(b"later"), ..lab.store.entry(&key).unwrap() };
    fs::remove_file(lab.store.object_path(&output.digest)).unwrap();
    assert!(lab.store.commit(&entry, &Origin::default()).is_err(), "the object cannot be made durable");
    assert_eq!(lab.store.index_entry(&entry.key).unwrap(), None, "and is looked after before the entry is written");
    assert_eq!(lab.store.entry(&key), None);
}

#[test]
fn an_entry_under_another_key_is_damaged() {
    let lab = Lab::new();
    let ((one, _), (two, _)) = (lab.commit(1), lab.commit(2));
    fs::copy(lab.store.index_path(&one), lab.store.index_path(&two)).unwrap();
    assert_eq!(lab.store.entry(&two), None);
    assert!(matches!(lab.store.index_entry(&two), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_key_is_locked_by_one_at_a_time() {
    let lab = Lab::new();
    let key = Digest::of(b"key");
    let (inside, entered) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while entered.load(Ordering::SeqCst) < 2000 {
                    let Some(lock) = lab.store.try_lock(&key).unwrap() else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    entered.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    let other = Digest::of(b"other");
    let held = (lab.store.try_lock(&key).unwrap(), lab.store.try_lock(&other).unwrap());
    assert!(held.0.is_some() && held.1.is_some(), "keys do not get into each other's way");
    assert!(lab.store.try_lock(&other).unwrap().is_none());
    let locks = list(&lab.store.dir().join("locks")).unwrap();
    assert_eq!(locks.iter().map(|path| fs::metadata(path).unwrap().len()).collect::<Vec<_>>(), [0]);
}

#[test]
fn folders_are_used_again_once_empty_and_cleared_after_a_kill() {
    let lab = Lab::new();
    let left = || list(&lab.store.dir().join("staging")).unwrap();
    let run = lab.store.share().unwrap();
    let staging = lab.store.staging();
    let (first, second) = (staging.take().unwrap(), staging.take().unwrap());
    assert_ne!(first.path(), second.path());
    fs::create_dir(first.path().join("folder")).unwrap();
    fs::write(first.path().join("folder/file"), "").unwrap();
    let path = first.path().to_owned();
    staging.give_back(first);
    let again = staging.take().unwrap();
    assert_eq!((again.path(), list(again.path()).unwrap().len()), (path.as_path(), 0));
    drop(second);
    assert_eq!(left(), [path]);

    // A run that was killed removes nothing.
    fs::write(again.keep().join("table.parquet"), "").unwrap();
    drop(lab.store.share().unwrap());
    assert_eq!(left().len(), 1, "another run is still there");
    drop(run);
    drop(lab.store.share().unwrap());
    assert_eq!(left().len(), 0);
}

#[test]
fn collection_keeps_last_keys_named_keys_and_young_entries() {
    let lab = Lab::new();
    let keys: Vec<Digest> = (0..4).map(|value| lab.commit(value).0).collect();
    lab.store.remember("p", [("a", keys[0])]).unwrap();
    let options = GcOptions { keep: BTreeSet::from([keys[1]]), ..GcOptions::default() };
    fs::write(lab.store.dir().join("tmp/left-over"), "").unwrap();

    let dry = lab.store.gc(&GcOptions { dry_run: true, ..options.clone() }).unwrap();
    assert!(keys.iter().all(|key| lab.store.entry(key).is_some()));
    let young = GcOptions { older_than: Duration::from_secs(3600), ..options.clone() };
    assert_eq!(lab.store.gc(&young).unwrap().entries, 0);

    let report = lab.store.gc(&options).unwrap();
    assert_eq!(report, dry);
    assert_eq!((report.entries, report.objects, report.kept_entries), (2, 2, 2));
    let left: Vec<bool> = keys.iter().map(|key| lab.store.entry(key).is_some()).collect();
    assert_eq!(left, [true, true, false, false]);
    assert_eq!(list(&lab.store.dir().join("tmp")).unwrap().len(), 0);
    assert_eq!(lab.store.verify(false).unwrap().damaged, []);
}

#[test]
fn collection_and_repair_wait_for_no_run() {
    let lab = Lab::new();
    let _run = lab.store.share().unwrap();
    assert!(matches!(lab.store.gc(&GcOptions::default()), Err(StoreError::Busy { .. })));
    assert!(matches!(lab.store.verify(true), Err(StoreError::Busy { .. })));
    assert!(lab.store.verify(false).is_ok());
}

#[test]
fn last_keys_are_remembered_per_pipeline() {
    let lab = Lab::new();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    lab.store.remember("p", [("a[x=1 2]", one), ("b", one)]).unwrap();
    lab.store.remember("p", [("b", two)]).unwrap();
    lab.store.remember("../q", [("b", one)]).unwrap();
    let known: Vec<_> = lab.store.previous("p").into_iter().collect();
    assert_eq!(known, [("a[x=1 2]".to_owned(), one), ("b".to_owned(), two)]);
    assert!(lab.store.previous("nobody").is_empty());
}

#[test]
fn a_cache_of_another_format_is_refused() {
    let lab = Lab::new();
    fs::write(lab.store.dir().join("format"), "99\n").unwrap();
    let error = Store::open(lab.dir.path().join("cache")).unwrap_err().to_string();
    assert!(error.contains("\"99\"") && error.contains("--cache"), "{error}");
}
