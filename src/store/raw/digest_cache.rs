//! Remembers the digest of each raw file by what tells one state of a file from another (path, device, inode, size,
//! times of modification and of change), as git's index does, so that a file is read once and not at every run.
//!
//! One text line per digest, with a checksum of its own, appended with a single write; of several lines for a path the
//! last one counts. Losing or damaging the file costs a re-read of the raw files and nothing else.

use std::collections::HashMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::checksum::{Algorithm, Checksum};
use super::read;
use crate::store::files;

/// A file changed this recently may change again within the same time stamp, so that other processes read it anew. In
/// this one it counts as known: a stage's files are read once more when it has ended.
const SETTLED: Duration = Duration::from_secs(2);
/// Hexadecimal digits of a line's own checksum.
const CHECK: usize = 16;

type DigestTable = HashMap<(PathBuf, Algorithm), CachedDigest>;

#[derive(Clone, Copy)]
struct CachedDigest {
    stat: Stat,
    checksum: Checksum,
    /// For further processes as well, in the log.
    logged: bool,
}

pub struct DigestCache {
    log: PathBuf,
    settled: Duration,
    known: Mutex<Option<DigestTable>>,
}

/// The state of a file. The time of change is the kernel's own: a program can put back the time of modification
/// (`touch -r`, `cp -p`, `rsync -t`), but not this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    /// Of the regular file at `path`, through links.
    pub fn of(path: &Path) -> io::Result<Self> {
        read::regular(path).map(|metadata| Self::from(&metadata))
    }

    /// Whether it is the same file, under whatever name.
    pub fn is_file_of(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// Whether both times are older than `age`, and none lies in the future.
    fn older_than(&self, age: Duration) -> bool {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let latest = now.saturating_sub(age);
        let latest = (latest.as_secs() as i64, i64::from(latest.subsec_nanos()));
        self.modified <= latest && self.changed <= latest
    }
}

impl From<&Metadata> for Stat {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl DigestCache {
    /// Lines are kept in the file `log`, which is read at the first question.
    pub fn new(log: PathBuf) -> Self {
        Self { log, settled: SETTLED, known: Mutex::new(None) }
    }

    /// What is remembered of a file that has not changed since.
    pub fn cached(&self, path: &Path, algorithm: Algorithm) -> io::Result<Option<Checksum>> {
        let key = (std::path::absolute(path)?, algorithm);
        let stat = Stat::of(&key.0)?;
        let known = self.with(|known| known.get(&key).copied());
        Ok(known.filter(|known| known.stat == stat).map(|known| known.checksum))
    }

    /// The digest of the bytes that are there, which is remembered.
    pub fn read(&self, path: &Path, algorithm: Algorithm, interrupt: &AtomicBool) -> io::Result<Checksum> {
        let key = (std::path::absolute(path)?, algorithm);
        let stat = Stat::of(&key.0)?;
        let checksum = read::digest(&key.0, algorithm, interrupt)?;
        // Only if it stood still meanwhile.
        if Stat::of(&key.0)? == stat {
            let known = self.with(|known| known.get(&key).copied());
            let logged = known.is_some_and(|known| known.logged && (known.stat, known.checksum) == (stat, checksum));
            let settled = stat.older_than(self.settled);
            if settled && !logged {
                // A cache that cannot be written only costs time.
                let _ = self.append(&key.0, stat, checksum);
            }
            self.with(|known| known.insert(key, CachedDigest { stat, checksum, logged: logged || settled }));
        }
        Ok(checksum)
    }

    fn with<T>(&self, act: impl FnOnce(&mut DigestTable) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(known.get_or_insert_with(|| {
            let bytes = files::read(&self.log).unwrap_or_default();
            // A line with a flipped bit may be no text any more; the others are.
            String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect()
        }))
    }

    fn append(&self, path: &Path, stat: Stat, checksum: Checksum) -> io::Result<()> {
        let Some(path) = path.to_str().filter(|path| !path.contains('\n')) else { return Ok(()) };
        let Stat { device, inode, size, modified, changed } = stat;
        let line = format!(
            "{checksum} {device} {inode} {size} {} {} {} {} {path}",
            modified.0, modified.1, changed.0, changed.1
        );
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)?;
        }
        let line = format!("{} {line}\n", check(&line));
        files::make_way(&self.log)?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.log)?
            .write_all(line.as_bytes())
    }
}

/// The checksum of a line.
fn check(line: &str) -> String {
    blake3::hash(line.as_bytes()).to_hex()[..CHECK].to_owned()
}

