//! Objects: artifacts named by the digest of their bytes, as `objects/ab/abcd....parquet`. Never changed once named. Whoever
//! reads one asks [`Store::sound_object`] for its path, which answers only once its bytes are known to be the right ones.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::raw::{self, Algorithm, Stat};
use super::{OutputEntry, Store, StoreError, failure};
use crate::digest::Digest;

/// What tells that a file, or whatever lies in its place, is still the one that was digested.
fn stat(path: &Path) -> io::Result<Stat> {
    fs::metadata(path).map(|metadata| Stat::from(&metadata))
}

/// Digest of the bytes of a file.
pub fn digest_file(path: &Path) -> Result<Digest, StoreError> {
    digest(path).map_err(failure("read", path))
}

fn digest(path: &Path) -> io::Result<Digest> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is no regular file"));
    }
    raw::digest(path, Algorithm::Blake3).map(|checksum| Digest::from(blake3::Hash::from_bytes(checksum.bytes)))
}

/// What is wrong with a file that gives this error, unless the error is about this process or machine.
pub(super) fn damage(error: &io::Error) -> Option<String> {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound => Some("it is missing".to_owned()),
        IsADirectory | NotADirectory => Some("it is no regular file".to_owned()),
        PermissionDenied => Some(format!("it cannot be read: {error}")),
        _ if matches!(error.raw_os_error(), Some(libc::EIO | libc::ELOOP)) => {
            Some(format!("it cannot be read: {error}"))
        }
        _ => None,
    }
}

/// Checks that a file has the digest that its name promises; answers its size.
pub(super) fn check(path: &Path, named: &Digest) -> io::Result<Result<u64, String>> {
    let checked = digest(path).and_then(|found| Ok((found, fs::metadata(path)?.len())));
    match checked {
        Ok((found, bytes)) if found == *named => Ok(Ok(bytes)),
        Ok(_) => Ok(Err("its content does not fit its name".to_owned())),
        Err(error) => damage(&error).map(Err).ok_or(error),
    }
}

impl Store {
    /// Where the object with this digest is, if it is there. To read it, ask [`Store::sound_object`].
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.sharded("objects", digest, "parquet")
    }

    /// Where an object is, whose bytes have the digest that its name promises: digested here, or before by this process
    /// if the file has not changed since. A damaged object is removed, so that it counts as absent, and with it the
    /// entries that may have been computed from the damage.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is missing or damaged.
    pub fn sound_object(&self, named: &Digest) -> Result<PathBuf, StoreError> {
        let path = self.object_path(named);
        loop {
            let before = stat(&path);
            if before.as_ref().is_ok_and(|stat| self.sound().get(named) == Some(stat)) {
                return Ok(path);
            }
            let checked = check(&path, named).map_err(failure("read", &path))?;
            let after = stat(&path);
            // Another run may have replaced it meanwhile.
            if before.as_ref().ok() != after.as_ref().ok() {
                continue;
            }
            return match (checked, after) {
                (Ok(_), Ok(stat)) => {
                    self.sound().insert(*named, stat);
                    Ok(path)
                }
                (checked, after) => {
                    if let Ok(stat) = after {
                        self.discard(named, &path, stat)?;
                    }
                    let reason = checked.err().unwrap_or_else(|| "it is missing".to_owned());
                    Err(StoreError::Damaged { path, reason })
                }
            };
        }
    }

    /// Removes a damaged object. It goes through another name, so that what a run beside this one puts in its place in the
    /// same instant is not removed. In a cache that can only be read it stays.
    fn discard(&self, digest: &Digest, path: &Path, damaged: Stat) -> Result<(), StoreError> {
        let aside = || -> io::Result<()> {
            let folder = tempfile::tempdir_in(path.parent().unwrap_or(self.dir()))?;
            let moved = folder.path().join("damaged");
            fs::rename(path, &moved)?;
            if !damaged.is_file_of(&fs::metadata(&moved)?) {
                // If another run has put it back already, nothing needs to be done.
                let _ = fs::hard_link(&moved, path);
            }
            Ok(())
        };
        let discarded = self.forget_derived(digest).and_then(|()| aside().map_err(failure("remove", path)));
        discarded.or_else(|error| if error.is_read_only() || error.is_missing() { Ok(()) } else { Err(error) })
    }

    /// Moves a file of the same file system into the store, as the artifact `name`. An identical object is kept;
    /// one that should be identical but is damaged is replaced. Durable only when an entry is committed that names it.
    pub fn put(&self, name: &str, file: &Path) -> Result<OutputEntry, StoreError> {
        let digest = digest_file(file)?;
        let found = super::columns::digests(file);
        let (rows, columns) = found.map_err(|error| failure("read", file)(io::Error::other(error)))?;
        let bytes = fs::metadata(file).map_err(failure("read", file))?.len();
        if self.sound_object(&digest).is_err() {
            let object = self.object_path(&digest);
            let whole = self.rename(file, &object)?;
            // A copy is digested when it is read.
            if let (true, Ok(stat)) = (whole, stat(&object)) {
                self.sound().insert(digest, stat);
            }
        }
        Ok(OutputEntry { name: name.to_owned(), digest, rows, bytes, columns })
    }

    /// Makes the bytes of an object durable.
    pub(super) fn sync_object(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.object_path(digest);
        File::open(&path).and_then(|file| file.sync_all()).map_err(failure("sync", &path))
    }

    /// Whether the object of an output is there with the right size: what a run asks of objects that it does not read.
    pub fn has_object(&self, output: &OutputEntry) -> bool {
        let metadata = fs::metadata(self.object_path(&output.digest));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == output.bytes)
    }
}
