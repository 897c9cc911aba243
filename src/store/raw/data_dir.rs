//! The data directory: the fixed path of each source below it, and how a file gets there (hard link, or copy).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::checksum::{Checksum, Hasher};
use super::read::{self, heed};

/// Longer names are cut: file systems take 255 bytes, and `.part.tag` may follow.
const NAME: usize = 200;

/// The place of a source below a directory of data: host and path of a URL, the path itself of a path. Never leads
/// out of the directory.
pub(super) fn path_of(source: &str) -> PathBuf {
    let Some((_, rest)) = source.split_once("://") else {
        let normal = Path::new(source).components().filter(|part| matches!(part, Component::Normal(_)));
        return normal.collect();
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A path must not hold a password.
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let segments: Vec<&str> = path.split('/').filter(|segment| !matches!(*segment, "" | "." | "..")).collect();
    let segments = if segments.is_empty() { vec!["index"] } else { segments };
    std::iter::once(host.as_str()).chain(segments).map(name).collect()
}

/// A segment with every character replaced that a file system may refuse.
fn name(segment: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "._-+=~,%@".contains(char);
    let clean: String = segment.chars().map(|char| if allowed(char) { char } else { '_' }).collect();
    if clean.len() <= NAME {
        return clean;
    }
    let digest = blake3::hash(segment.as_bytes()).to_hex();
    format!("{}-{}", &clean[..NAME - 17], &digest[..16])
}

/// Puts a file with the declared bytes to `target`, in one step: as a hard link, or a copy where that cannot be.
/// Answers with the digest of what came there, if it is another one; then nothing is kept.
pub(super) fn link_or_copy(
    from: &Path,
    target: &Path,
    declared: Checksum,
    interrupt: &AtomicBool,
) -> io::Result<Option<Checksum>> {
    let directory = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let new = tempfile::Builder::new().prefix(".taking-").tempdir_in(directory)?;
    let path = new.path().join("file");
    // Of a symbolic link, the link itself would be linked, which leads nowhere from another directory.
    let from = from.canonicalize()?;
    let found = match fs::hard_link(&from, &path) {
        Ok(()) => read::digest(&path, declared.algorithm, interrupt)?,
        Err(_) => copy(&from, &path, declared, interrupt)?,
    };
    if found != declared {
        return Ok(Some(found));
    }
    fs::rename(path, target)?;
    Ok(None)
}

/// Answers with the digest of what was copied.
fn copy(from: &Path, to: &Path, declared: Checksum, interrupt: &AtomicBool) -> io::Result<Checksum> {
    let (mut from, mut to) = (read::open(from)?, File::create_new(to)?);
    let mut hasher = Hasher::new(declared.algorithm);
    let mut buffer = vec![0; 1 << 16];
    loop {
        heed(interrupt)?;
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
    to.sync_all()?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_always_has_the_same_place_below_its_directory() {
        let cases = [
            ("https://Example.org/food/train.txt", "example.org/food/train.txt"),
            ("https://me:secret@example.org:8080/a/../b//c.csv?x=1#top", "example.org_8080/a/b/c.csv_x=1"),
            ("http://example.org", "example.org/index"),
            ("../food/./train.txt", "food/train.txt"),
            ("/abs/train.txt", "abs/train.txt"),
        ];
        for (source, place) in cases {
            assert_eq!(path_of(source), Path::new(place), "{source}");
        }
        let long = format!("https://example.org/{}", "x".repeat(5000));
        assert_eq!(path_of(&long).file_name().unwrap().len(), NAME);
        assert_ne!(path_of(&long), path_of(&format!("{long}x")));
    }

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn blake3(bytes: &[u8]) -> Checksum {
        format!("blake3:{}", blake3::hash(bytes).to_hex()).parse().unwrap()
    }

    #[test]
    fn a_file_is_linked_to_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, target) = (dir.path().join("from"), dir.path().join("a/b/to"));
        fs::write(&from, "bytes").unwrap();
        assert_eq!(link_or_copy(&from, &target, blake3(b"bytes"), &GO_ON).unwrap(), None);
        assert_eq!(fs::read_to_string(&target).unwrap(), "bytes");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_brings_the_file_that_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (mirror, target) = (dir.path().join("mirror"), dir.path().join("data/deep/to"));
        fs::create_dir(&mirror).unwrap();
        fs::write(dir.path().join("real"), "bytes").unwrap();
        std::os::unix::fs::symlink("../real", mirror.join("link")).unwrap();
        assert_eq!(link_or_copy(&mirror.join("link"), &target, blake3(b"bytes"), &GO_ON).unwrap(), None);
        assert!(fs::symlink_metadata(&target).unwrap().is_file());
        assert_eq!(fs::read_to_string(&target).unwrap(), "bytes");
    }

    #[test]
    fn other_bytes_are_not_put_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let (from, target) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "other").unwrap();
        assert_eq!(link_or_copy(&from, &target, blake3(b"bytes"), &GO_ON).unwrap(), Some(blake3(b"other")));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // The same where the file is copied.
        assert_eq!(copy(&from, &target, blake3(b"bytes"), &GO_ON).unwrap(), blake3(b"other"));
    }
}