fn parse(line: &str) -> Option<((PathBuf, Algorithm), CachedDigest)> {
    let (own, line) = line.split_once(' ')?;
    if own != check(line) {
        return None;
    }
    let (checksum, line) = line.split_once(' ')?;
    let checksum: Checksum = checksum.parse().ok()?;
    let mut fields = line.splitn(8, ' ');
    let mut unsigned = || fields.next()?.parse().ok();
    let (device, inode, size) = (unsigned()?, unsigned()?, unsigned()?);
    let mut signed = || fields.next()?.parse().ok();
    let (modified, changed) = ((signed()?, signed()?), (signed()?, signed()?));
    let path = PathBuf::from(fields.next()?);
    let stat = Stat { device, inode, size, modified, changed };
    Some(((path, checksum.algorithm), CachedDigest { stat, checksum, logged: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    struct Lab {
        dir: tempfile::TempDir,
    }

    impl Lab {
        fn new(text: &str) -> Self {
            let lab = Self { dir: tempfile::tempdir().unwrap() };
            lab.write(text);
            lab
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("a b.txt")
        }

        fn log(&self) -> PathBuf {
            self.dir.path().join("cache/raw/digests")
        }

        /// In place, with the old time of modification.
        fn write(&self, text: &str) {
            // The next tick of the clock that files are stamped by.
            std::thread::sleep(Duration::from_millis(20));
            fs::write(self.file(), text).unwrap();
            self.date(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        }

        fn date(&self, time: SystemTime) {
            fs::File::options().write(true).open(self.file()).unwrap().set_modified(time).unwrap();
        }

        /// As a further process.
        fn digest_cache(&self, settled: Duration) -> DigestCache {
            DigestCache { settled, ..DigestCache::new(self.log()) }
        }

        fn read(&self, settled: Duration) -> Checksum {
            self.digest_cache(settled).read(&self.file(), Algorithm::Blake3, &GO_ON).unwrap()
        }

        fn cached(&self) -> Option<Checksum> {
            self.digest_cache(Duration::ZERO).cached(&self.file(), Algorithm::Blake3).unwrap()
        }
    }

    #[test]
    fn an_unchanged_file_is_remembered_and_one_rewritten_with_its_old_size_and_time_is_not() {
        let lab = Lab::new("one");
        let first = lab.read(Duration::ZERO);
        assert_eq!(lab.cached(), Some(first));
        lab.write("two");
        assert_eq!(lab.cached(), None);
        assert_eq!(lab.read(Duration::ZERO).bytes, *blake3::hash(b"two").as_bytes());
        assert!(lab.cached().is_some_and(|found| found != first));
    }

    #[test]
    fn another_file_of_the_same_size_and_time_in_the_place_of_the_first_is_not_remembered() {
        let lab = Lab::new("one");
        lab.read(Duration::ZERO);
        fs::rename(lab.file(), lab.dir.path().join("away")).unwrap();
        lab.write("two");
        assert_eq!(lab.cached(), None);
    }

    #[test]
    fn a_file_changed_just_now_or_dated_in_the_future_is_not_remembered() {
        let lab = Lab::new("one");
        // Its time of modification is old; that of change is not.
        lab.read(SETTLED);
        assert!(!lab.log().exists());
        lab.date(SystemTime::now() + Duration::from_secs(3600));
        lab.read(Duration::ZERO);
        assert!(!lab.log().exists());
    }

    #[test]
    fn what_is_no_file_in_the_place_of_the_log_gives_way() {
        let lab = Lab::new("one");
        let log = lab.log();
        let in_its_place: [&dyn Fn(); 3] = [
            &|| fs::create_dir_all(log.join("full")).unwrap(),
            &|| std::os::unix::fs::symlink("nowhere", &log).unwrap(),
            &|| assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success()),
        ];
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        for put in in_its_place {
            put();
            let read = lab.read(Duration::ZERO);
            assert_eq!(lab.cached(), Some(read));
            fs::remove_file(&log).unwrap();
        }
    }

    #[test]
    fn a_line_is_appended_only_when_it_says_something_new() {
        let lab = Lab::new("one");
        let digest_cache = lab.digest_cache(Duration::ZERO);
        for _ in 0..3 {
            digest_cache.read(&lab.file(), Algorithm::Blake3, &GO_ON).unwrap();
        }
        assert_eq!(fs::read_to_string(lab.log()).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_line_with_any_flipped_bit_is_forgotten() {
        let lab = Lab::new("one");
        lab.read(Duration::ZERO);
        let sound = fs::read(lab.log()).unwrap();
        for at in 0..sound.len() - 1 {
            for bit in 0..8 {
                let mut flipped = sound.clone();
                flipped[at] ^= 1 << bit;
                fs::write(lab.log(), &flipped).unwrap();
                assert_eq!(lab.cached(), None, "bit {bit} of byte {at}");
            }
        }
        fs::write(lab.log(), [b"blake3:00 1 2\n\xff\n", sound.as_slice()].concat()).unwrap();
        assert!(lab.cached().is_some());
    }
}
