//! Folders in which stages write their outputs before these are put into the store. A run reuses its folders: making
//! and removing one costs as much as a small stage, and more on a file system that keeps freed inodes unused for
//! minutes and skips them whenever a file is made (ext4 without a journal).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::{Store, StoreError, failure, list, remove};

/// The folders of one run, which are removed with it.
#[derive(Debug)]
pub struct Staging {
    area: PathBuf,
    idle: Mutex<Vec<TempDir>>,
}

impl Store {
    /// Folders for a run, which must hold the lock of [`Store::share`].
    pub fn staging(&self) -> Staging {
        Staging { area: self.staging_area(), idle: Mutex::default() }
    }

    /// What runs that were killed left. Only for who knows that no run uses the store.
    pub(super) fn remove_staging(&self) -> Result<(), StoreError> {
        empty(&self.staging_area())
    }

    fn staging_area(&self) -> PathBuf {
        self.dir().join("staging")
    }
}

impl Staging {
    /// An empty folder, for one execution. It is removed when dropped, unless it is given back.
    pub fn take(&self) -> Result<TempDir, StoreError> {
        let idle = self.idle().pop();
        let make = || fs::create_dir_all(&self.area).and_then(|()| tempfile::tempdir_in(&self.area));
        idle.map_or_else(make, Ok).map_err(failure("create a folder in", &self.area))
    }

    /// Keeps a folder for the next execution, without what was left in it.
    pub fn give_back(&self, folder: TempDir) {
        // One that cannot be emptied is not used again.
        if empty(folder.path()).is_ok() {
            self.idle().push(folder);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<TempDir>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(folder: &Path) -> Result<(), StoreError> {
    list(folder)?.iter().try_for_each(|path| remove(path))
}
