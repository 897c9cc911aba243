use std::collections::BTreeSet;
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
            cpu_seconds: Some(0.125),
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
    // Its file is there, so that the pipeline is in use.
    let file = lab.store.dir().join("format");
    lab.store.remember(named("p", &file), [("a", keys[0])], true).unwrap();
    let options = GcOptions { keep: BTreeSet::from([keys[1]]), ..GcOptions::default() };
    let young = GcOptions { older_than: Duration::from_secs(3600), ..options.clone() };
    assert_eq!(lab.store.gc(&young).unwrap().entries, 0);

    fs::write(lab.store.dir().join("tmp/left-over"), "").unwrap();
    let dry = lab.store.gc(&GcOptions { dry_run: true, ..options.clone() }).unwrap();
    assert!(keys.iter().all(|key| lab.store.entry(key).is_some()));

    let report = lab.store.gc(&options).unwrap();
    assert_eq!(report, dry);
    assert_eq!((report.entries, report.objects, report.others, report.kept_entries), (2, 2, 1, 2));
    // Two tables and two entries, a block each.
    assert!(report.bytes >= 4 * 512 && report.bytes > report.kept_bytes, "{report:?}");
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

fn named<'a>(name: &'a str, file: &'a Path) -> PipelineId<'a> {
    PipelineId { name, file }
}

#[test]
fn last_keys_are_remembered_per_pipeline() {
    let lab = Lab::new();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let p = named("p", Path::new("/p.yaml"));
    lab.store.remember(p, [("a[x=1 2]", one), ("b", one)], true).unwrap();
    lab.store.remember(p, [("b", two)], false).unwrap();
    lab.store.remember(named("../q", p.file), [("b", one)], true).unwrap();
    lab.store.remember(named("p", Path::new("/elsewhere/p.yaml")), [("b", one)], true).unwrap();
    let known = |pipeline| lab.store.previous(pipeline).into_iter().collect::<Vec<_>>();
    assert_eq!(known(p), [("a[x=1 2]".to_owned(), one), ("b".to_owned(), two)]);
    lab.store.remember(p, [("b", two)], true).unwrap();
    assert_eq!(known(p), [("b".to_owned(), two)], "those are all that it has");
    assert!(known(named("nobody", p.file)).is_empty());
    // As earlier versions wrote it.
    let earlier = lab.store.dir().join("pipelines").join(Digest::of(b"old").to_string());
    fs::write(earlier, format!("{one} a\n")).unwrap();
    assert_eq!(known(named("old", p.file)), [("a".to_owned(), one)]);
}

#[test]
fn last_keys_that_runs_remember_at_the_same_time_are_all_kept() {
    let lab = Lab::new();
    let ids: Vec<String> = (0..16).map(|id| format!("s{id}")).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            let own = || lab.store.remember(named("p", Path::new("/p")), [(id.as_str(), Digest::of(b"k"))], false);
            scope.spawn(move || own().unwrap());
        }
    });
    assert_eq!(lab.store.previous(named("p", Path::new("/p"))).len(), ids.len());
}

#[test]
fn collection_forgets_pipelines_whose_file_is_gone_or_has_another_name_for_them() {
    let lab = Lab::new();
    let keys: Vec<Digest> = (0..3).map(|value| lab.commit(value).0).collect();
    let files = ["here.yaml", "gone.yaml"].map(|name| lab.dir.path().join(name));
    fs::write(&files[0], "").unwrap();
    let remember = |name, file: &PathBuf, key| lab.store.remember(named(name, file), [("a", key)], true).unwrap();
    remember("earlier name", &files[0], keys[0]);
    std::thread::sleep(Duration::from_millis(20));
    remember("p", &files[0], keys[1]);
    remember("p", &files[1], keys[2]);
    let young = GcOptions { older_than: Duration::from_secs(3600), ..GcOptions::default() };
    assert_eq!(lab.store.gc(&young).unwrap().entries, 0);
    let report = lab.store.gc(&GcOptions::default()).unwrap();
    assert_eq!((report.entries, report.others), (2, 2), "and where their keys stood");
    assert!(lab.store.entry(&keys[1]).is_some());
}

#[test]
fn downloads_are_verified_and_collected_once_nothing_was_made_from_them() {
    let lab = Lab::new();
    let (key, output) = lab.commit(1);
    let raw = lab.store.dir().join("raw");
    fs::create_dir(&raw).unwrap();
    let put = |content: &str, suffix: &str| {
        let name = format!("blake3-{}", Digest::of(content.as_bytes()));
        fs::write(raw.join(format!("{name}{suffix}")), content).unwrap();
        raw.join(name)
    };
    let (used, unused) = (put("used", ""), put("unused", ""));
    put("begun", ".part");
    fs::write(raw.join("digests"), "").unwrap();
    assert_eq!(lab.store.verify(false).unwrap().downloads, 2);
    fs::write(&used, "USED").unwrap();
    assert_eq!(lab.store.verify(true).unwrap().damaged[0].path, used);
    assert!(!used.exists());

    let used = put("used", "");
    let material = vec![("files[0]".to_owned(), format!("\"blake3:{}\"", Digest::of(b"used")))];
    let entry = Entry { outputs: vec![output], ..lab.store.entry(&key).unwrap() };
    lab.store.commit(&entry, &Origin { material, ..Origin::default() }).unwrap();
    let options = GcOptions { keep: BTreeSet::from([key]), ..GcOptions::default() };
    assert_eq!(lab.store.gc(&options).unwrap().others, 1);
    assert!(used.exists() && !unused.exists());
    assert_eq!(list(&raw).unwrap().len(), 3, "what is being downloaded stays");
}

