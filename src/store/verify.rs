//! Reads everything in the store again and compares it with what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::derived::derived;
use super::files::{is_temporary, make_way};
use super::object::{check, damage};
use super::raw::{self, Checksum};
use super::{Entry, Origin, Store, StoreError, failure, remove};
use crate::digest::Digest;

/// Something in the store is not what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damage {
    pub path: PathBuf,
    pub reason: String,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    pub entries: usize,
    pub objects: usize,
    /// Raw files that were downloaded.
    pub downloads: usize,
    pub bytes: u64,
    pub damaged: Vec<Damage>,
    /// Whether what is damaged was removed.
    pub repaired: bool,
}

/// What is read.
#[derive(Default)]
struct Survey {
    index: Vec<PathBuf>,
    objects: Vec<PathBuf>,
    raw: Vec<PathBuf>,
    damaged: Vec<Damage>,
}

/// Files directly in the cache, and folders.
const FILES: [&str; 3] = ["lock", "locks/keys", "raw/digests"];
const FOLDERS: [&str; 10] =
    ["index", "objects", "pipelines", "raw", "runs", "logs", "locks", "scratch", "staging", "tmp"];

impl Store {
    /// Digests every object and download again and reads every index entry. What cannot be read is damaged, too, and so is
    /// an entry that may have been computed from a damaged object. With `repair`, what is damaged is removed (the
    /// next run makes it anew), for which no run may use the store.
    pub fn verify(&self, repair: bool) -> Result<VerifyReport, StoreError> {
        if repair {
            // Without it there is no lock to take.
            let lock = self.dir().join("lock");
            make_way(&lock).map_err(failure("remove", &lock))?;
        }
        let _lock = if repair { self.exclusive()? } else { self.share()? };
        let survey = self.survey();
        let mut report = VerifyReport { damaged: survey.damaged, ..VerifyReport::default() };

        let mut known = Vec::new();
        for (path, read) in survey.index.par_iter().map(|path| (path, self.read_entry(path))).collect::<Vec<_>>() {
            match read {
                Ok(Some(record)) => known.push(record),
                Ok(None) => continue,
                Err(reason) => report.damaged.push(Damage { path: path.clone(), reason }),
            }
            report.entries += 1;
        }

        let mut sound = BTreeMap::new();
        let mut broken = BTreeSet::new();
        for (path, checked) in survey.objects.par_iter().map(|path| (path, check_object(path))).collect::<Vec<_>>() {
            match checked? {
                Ok((digest, bytes)) => {
                    report.bytes += bytes;
                    sound.insert(digest, bytes);
                }
                Err(_) if fs::symlink_metadata(path).is_err() => continue,
                Err(reason) => {
                    broken.extend(name_of(path));
                    report.damaged.push(Damage { path: path.clone(), reason });
                }
            }
            report.objects += 1;
        }

        let suspect = derived(&known, broken);
        for (entry, _) in &known {
            let reason = match entry.outputs.iter().find(|output| sound.get(&output.digest) != Some(&output.bytes)) {
                Some(output) => format!("the object of artifact `{}` is missing or damaged", output.name),
                None if suspect.contains(&entry.key) => "it may have been computed from a damaged object".to_owned(),
                None => continue,
            };
            report.damaged.push(Damage { path: self.index_path(&entry.key), reason });
        }

        for (path, checked) in survey.raw.par_iter().map(|path| (path, check_download(path))).collect::<Vec<_>>() {
            match checked.map_err(failure("read", path))? {
                None => continue,
                Some(Ok(bytes)) => report.bytes += bytes,
                Some(Err(reason)) => report.damaged.push(Damage { path: path.clone(), reason }),
            }
            report.downloads += 1;
        }
        if repair {
            report.damaged.iter().map(|damage| &damage.path).try_for_each(|path| remove(path))?;
            report.repaired = true;
        }
        Ok(report)
    }

    /// The index comes first: a run beside this puts objects into the store before it makes the entry that names them, so
    /// that every entry seen here has objects that are seen after it.
    fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for name in FOLDERS {
            let path = self.dir().join(name);
            if fs::symlink_metadata(&path).is_ok() && !path.is_dir() {
                survey.damaged.push(Damage { path, reason: "it is no folder".to_owned() });
            }
        }
        for name in FILES {
            let path = self.dir().join(name);
            if is_no_file(&path) {
                survey.damaged.push(Damage { path, reason: "it is no regular file".to_owned() });
            }
        }
        survey.index = survey.sharded(&self.dir().join("index"));
        survey.objects = survey.sharded(&self.dir().join("objects"));
        survey.raw = survey.list(&self.dir().join("raw"));
        for path in survey.list(&self.dir().join("pipelines")) {
            if is_no_file(&path) {
                survey.damaged.push(Damage { path, reason: "it is no regular file".to_owned() });
            }
        }
        survey
    }

    /// `Ok(None)`: it is gone.
    fn read_entry(&self, path: &Path) -> Result<Option<(Entry, Origin)>, String> {
        let key = name_of(path).ok_or("its name is no key")?;
        self.index_record(&key).map_err(|error| match error {
            StoreError::Damaged { reason, .. } => reason,
            StoreError::Io { source, .. } => damage(&source).unwrap_or_else(|| source.to_string()),
            error => error.to_string(),
        })
    }
}

impl Survey {
    /// All files two levels below a directory.
    fn sharded(&mut self, area: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for shard in self.list(area) {
            if shard.is_dir() {
                let inside = self.list(&shard);
                files.extend(inside.into_iter().filter(|path| !is_temporary(path)));
            } else {
                self.damaged.push(Damage { path: shard, reason: "it is no folder".to_owned() });
            }
        }
        files
    }

    fn list(&mut self, directory: &Path) -> Vec<PathBuf> {
        match super::list(directory) {
            Ok(paths) => paths,
            Err(error) => {
                self.damaged.push(Damage { path: directory.to_owned(), reason: error.to_string() });
                Vec::new()
            }
        }
    }
}

/// Whether something lies there that is no regular file, through links: also a link that leads nowhere or in a circle.
fn is_no_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() && !path.is_file()
}

fn name_of(path: &Path) -> Option<Digest> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// Digest and size of a sound object, or what is wrong with it.
fn check_object(path: &Path) -> Result<Result<(Digest, u64), String>, StoreError> {
    let Some(named) = name_of(path) else { return Ok(Err("its name is no digest".to_owned())) };
    let checked = check(path, &named).map_err(failure("read", path))?;
    Ok(checked.map(|bytes| (named, bytes)))
}

/// Size of a sound download, or what is wrong with it; `None` for what is no complete download.
fn check_download(path: &Path) -> io::Result<Option<Result<u64, String>>> {
    let Some(named) = path.file_name().and_then(|name| Checksum::of_file_name(name.to_str()?)) else {
        return Ok(None);
    };
    if is_no_file(path) {
        return Ok(Some(Err("it is no regular file".to_owned())));
    }
    let checked = raw::digest(path, named.algorithm).and_then(|found| Ok((found, fs::metadata(path)?.len())));
    match checked {
        Ok((found, bytes)) if found == named => Ok(Some(Ok(bytes))),
        Ok(_) => Ok(Some(Err("its content does not fit its name".to_owned()))),
        Err(error) => damage(&error).map(|reason| Some(Err(reason))).ok_or(error),
    }
}
