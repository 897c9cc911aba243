//! The part of a download that is here already: a file beside the target, with the server's name for the version it
//! is a part of. Survives interruptions; locked while a process writes it, so that two do not write one file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::checksum::{Algorithm, Checksum, Hasher};
use super::read::heed;

pub(super) struct Partial {
    file: File,
    path: PathBuf,
    tag: PathBuf,
    algorithm: Algorithm,
    hasher: Hasher,
    /// Bytes here.
    pub done: u64,
    /// The bytes come from more than one answer of a server.
    pub pieced: bool,
}

impl Partial {
    /// Opens or begins the part of `target`; `None` while another process writes it.
    pub fn open(target: &Path, algorithm: Algorithm, interrupt: &AtomicBool) -> io::Result<Option<Self>> {
        if let Some(directory) = target.parent() {
            fs::create_dir_all(directory)?;
        }
        let beside = |suffix: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let path = beside(".part");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Its holder finished and renamed it between our opening and our locking.
        if fs::metadata(&path).map_or(true, |found| Some(found.ino()) != file.metadata().ok().map(|own| own.ino())) {
            return Ok(None);
        }
        let hasher = Hasher::new(algorithm);
        let mut partial = Self { file, path, tag: beside(".part.tag"), algorithm, hasher, done: 0, pieced: false };
        let mut buffer = vec![0; 1 << 16];
        loop {
            heed(interrupt)?;
            match partial.file.read(&mut buffer)? {
                0 => break,
                n => {
                    partial.hasher.update(&buffer[..n]);
                    partial.done += n as u64;
                }
            }
        }
        Ok(Some(partial))
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    /// Of what is here.
    pub fn checksum(&self) -> Checksum {
        self.hasher.clone().finish()
    }

    /// How the server at `url` named the version that this is a part of.
    pub fn version(&self, url: &str) -> Option<String> {
        let text = fs::read_to_string(&self.tag).ok()?;
        let (known, version) = text.split_once('\n')?;
        (known == url && !version.is_empty()).then(|| version.to_owned())
    }

    pub fn set_version(&self, url: &str, version: Option<&str>) -> io::Result<()> {
        match version {
            Some(version) => fs::write(&self.tag, format!("{url}\n{version}")),
            None => remove(&self.tag),
        }
    }

    /// Back to no bytes.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.hasher, self.done, self.pieced) = (Hasher::new(self.algorithm), 0, false);
        remove(&self.tag)
    }

    /// The bytes are the right ones: they become the target.
    pub fn finish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        // While the lock is held. A tag that stays behind does no harm.
        let _ = remove(&self.tag);
        fs::rename(&self.path, target)
    }

    /// Nothing is kept.
    pub fn discard(self) {
        // What cannot be removed is looked at again by the next attempt, and found wrong.
        let _ = remove(&self.tag).and_then(|()| remove(&self.path));
    }
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
