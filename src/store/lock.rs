//! Locks between runs, in this process or others. The operating system releases them when their holder dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Store, StoreError, failure, retry_in_new_dir};
use crate::digest::Digest;

/// The right to execute one key; ends when dropped.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _file: File,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // The name goes while the lock is still held; whoever opened the file before sees that it has no name
        // any more. A name that cannot be removed does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// The right to use the store: shared by runs, exclusive for what removes things.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "held for its lock")] File);

impl Store {
    /// Takes the lock of a key, or answers `None` when someone else holds it.
    pub fn try_lock(&self, key: &Digest) -> Result<Option<KeyLock>, StoreError> {
        let path = self.dir().join("locks").join(key.to_string());
        loop {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failure("lock", &path)(error)),
            }
            // Its holder removed the name between our opening and our locking: the lock is worth nothing.
            if file.metadata().map_err(failure("lock", &path))?.nlink() > 0 {
                return Ok(Some(KeyLock { path, _file: file }));
            }
        }
    }

    /// Keeps [`Store::gc`] and repairs out while a run uses the store. Waits for them to end.
    pub fn share(&self) -> Result<StoreLock, StoreError> {
        let path = self.dir().join("lock");
        let file = open(&path)?;
        file.lock_shared().map_err(failure("lock", &path))?;
        Ok(StoreLock(file))
    }

    /// Keeps everyone else out; fails at once when the store is in use.
    pub(super) fn exclusive(&self) -> Result<StoreLock, StoreError> {
        let path = self.dir().join("lock");
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(StoreLock(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { path: self.dir().to_owned() }),
            Err(TryLockError::Error(error)) => Err(failure("lock", &path)(error)),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let create = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
    retry_in_new_dir(path, create).map_err(failure("open", path))
}
