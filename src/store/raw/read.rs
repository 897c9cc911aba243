//! Reads raw files for their digests: regular files only, in parallel where the algorithm is a tree.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

use super::checksum::{Algorithm, Checksum, Hasher};

/// Bytes that a thread reads and digests at a time: few enough to stay in the processor's cache in between.
const LEAF: u64 = 1 << 18;
/// Bytes that are read at once where one thread digests all.
const PIECE: usize = 1 << 20;

/// The system copies a file's bytes three times as fast to where a line of the cache begins.
const LINE: usize = 64;

/// What lies at `path`, which must be a regular file, through links. Anything else may never end, or block.
pub(super) fn regular(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(path)?;
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(metadata),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a named pipe (FIFO)",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let message = format!("it is {what}, and a raw file must be a regular file: write what it holds to one");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Opens a regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    regular(path)?;
    // What is a pipe by now does not block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { regular(path).and(Err(changed())) }
}

/// Whether an interrupt has come, as an error.
pub(super) fn heed(interrupt: &AtomicBool) -> io::Result<()> {
    if interrupt.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}

/// Digests a whole file. An interrupt ends that with an error of its kind.
pub fn digest(path: &Path, algorithm: Algorithm, interrupt: &AtomicBool) -> io::Result<Checksum> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let reading = Reading { file: &file, interrupt };
    let bytes = match algorithm {
        Algorithm::Blake3 => *reading.root(length)?.as_bytes(),
        Algorithm::Sha256 => reading.in_order(length)?.bytes,
    };
    // Files that the kernel makes up as they are read have no size; the digest would be that of nothing.
    if file.read_at(&mut [0], length)? > 0 || file.metadata()?.len() != length {
        return Err(changed());
    }
    Ok(Checksum { algorithm, bytes })
}

fn changed() -> io::Error {
    io::Error::other("it changed while it was read, or is no file on a disk")
}

struct Reading<'a> {
    file: &'a File,
    interrupt: &'a AtomicBool,
}

/// A map of the file would be as fast, but counts as memory of this process, and ends it with a signal if the file is
/// cut meanwhile.
impl Reading<'_> {
    fn root(&self, length: u64) -> io::Result<blake3::Hash> {
        if length <= LEAF {
            return Ok(self.leaf(0, length)?.finalize());
        }
        let (left, right) = self.halves(0, length)?;
        Ok(hazmat::merge_subtrees_root(&left, &right, Mode::Hash))
    }

    fn halves(&self, start: u64, length: u64) -> io::Result<(ChainingValue, ChainingValue)> {
        let left = hazmat::left_subtree_len(length);
        let (left, right) = rayon::join(|| self.subtree(start, left), || self.subtree(start + left, length - left));
        Ok((left?, right?))
    }

    fn subtree(&self, start: u64, length: u64) -> io::Result<ChainingValue> {
        if length <= LEAF {
            return Ok(self.leaf(start, length)?.finalize_non_root());
        }
        let (left, right) = self.halves(start, length)?;
        Ok(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash))
    }

    fn leaf(&self, start: u64, length: u64) -> io::Result<blake3::Hasher> {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        heed(self.interrupt)?;
        BUFFER.with_borrow_mut(|buffer| {
            let bytes = &mut at_line(buffer, LEAF as usize)[..length as usize];
            self.file.read_exact_at(bytes, start).map_err(cut)?;
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(start).update(bytes);
            Ok(hasher)
        })
    }

    /// One piece is read while the one before is digested.
    fn in_order(&self, length: u64) -> io::Result<Checksum> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut file = self.file;
        let (mut full, mut empty) = (Vec::new(), Vec::new());
        let (mut count, mut done) = (file.read(at_line(&mut full, PIECE))?, 0);
        while count > 0 {
            heed(self.interrupt)?;
            done += count as u64;
            let digested = &at_line(&mut full, PIECE)[..count];
            let (next, ()) = rayon::join(|| file.read(at_line(&mut empty, PIECE)), || hasher.update(digested));
            count = next?;
            std::mem::swap(&mut full, &mut empty);
        }
        if done == length { Ok(hasher.finish()) } else { Err(changed()) }
    }
}

/// As many bytes of a buffer, which grows to hold them, from the beginning of a line of the cache.
fn at_line(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    buffer.resize(length + LINE, 0);
    let start = buffer.as_ptr().align_offset(LINE) % LINE;
    &mut buffer[start..start + length]
}

fn cut(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { changed() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    #[test]
    fn digests_are_those_of_a_slice_at_every_size_around_the_edges_of_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        let bytes: Vec<u8> = (0..3 * LEAF as usize + 5000).map(|at| (at * at % 251) as u8).collect();
        for leaves in 0..=3 {
            for beyond in [0, 1, 1023, 1024, 1025, 5000] {
                let bytes = &bytes[..leaves * LEAF as usize + beyond];
                fs::write(&path, bytes).unwrap();
                let blake3 = digest(&path, Algorithm::Blake3, &GO_ON).unwrap();
                assert_eq!(blake3.bytes, *blake3::hash(bytes).as_bytes(), "{leaves} leaves and {beyond} bytes");
                let mut hasher = Hasher::new(Algorithm::Sha256);
                hasher.update(bytes);
                assert_eq!(digest(&path, Algorithm::Sha256, &GO_ON).unwrap(), hasher.finish());
            }
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
        for (name, what) in [("pipe", "named pipe"), ("socket", "socket"), ("zero", "device"), (".", "directory")] {
            for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
                let error = digest(&at(name), algorithm, &GO_ON).unwrap_err().to_string();
                assert!(error.contains(what) && error.contains("must be a regular file"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn a_file_that_the_kernel_makes_up_has_no_digest() {
        for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
            assert!(digest(Path::new("/proc/self/status"), algorithm, &GO_ON).is_err());
        }
    }

    #[test]
    fn an_interrupt_ends_a_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        fs::write(&path, "bytes").unwrap();
        for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
            let error = digest(&path, algorithm, &AtomicBool::new(true)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
    }
}
