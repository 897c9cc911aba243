//! The cache: content-addressed objects, the index from stage keys to outputs, locks, and the Parquet reader and
//! writer. Knows nothing of what artifacts mean.
//!
//! Every file appears by renaming a complete temporary file, and the index entry comes last, once its objects are
//! durable; so a crash at any instant leaves a cache that the next run can use.

pub mod columns;
mod entry;
mod forget;
mod gc;
mod lock;
mod object;
pub mod parquet;
mod previous;
pub mod raw;
mod repeat;
mod staging;
mod verify;
mod write_back;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

pub use entry::{Entry, Origin, OutputEntry};
pub use gc::{GcOptions, GcReport};
pub use lock::{KeyLock, StoreLock};
pub use staging::Staging;
pub use verify::{Damage, VerifyReport};

use crate::digest::Digest;

/// Version of the layout of the cache directory.
const FORMAT: &str = "1";

/// The cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {verb} `{}`: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` is damaged: {reason}; `cnsdiff-pipe cache verify --repair` removes what is damaged, and the next run makes it anew", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the cache `{}` has format {found:?}, this version reads format {FORMAT}; name another with --cache", path.display())]
    Format { path: PathBuf, found: String },
    #[error("the cache `{}` is in use by another run; try again when it has ended", path.display())]
    Busy { path: PathBuf },
}

fn failure<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { verb, path: path.to_owned(), source }
}

/// A cache directory. Cheap to share between threads; several processes may use one directory at a time.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Distinguishes temporary names within this process.
    counter: AtomicU64,
    /// Directories with new names that [`Store::sync`] has not yet made durable.
    unsynced: Mutex<BTreeSet<PathBuf>>,
}

impl Store {
    /// Opens a cache directory, which is created when missing.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(failure("create", &dir))?;
        // Absolute, because workers and published links may see it from another directory.
        let dir = std::path::absolute(&dir).map_err(failure("find", &dir))?;
        let store = Self { dir, counter: AtomicU64::new(0), unsynced: Mutex::default() };
        let format = store.dir.join("format");
        match fs::read_to_string(&format) {
            Ok(found) if found.trim() == FORMAT => {}
            Ok(found) => return Err(StoreError::Format { path: store.dir, found: found.trim().to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store.write_atomic(&format, |file| io::Write::write_all(file, format!("{FORMAT}\n").as_bytes()))?;
            }
            Err(error) => return Err(failure("read", &format)(error)),
        }
        Ok(store)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where provenance records of runs are kept.
    pub fn runs_dir(&self) -> PathBuf {
        self.dir.join("runs")
    }

    /// The log of the last execution of a key. There is none when the stage said nothing.
    pub fn log_path(&self, key: &Digest) -> PathBuf {
        self.sharded("logs", key, "log")
    }

    /// Survives an interrupted execution of the key: the place for checkpoints.
    pub fn scratch_dir(&self, key: &Digest) -> PathBuf {
        self.dir.join("scratch").join(key.to_string())
    }

    /// Makes the names of everything written so far durable. The contents already are.
    pub fn sync(&self) -> Result<(), StoreError> {
        let directories = std::mem::take(&mut *self.unsynced());
        // Side by side: the disk takes several in the time of one.
        directories.par_iter().try_for_each(|directory| {
            File::open(directory).and_then(|file| file.sync_all()).map_err(failure("sync", directory))
        })
    }

    fn unsynced(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.unsynced.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// `<dir>/<area>/ab/abcd....<extension>`
    fn sharded(&self, area: &str, digest: &Digest, extension: &str) -> PathBuf {
        let name = digest.to_string();
        let mut path = PathBuf::with_capacity(self.dir.as_os_str().len() + area.len() + name.len() + 16);
        path.push(&self.dir);
        path.push(area);
        path.push(&name[..2]);
        path.push(format!("{name}.{extension}"));
        path
    }

    /// Writes a file so that it is either there in full or not at all, even after a power cut.
    pub(crate) fn write_atomic(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let tmp = self.dir.join("tmp");
        let temporary = tmp.join(format!("{}-{}", std::process::id(), self.counter.fetch_add(1, Ordering::Relaxed)));
        let mut file =
            retry_in_new_dir(&temporary, || File::create(&temporary)).map_err(failure("write", &temporary))?;
        write(&mut file).and_then(|()| file.sync_all()).map_err(failure("write", &temporary))?;
        self.rename(&temporary, path)
    }

    /// Moves a complete file to its name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        retry_in_new_dir(to, || fs::rename(from, to)).map_err(failure("write", to))?;
        if let Some(parent) = to.parent() {
            self.unsynced().insert(parent.to_owned());
        }
        Ok(())
    }
}

/// Creates the parent of `path` only when doing without fails, which is rare.
fn retry_in_new_dir<T>(path: &Path, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match attempt() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            attempt()
        }
        result => result,
    }
}

/// All files two levels below a directory; none when it is missing.
fn walk(area: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for shard in list(area)? {
        files.extend(list(&shard)?);
    }
    Ok(files)
}

/// What a directory contains, sorted; nothing when it is missing or is a file.
fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failure("list", directory)(error)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failure("list", directory))?;
    paths.sort_unstable();
    Ok(paths)
}

/// Removes a directory with all that it contains, or a file.
fn remove(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        fs::remove_dir_all(path).map_err(failure("remove", path))
    } else {
        remove_file(path).map(|_| ())
    }
}

/// Removes a file that may be gone already; answers whether it was there.
fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests;
