//! The last key of every instance of a pipeline, for `explain`, for estimates of time, and for [`Store::gc`], which keeps
//! what they name: a line that says which pipeline it is, then lines `key id`; one file per pipeline. No result depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files::read_text;
use super::{Store, StoreError, age, list};
use crate::digest::Digest;

/// Pipelines of several projects may have one name in one cache; their files tell them apart.
#[derive(Clone, Copy, Debug)]
pub struct PipelineId<'a> {
    pub name: &'a str,
    /// Absolute.
    pub file: &'a Path,
}

/// The last keys of all pipelines that are still in use.
#[derive(Debug, Default)]
pub struct LastKeys {
    pub keys: BTreeSet<Digest>,
    /// Digests of the pipelines' names.
    pub names: BTreeSet<Digest>,
    /// Where the keys of the other pipelines stand.
    pub(super) outdated: Vec<PathBuf>,
}

/// The content of one file of last keys.
struct KeyFile {
    path: PathBuf,
    /// Time since the pipeline was last run.
    age: Duration,
    /// Name and file; absent from what earlier versions wrote, where the name's digest is the name of `path`.
    pipeline: Option<(String, PathBuf)>,
    keys: BTreeMap<String, Digest>,
}

impl Store {
    /// Instance to the key under which it was last executed or found. Empty for an unknown pipeline.
    pub fn previous(&self, pipeline: PipelineId) -> BTreeMap<String, Digest> {
        let text = read_text(&self.previous_path(pipeline));
        let text = text.or_else(|_| read_text(&self.previous_path_by_name(pipeline.name)));
        read(&text.unwrap_or_default())
    }

    /// Remembers the keys of instances; those of other instances stay, unless these are all that the pipeline has.
    pub fn remember<'a>(
        &self,
        pipeline: PipelineId,
        keys: impl IntoIterator<Item = (&'a str, Digest)>,
        complete: bool,
    ) -> Result<(), StoreError> {
        let path = self.previous_path(pipeline);
        let new: BTreeMap<&str, Digest> = keys.into_iter().collect();
        let after = |before: &str| {
            let old = if complete { BTreeMap::new() } else { read(before) };
            let mut known: BTreeMap<&str, Digest> = old.iter().map(|(id, key)| (id.as_str(), *key)).collect();
            known.extend(new.iter());
            let mut text = format!("# {}\n", serde_json::json!([pipeline.name, pipeline.file.to_string_lossy()]));
            for (id, key) in known {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{key} {id}");
            }
            text
        };
        let before = read_text(&path).unwrap_or_default();
        if after(&before) == before {
            // It is in use. A cache that can only be read does not remember that.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            return Ok(());
        }
        // Another run of the same pipeline may remember its keys at the same time.
        let _lock = self.lock(&Digest::of(path.as_os_str().as_bytes()))?;
        let before = read_text(&path).unwrap_or_default();
        self.write_atomic(&path, |file| file.write_all(after(&before).as_bytes()))
    }

    /// What [`Store::gc`] keeps. A pipeline is out of use when it was not run for that long, and its file is gone or has
    /// another name for it.
    pub fn last_keys(&self, unused: Duration) -> Result<LastKeys, StoreError> {
        let known: Vec<KeyFile> = list(&self.dir().join("pipelines"))?.into_iter().filter_map(KeyFile::read).collect();
        let mut newest: BTreeMap<&Path, Duration> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for known in &known {
            let Some((name, file)) = &known.pipeline else { continue };
            names.insert(Digest::of(name.as_bytes()));
            newest.entry(file.as_path()).and_modify(|least| *least = known.age.min(*least)).or_insert(known.age);
        }
        let mut last = LastKeys::default();
        for known in &known {
            let (name, replaced) = match &known.pipeline {
                Some((name, file)) => {
                    let other = newest.get(file.as_path()).is_some_and(|least| *least < known.age);
                    (Some(Digest::of(name.as_bytes())), other || !file.exists())
                }
                None => {
                    let name = known.path.file_name().and_then(|name| name.to_str()?.parse().ok());
                    (name, name.is_none_or(|name| names.contains(&name)))
                }
            };
            if replaced && known.age >= unused {
                last.outdated.push(known.path.clone());
            } else {
                last.keys.extend(known.keys.values());
                last.names.extend(name);
            }
        }
        Ok(last)
    }

    /// Named by a digest, because the names of pipelines are free text.
    fn previous_path(&self, pipeline: PipelineId) -> PathBuf {
        let bytes = [pipeline.name.as_bytes(), b"\0", pipeline.file.as_os_str().as_bytes()].concat();
        self.dir().join("pipelines").join(Digest::of(&bytes).to_string())
    }

    /// As earlier versions have it.
    fn previous_path_by_name(&self, name: &str) -> PathBuf {
        self.dir().join("pipelines").join(Digest::of(name.as_bytes()).to_string())
    }
}

impl KeyFile {
    fn read(path: PathBuf) -> Option<Self> {
        let text = read_text(&path).ok()?;
        let first = text.lines().next().and_then(|line| line.strip_prefix("# "));
        Some(Self {
            pipeline: first.and_then(|line| serde_json::from_str(line).ok()),
            keys: read(&text),
            age: age(&path),
            path,
        })
    }
}

fn read(text: &str) -> BTreeMap<String, Digest> {
    let line = |line: &str| line.split_once(' ').and_then(|(key, id)| Some((id.to_owned(), key.parse().ok()?)));
    text.lines().filter_map(line).collect()
}
