//! Remembers the digest of each raw file by (path, size, modification time, inode), as git's index does, so that a
//! file is read once and not at every run.
//!
//! One text line per digest, appended with a single write; of several lines for a path the last one counts. Losing
//! or damaging the file costs a re-read of the raw files and nothing else.

use std::collections::HashMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::checksum::{Algorithm, Checksum};

/// A file changed this recently may change again within the same time stamp, so it is not remembered.
const SETTLED: Duration = Duration::from_secs(2);

type Known = HashMap<(PathBuf, Algorithm), (Stat, Checksum)>;

pub struct Remembered {
    log: PathBuf,
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stat {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
    inode: u64,
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            inode: metadata.ino(),
        }
    }
}

impl Remembered {
    /// Lines are kept in the file `log`, which is read at the first question.
    pub fn new(log: PathBuf) -> Self {
        Self { log, known: Mutex::new(None) }
    }

    /// The digest of a file: remembered, or computed and remembered.
    pub fn digest(&self, path: &Path, algorithm: Algorithm) -> io::Result<Checksum> {
        let path = std::path::absolute(path)?;
        let metadata = fs::metadata(&path)?;
        let stat = Stat::of(&metadata);
        let key = (path, algorithm);
        if let Some((_, checksum)) = self.with(|known| known.get(&key).copied()).filter(|(then, _)| *then == stat) {
            return Ok(checksum);
        }
        let checksum = algorithm.digest(&key.0)?;
        // Only if it stood still meanwhile.
        let after = fs::metadata(&key.0)?;
        let settled = SystemTime::now().duration_since(after.modified()?).is_ok_and(|age| age >= SETTLED);
        if settled && Stat::of(&after) == stat {
            // A cache that cannot be written only costs time.
            let _ = self.append(&key.0, stat, checksum);
            self.with(|known| known.insert(key, (stat, checksum)));
        }
        Ok(checksum)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(known.get_or_insert_with(|| {
            fs::read_to_string(&self.log).unwrap_or_default().lines().filter_map(parse).collect()
        }))
    }

    fn append(&self, path: &Path, stat: Stat, checksum: Checksum) -> io::Result<()> {
        let Some(path) = path.to_str().filter(|path| !path.contains('\n')) else { return Ok(()) };
        let Stat { size, seconds, nanoseconds, inode } = stat;
        let line = format!("{checksum} {size} {seconds} {nanoseconds} {inode} {path}\n");
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().create(true).append(true).open(&self.log)?.write_all(line.as_bytes())
    }
}

fn parse(line: &str) -> Option<((PathBuf, Algorithm), (Stat, Checksum))> {
    let mut fields = line.splitn(6, ' ');
    let checksum: Checksum = fields.next()?.parse().ok()?;
    let stat = Stat {
        size: fields.next()?.parse().ok()?,
        seconds: fields.next()?.parse().ok()?,
        nanoseconds: fields.next()?.parse().ok()?,
        inode: fields.next()?.parse().ok()?,
    };
    Some(((PathBuf::from(fields.next()?), checksum.algorithm), (stat, checksum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) {
        let then = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_settled_file_is_read_once_and_again_when_its_stat_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("a b.txt"), dir.path().join("cache/raw/digests"));
        fs::write(&file, "one").unwrap();
        age(&file, 60);
        let first = Remembered::new(log.clone()).digest(&file, Algorithm::Blake3).unwrap();

        // Same size, same time, same inode: what was remembered is taken, which shows that nothing was read.
        let stamp = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(stamp).unwrap();
        assert_eq!(Remembered::new(log.clone()).digest(&file, Algorithm::Blake3).unwrap(), first);

        age(&file, 30);
        let second = Remembered::new(log).digest(&file, Algorithm::Blake3).unwrap();
        assert_eq!(second.bytes, *blake3::hash(b"two").as_bytes());
    }

    #[test]
    fn a_file_changed_just_now_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("a"), dir.path().join("digests"));
        fs::write(&file, "one").unwrap();
        Remembered::new(log.clone()).digest(&file, Algorithm::Sha256).unwrap();
        assert!(!log.exists());
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("a"), dir.path().join("digests"));
        fs::write(&file, "one").unwrap();
        fs::write(&log, "blake3:00 1 2\n\u{fffd}\n").unwrap();
        let found = Remembered::new(log).digest(&file, Algorithm::Blake3).unwrap();
        assert_eq!(found.bytes, *blake3::hash(b"one").as_bytes());
    }
}
