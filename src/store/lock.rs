//! Locks between runs, in this process or others. The operating system releases them when their holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::files::{check_regular, make_way};
use super::{Store, StoreError, failure, remove, retry_in_new_dir};
use crate::digest::Digest;

/// The right to execute one key; ends when dropped.
#[derive(Debug)]
pub struct KeyLock(#[expect(dead_code, reason = "held for its lock")] File);

/// The right to use the store: shared by runs, exclusive for what removes things. There is none to be had in a cache that
/// can only be read and was never locked.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "held for its lock")] Option<File>);

impl Store {
    /// Takes the lock of a key, or answers `None` when someone else holds it. All keys are bytes of one file, which
    /// stays empty; a file per key would have to be made and removed at each execution.
    pub fn try_lock(&self, key: &Digest) -> Result<Option<KeyLock>, StoreError> {
        self.lock_byte(key, libc::F_OFD_SETLK)
    }

    /// Waits for the lock of a key, which must be held for moments only.
    pub(super) fn lock(&self, key: &Digest) -> Result<Option<KeyLock>, StoreError> {
        self.lock_byte(key, libc::F_OFD_SETLKW)
    }

    fn lock_byte(&self, key: &Digest, command: libc::c_int) -> Result<Option<KeyLock>, StoreError> {
        let path = self.dir().join("locks").join("keys");
        let file = open(&path)?;
        let locked = lock_byte(&file, place(key), command).map_err(failure("lock", &path))?;
        Ok(locked.then_some(KeyLock(file)))
    }

    /// Keeps [`Store::gc`] and repairs out while a run uses the store. Waits for them to end.
    pub fn share(&self) -> Result<StoreLock, StoreError> {
        let path = self.dir().join("lock");
        let file = match open(&path) {
            // A shared lock needs no right to write.
            Err(error) if error.is_read_only() => match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoreLock(None)),
                Err(error) => return Err(failure("open", &path)(error)),
            },
            opened => {
                let file = opened?;
                if file.try_lock().is_ok() {
                    // Nobody else is here: what lies there was left by a run that was killed.
                    self.remove_staging()?;
                    let keys = self.dir().join("locks").join("keys");
                    make_way(&keys).map_err(failure("remove", &keys))?;
                    file.unlock().map_err(failure("unlock", &path))?;
                }
                file
            }
        };
        file.lock_shared().map_err(failure("lock", &path))?;
        Ok(StoreLock(Some(file)))
    }

    /// Keeps everyone else out; fails at once when the store is in use.
    pub(super) fn exclusive(&self) -> Result<StoreLock, StoreError> {
        let path = self.dir().join("lock");
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(StoreLock(Some(file))),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { path: self.dir().to_owned() }),
            Err(TryLockError::Error(error)) => Err(failure("lock", &path)(error)),
        }
    }

    /// Removes the whole cache directory. Fails when a run uses it.
    pub fn destroy(self) -> Result<(), StoreError> {
        let _lock = self.exclusive()?;
        remove(self.dir())
    }
}

/// Two keys that share a place, which 2^62 of them make unlikely, wait for each other and do no other harm.
fn place(key: &Digest) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h & 0x3f])
}

/// Locks a byte, which need not be there, for as long as the file is open; answers false when it is locked through
/// another opening of the file and `command` does not wait. The standard library locks whole files only.
fn lock_byte(file: &File, place: i64, command: libc::c_int) -> io::Result<bool> {
    let range = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: place,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is open, and these commands read one `flock`, which `range` is.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &range) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => return Ok(false),
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    // A pipe would wait for somebody to read it.
    let options =
        || OpenOptions::new().create(true).truncate(false).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let opened = retry_in_new_dir(path, options).and_then(|(file, _)| check_regular(&file).map(|()| file));
    opened.map_err(failure("open", path))
}
