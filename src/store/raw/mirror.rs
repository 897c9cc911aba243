//! Searches mirrors: directories of copies whose files are identified by their bytes, whatever their names.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use walkdir::{DirEntry, WalkDir};

use super::read::heed;

/// The regular files below a directory, through links; each once, by whatever path it is reached first. Files whose
/// path ends like the source's come first, so that the usual mirror is not digested whole. What cannot be read is
/// passed over.
pub(super) fn candidates(mirror: &Path, source: &str, interrupt: &AtomicBool) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    // A directory that is reached twice, or from within itself, is looked at once.
    let mut first = |entry: &DirEntry| {
        let file = std::fs::metadata(entry.path());
        file.is_ok_and(|file| (file.is_file() || file.is_dir()) && seen.insert((file.dev(), file.ino())))
    };
    let walk = WalkDir::new(mirror).follow_links(true).sort_by_file_name().into_iter();
    let mut files: Vec<PathBuf> = walk
        .filter_entry(|entry| first(entry))
        .take_while(|_| heed(interrupt).is_ok())
        .filter_map(|entry| entry.ok().filter(|entry| entry.file_type().is_file()))
        .map(DirEntry::into_path)
        .collect();
    let common_end = |path: &Path| {
        let mut parts = source.rsplit('/');
        path.components().rev().take_while(|part| parts.next().is_some_and(|name| part.as_os_str() == name)).count()
    };
    files.sort_by_cached_key(|path| (std::cmp::Reverse(common_end(path)), path.clone()));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(mirror: &Path, source: &str) -> Vec<String> {
        let found = candidates(mirror, source, &AtomicBool::new(false));
        found.iter().map(|path| path.strip_prefix(mirror).unwrap().display().to_string()).collect()
    }

    #[test]
    fn cycles_of_links_end_and_each_file_comes_once() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = dir.path().join("mirror");
        fs::create_dir_all(mirror.join("deep")).unwrap();
        fs::write(mirror.join("deep/a"), "a").unwrap();
        for name in ["one", "two", "three"] {
            symlink(".", mirror.join(name)).unwrap();
            symlink("..", mirror.join("deep").join(name)).unwrap();
        }
        symlink("nothing", mirror.join("dangling")).unwrap();
        symlink("itself", mirror.join("itself")).unwrap();
        fs::hard_link(mirror.join("deep/a"), mirror.join("b")).unwrap();
        assert_eq!(names(&mirror, "x"), ["b"]);
    }

    #[test]
    fn a_chain_of_doubled_links_is_walked_once() {
        // 2^40 paths lead to the file.
        let dir = tempfile::tempdir().unwrap();
        for level in 0..40 {
            let own = dir.path().join(format!("{level:02}"));
            fs::create_dir(&own).unwrap();
            for name in ["left", "right"] {
                symlink(format!("../{:02}", level + 1), own.join(name)).unwrap();
            }
        }
        fs::create_dir(dir.path().join("40")).unwrap();
        fs::write(dir.path().join("40/file"), "").unwrap();
        assert_eq!(candidates(&dir.path().join("00"), "x", &AtomicBool::new(false)).len(), 1);
    }

    #[test]
    fn files_named_like_the_source_come_first() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/x.txt", "yelp/train.txt", "z/food/train.txt"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let expected = ["z/food/train.txt", "yelp/train.txt", "a/x.txt"];
        assert_eq!(names(dir.path(), "https://example.org/food/train.txt"), expected);
    }

    #[test]
    fn an_interrupt_ends_the_search() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        assert!(candidates(dir.path(), "a", &AtomicBool::new(true)).is_empty());
    }
}
