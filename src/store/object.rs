//! Objects: artifacts named by the digest of their bytes, as `objects/ab/abcd....parquet`. Never changed once named.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{OutputEntry, Store, StoreError, failure};
use crate::digest::Digest;

/// Files below this size are digested in one thread; above, rayon and a memory map pay.
const LARGE: u64 = 1 << 20;

/// Digest of the bytes of a file.
pub fn digest_file(path: &Path) -> Result<Digest, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let large = fs::metadata(path).map_err(failure("read", path))?.len() >= LARGE;
    if large { hasher.update_mmap_rayon(path) } else { hasher.update_mmap(path) }.map_err(failure("read", path))?;
    Ok(hasher.finalize().into())
}

impl Store {
    /// Where the object with this digest is, if it is there.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.sharded("objects", digest, "parquet")
    }

    /// Moves a file of the same file system into the store, as the artifact `name`. An identical object is kept;
    /// one that should be identical but is damaged is replaced. Durable only when an entry is committed that names it.
    pub fn put(&self, name: &str, file: &Path) -> Result<OutputEntry, StoreError> {
        let digest = digest_file(file)?;
        let found = super::columns::digests(file);
        let (rows, columns) = found.map_err(|error| failure("read", file)(std::io::Error::other(error)))?;
        let bytes = fs::metadata(file).map_err(failure("read", file))?.len();
        let output = OutputEntry { name: name.to_owned(), digest, rows, bytes, columns };
        let object = self.object_path(&digest);
        if !self.has_object(&output) || digest_file(&object)? != digest {
            self.rename(file, &object)?;
        }
        Ok(output)
    }

    /// Makes the bytes of an object durable.
    pub(super) fn sync_object(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.object_path(digest);
        File::open(&path).and_then(|file| file.sync_all()).map_err(failure("sync", &path))
    }

    /// Whether the object of an output is there with the right size. What its bytes are, [`Store::verify`] checks.
    pub fn has_object(&self, output: &OutputEntry) -> bool {
        fs::metadata(self.object_path(&output.digest)).is_ok_and(|metadata| metadata.len() == output.bytes)
    }
}
