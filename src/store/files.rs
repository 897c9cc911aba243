//! Files of the cache directory: written in full or not at all, listed, and removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Store, StoreError, failure};

/// How temporary names begin. They are random, since numbers of processes are the same in several containers.
const TEMPORARY: &str = ".tmp";

impl Store {
    /// Writes a file so that it is either there in full or not at all, even after a power cut.
    pub(crate) fn write_atomic(
        &self,
        path: &Path,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        self.write(path, |file| write(file).and_then(|()| file.sync_all()))
    }

    /// Writes a file so that nobody sees a part of it. After a power cut it may be there without its content.
    pub(crate) fn write(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
        let area = self.dir().join("tmp");
        let make = || new_file(&area);
        let (mut file, _) = retry_in_new_dir(&area.join(TEMPORARY), make).map_err(failure("write", &area))?;
        write(file.as_file_mut()).map_err(failure("write", path))?;
        self.rename(file.path(), path)?;
        // It has another name now; there is nothing to remove.
        let _ = file.into_temp_path().keep();
        Ok(())
    }

    /// Moves a complete file to its name; answers false when that took a copy, because the name is on another file system.
    /// A directory in its place, which no version of this program makes, gives way.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<bool, StoreError> {
        let rename = || match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                fs::remove_dir_all(to).and_then(|()| fs::rename(from, to)).map(|()| true)
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(from, to).map(|()| false),
            result => result.map(|()| true),
        };
        let (whole, new) = retry_in_new_dir(to, rename).map_err(failure("write", to))?;
        // With a new directory its own name, and those above, are new.
        let directories = to.ancestors().skip(1).take_while(|directory| directory.starts_with(self.dir()));
        self.unsynced().extend(directories.take(if new { usize::MAX } else { 1 }).map(Path::to_owned));
        Ok(whole)
    }
}

/// The content of a regular file. Whatever else lies in its place (a pipe would never end) is an error.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    check_regular(&file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As [`read`], of a text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Removes what lies in the place of a file and is none, which no version of this program makes: a directory, a pipe.
pub(super) fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(found) if !found.is_file() && !fs::metadata(path).is_ok_and(|file| file.is_file()) => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn check_regular(file: &File) -> io::Result<()> {
    let is_file = file.metadata()?.is_file();
    if is_file { Ok(()) } else { Err(io::Error::new(io::ErrorKind::IsADirectory, "it is no regular file")) }
}

/// A file that nobody else has, in a directory that must be there. Others may read it, as any new file.
fn new_file(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    let permissions: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions).tempfile_in(directory)
}

/// As a rename, but the bytes go to the file system of the target.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = new_file(to.parent().unwrap_or(Path::new(".")))?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.as_file().sync_all()?;
    file.persist(to)?;
    fs::remove_file(from)
}

/// Whether a file was being written when its writer was killed.
pub(super) fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
}

/// Creates the parent of `path` only when doing without fails, which is rare; answers whether it did.
pub(super) fn retry_in_new_dir<T>(path: &Path, attempt: impl Fn() -> io::Result<T>) -> io::Result<(T, bool)> {
    match attempt() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            attempt().map(|done| (done, true))
        }
        result => result.map(|done| (done, false)),
    }
}

/// All files two levels below a directory; none when it is missing.
pub(super) fn walk(area: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for shard in list(area)? {
        files.extend(list(&shard)?);
    }
    Ok(files)
}

/// What a directory contains, sorted; nothing when it is missing or is a file.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
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
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir_all(path).map_err(failure("remove", path))
    } else {
        remove_file(path).map(|_| ())
    }
}

/// Removes a file that may be gone already; answers whether it was there.
pub(super) fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure("remove", path)(error)),
    }
}

/// Time since the last change; zero when the file is gone or its time lies ahead.
pub(super) fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}