#[test]
fn temporary_names_are_nobody_elses() {
    let lab = Lab::new();
    let other = Store::open(lab.store.dir()).unwrap();
    let path = lab.store.dir().join("runs/record");
    let tmp = || list(&lab.store.dir().join("tmp")).unwrap();
    // As two containers do that share a cache and in which processes have the same numbers.
    let written = lab.store.write_atomic(&path, |file| {
        file.write_all(b"first")?;
        assert_eq!(tmp().len(), 1);
        let inner = other.write_atomic(&path, |file| {
            assert_eq!(tmp().len(), 2);
            file.write_all(b"second")
        });
        inner.map_err(io::Error::other)
    });
    written.unwrap();
    assert_eq!((fs::read(&path).unwrap(), tmp().len()), (b"first".to_vec(), 0));
    let failed = lab.store.write_atomic(&path, |_| Err(io::Error::other("no space")));
    assert!(failed.is_err() && tmp().is_empty() && path.exists());
}

#[test]
fn objects_may_lie_on_another_file_system() {
    use std::os::unix::fs::MetadataExt;

    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let lab = Lab::new();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(elsewhere.path()) == device(lab.store.dir()) {
        return;
    }
    std::os::unix::fs::symlink(elsewhere.path(), lab.store.dir().join("objects")).unwrap();
    let (key, output) = lab.commit(1);
    assert!(lab.store.sound_object(&output.digest).unwrap().exists());
    assert_eq!(list(&elsewhere.path().join(&output.digest.to_string()[..2])).unwrap().len(), 1);
    assert_eq!(lab.store.verify(false).unwrap().damaged, []);
    fs::write(lab.store.object_path(&output.digest), "damaged").unwrap();
    assert!(lab.store.sound_object(&output.digest).is_err());
    assert_eq!(lab.store.entry(&key), None);
}

#[test]
fn an_object_is_digested_again_once_its_file_has_changed() {
    let lab = Lab::new();
    let (_, output) = lab.commit(1);
    let path = lab.store.sound_object(&output.digest).unwrap();
    let (bytes, time) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    let mut flipped = bytes.clone();
    flipped[40] ^= 4;
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&path, flipped).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert!(matches!(lab.store.sound_object(&output.digest), Err(StoreError::Damaged { .. })));
    assert!(!path.exists(), "damage counts as absence");
    fs::create_dir(&path).unwrap();
    assert!(matches!(lab.store.sound_object(&output.digest), Err(StoreError::Damaged { .. })));
    assert!(!path.exists());
    assert_eq!(list(path.parent().unwrap()).unwrap().len(), 0, "nothing is left");
}

#[test]
fn verification_reports_what_cannot_be_read_and_goes_on() {
    let lab = Lab::new();
    let ((_, one), (two, _), (_, three)) = (lab.commit(1), lab.commit(2), lab.commit(3));
    let folder = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    folder(&lab.store.object_path(&one.digest));
    folder(&lab.store.index_path(&two));
    fs::write(lab.store.object_path(&three.digest), "short").unwrap();
    fs::write(lab.store.dir().join("objects/zz"), "").unwrap();
    fs::write(lab.store.dir().join("index/.tmp123"), "").unwrap();
    let report = lab.store.verify(false).unwrap();
    // Two objects and the entries that name them, an entry, two files in the place of folders.
    assert_eq!((report.damaged.len(), report.repaired), (7, false), "{:?}", report.damaged);
    assert_eq!(lab.store.verify(true).unwrap().damaged, report.damaged);
    assert_eq!(lab.store.verify(false).unwrap().damaged, []);
}

#[test]
fn new_folders_are_made_durable_with_those_above() {
    let lab = Lab::new();
    lab.commit(1);
    let unsynced = lab.store.unsynced().clone();
    for folder in ["", "objects", "index"] {
        assert!(unsynced.contains(&lab.store.dir().join(folder)), "{folder}: {unsynced:?}");
    }
}

#[test]
fn a_cache_of_another_format_is_refused() {
    let lab = Lab::new();
    fs::write(lab.store.dir().join("format"), "99\n").unwrap();
    let error = Store::open(lab.dir.path().join("cache")).unwrap_err().to_string();
    assert!(error.contains("\"99\"") && error.contains("--cache"), "{error}");
}

#[test]
fn a_circle_of_links_in_the_place_of_a_lock_is_damage_that_a_repair_mends() {
    let lab = Lab::new();
    let (key, _) = lab.commit(1);
    drop((lab.store.share().unwrap(), lab.store.try_lock(&key).unwrap()));
    let put = |name: &str| {
        let path = lab.store.dir().join(name);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap();
        path
    };
    let run = lab.store.share().unwrap();
    let keys = put("locks/keys");
    let told = lab.store.verify(false).unwrap().damaged;
    assert_eq!(told.into_iter().map(|damage| damage.path).collect::<Vec<_>>(), [keys]);
    drop(run);
    // The first run that is alone mends it.
    drop(lab.store.share().unwrap());
    assert!(lab.store.verify(false).unwrap().damaged.is_empty());

    put("lock");
    assert!(lab.store.share().is_err());
    assert!(lab.store.verify(true).unwrap().repaired);
    drop(lab.store.share().unwrap());
    assert!(lab.store.entry(&key).is_some());
}
