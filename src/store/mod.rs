//! The cache: content-addressed objects, the index from stage keys to outputs, locks, and the Parquet reader and
//! writer.
//!
//! Every file appears by renaming a complete temporary file, and the index entry comes last, once its objects are
//! durable; so a crash at any instant leaves a cache that the next run can use.

mod column_reuse;
pub mod columns;
mod derived;
mod entry;
mod files;
mod gc;
mod last_keys;
mod lock;
mod object;
pub mod parquet;
pub mod raw;
mod staging;
mod verify;
mod write_back;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

pub use entry::{Entry, Origin, OutputEntry};
pub use gc::{GcOptions, GcReport};
pub use last_keys::{LastKeys, PipelineId};
pub use lock::{KeyLock, StoreLock};
pub use staging::Staging;
pub use verify::{Damage, VerifyReport};

use files::{age, list, remove, remove_file, retry_in_new_dir};
pub(crate) use files::{read, read_text};
use raw::Stat;

use crate::digest::Digest;

/// Version of the layout of the cache directory.
const FORMAT: &str = "1";

/// The cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {verb} `{}`: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` is damaged: {reason}; the next run makes it anew, and `cnsdiff-pipe cache verify` looks for more of this kind", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the cache `{}` has format {found:?}, this version reads format {FORMAT}; name another with --cache", path.display())]
    Format { path: PathBuf, found: String },
    #[error("the cache `{}` is in use by another run; try again when it has ended", path.display())]
    Busy { path: PathBuf },
}

impl StoreError {
    /// The cache, or a part of it, can be read but not written.
    pub fn is_read_only(&self) -> bool {
        self.is(&[io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied])
    }

    fn is_missing(&self) -> bool {
        self.is(&[io::ErrorKind::NotFound])
    }

    fn is(&self, kinds: &[io::ErrorKind]) -> bool {
        matches!(self, Self::Io { source, .. } if kinds.contains(&source.kind()))
    }
}

/// A folder has come into the place of a file; removes it if nothing is lost.
fn is_empty_folder(error: &io::Error, path: &Path) -> bool {
    error.kind() == io::ErrorKind::IsADirectory && fs::remove_dir(path).is_ok()
}

fn failure<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { verb, path: path.to_owned(), source }
}

/// A cache directory. Cheap to share between threads; several processes may use one directory at a time.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Objects that were digested, and what their files were then.
    sound: Mutex<HashMap<Digest, Stat>>,
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
        let store = Self { dir, sound: Mutex::default(), unsynced: Mutex::default() };
        let format = store.dir.join("format");
        match files::read_text(&format) {
            Ok(found) if found.trim() == FORMAT => {}
            Ok(found) => return Err(StoreError::Format { path: store.dir, found: found.trim().to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_empty_folder(&error, &format) => {
                let written = store.write_atomic(&format, |file| file.write_all(format!("{FORMAT}\n").as_bytes()));
                // Another process may open the new cache, too, and clean it up.
                written.or_else(|error| if format.is_file() { Ok(()) } else { Err(error) })?;
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

    fn unsynced(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sound(&self) -> MutexGuard<'_, HashMap<Digest, Stat>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
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
}

#[cfg(test)]
mod tests;
