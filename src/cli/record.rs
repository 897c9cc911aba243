//! The provenance record of a run: what was asked for, by which program, from which state of the project, on which
//! machine, and what it gave. One JSON file per run in the cache; `runs` and `diff` read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, thread};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exit::CliError;
use crate::digest::Digest;
use crate::engine::Warning;
use crate::engine::stage::RawSource;
use crate::store::{self, Store, StoreError};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub run: String,
    /// UTC.
    pub started: String,
    pub seconds: f64,
    /// `done`, `failed` or `interrupted`.
    pub outcome: String,
    pub pipeline: String,
    /// The pipeline file as it was named.
    pub file: PathBuf,
    /// What the command line changed in the pipeline.
    pub changes: Vec<String>,
    pub arguments: Vec<String>,
    pub version: String,
    pub git: Option<Git>,
    pub environment: RunEnvironment,
    /// Digest over all ids, keys and artifacts: equal for runs with equal results.
    pub results: Digest,
    /// What should be known about the results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// An earlier run with the same results that has the stages; absent when this record has them.
    pub same_as: Option<String>,
    pub stages: Vec<StageRecord>,
}

/// The state of the project's repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Git {
    pub commit: String,
    /// Tracked files differ from the commit.
    pub dirty: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunEnvironment {
    pub system: String,
    pub cpu: String,
    pub cores: usize,
    /// Cores the run could use.
    pub threads: usize,
    /// Name and value of what results depend on, as far as the run had to know: libtorch's version, the device.
    pub facets: BTreeMap<String, String>,
}

/// One instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageRecord {
    pub id: String,
    pub kind: String,
    pub outcome: String,
    pub key: Option<Digest>,
    /// As resolved, defaults written out.
    pub params: Value,
    /// Port to the artifacts that came in, as `instance.artifact`.
    pub needs: BTreeMap<String, Vec<String>>,
    pub outputs: BTreeMap<String, Digest>,
    /// The raw files that it read: source, the digest of what was read, licence and citation.
    #[serde(default)]
    pub files: Vec<RawSource>,
    /// Wall time of the execution, whenever that was.
    pub seconds: Option<f64>,
}

impl RunEnvironment {
    pub fn new(threads: usize, facets: BTreeMap<String, String>) -> Self {
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            threads,
            facets,
        }
    }
}

/// The name of the processor, where the system tells it.
fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Asks git in the background: it takes longer than a run that finds everything done.
/// Without a thread to be had, nobody asks.
pub fn ask_git() -> Option<thread::JoinHandle<Option<Git>>> {
    let ask = || {
        let arguments = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"];
        let output = Command::new("git").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        if output.status.success() { parse_git(&String::from_utf8_lossy(&output.stdout)) } else { None }
    };
    thread::Builder::new().spawn(ask).ok()
}

fn parse_git(text: &str) -> Option<Git> {
    let commit = text.lines().find_map(|line| line.strip_prefix("# branch.oid "))?.to_owned();
    Some(Git { commit, dirty: text.lines().any(|line| !line.starts_with('#')) })
}

/// Digest over what a run gave, to tell cheaply whether two runs gave the same.
pub fn results_digest<'a>(stages: impl Iterator<Item = (&'a str, Option<Digest>, Vec<Digest>)>) -> Digest {
    let mut bytes = Vec::new();
    for (id, key, outputs) in stages {
        bytes.extend_from_slice(&(id.len() as u64).to_le_bytes());
        bytes.extend_from_slice(id.as_bytes());
        bytes.push(u8::from(key.is_some()));
        bytes.extend(key.iter().flat_map(Digest::as_bytes));
        bytes.extend_from_slice(&(outputs.len() as u64).to_le_bytes());
        bytes.extend(outputs.iter().flat_map(|digest| *digest.as_bytes()));
    }
    Digest::of(&bytes)
}

impl Record {
    /// Writes the record. One with the same results as the last full record of its pipeline only refers to that.
    pub fn write(mut self, store: &Store, stages: impl FnOnce() -> Vec<StageRecord>) -> Result<(), StoreError> {
        let last = last_path(store, &Digest::of(self.pipeline.as_bytes()));
        let same = store::read_text(&last).ok().and_then(|text| {
            let (results, run) = text.trim().split_once(' ')?;
            (results == self.results.to_string()).then(|| run.to_owned())
        });
        self.same_as = same.filter(|run| path_of(store, run).is_file());
        if self.same_as.is_none() {
            self.stages = stages();
        }
        let path = path_of(store, &self.run);
        let text = |file: &mut File| file.write_all(&serde_json::to_vec(&self)?);
        if self.same_as.is_some() {
            // It tells nothing new, and is not worth waiting for the disk.
            return store.write(&path, text);
        }
        store.write_atomic(&path, text)?;
        store.write_atomic(&last, |file| file.write_all(format!("{} {}\n", self.results, self.run).as_bytes()))
    }

    /// The files of records that started before `since`, without the last one of each pipeline in `used` (digests of names),
    /// and those that younger ones refer to.
    pub fn outdated(store: &Store, since: &str, used: &BTreeSet<Digest>) -> Vec<PathBuf> {
        let records = Self::all(store);
        let last: BTreeMap<&str, &str> =
            records.iter().map(|record| (record.pipeline.as_str(), record.run.as_str())).collect();
        let stays = |record: &&Self| {
            let is_last = last.get(record.pipeline.as_str()) == Some(&record.run.as_str());
            record.started.as_str() > since || (is_last && used.contains(&Digest::of(record.pipeline.as_bytes())))
        };
        let kept: BTreeSet<&str> = records
            .iter()
            .filter(stays)
            .flat_map(|record| [Some(record.run.as_str()), record.same_as.as_deref()])
            .flatten()
            .collect();
        let gone = records.iter().filter(|record| !kept.contains(record.run.as_str()));
        gone.map(|record| path_of(store, &record.run)).collect()
    }

    /// Every readable record, oldest first.
    pub fn all(store: &Store) -> Vec<Self> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(store.runs_dir()).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| read(path).ok()).collect()
    }

    /// The record whose id starts with `run`, with its stages.
    pub fn find(store: &Store, run: &str) -> Result<Self, CliError> {
        let mut records = Self::all(store);
        records.retain(|record| record.run.starts_with(run));
        match records.len() {
            1 => records.remove(0).with_stages(store),
            0 => {
                Err(CliError::wrong(format!("no recorded run starts with `{run}`"))
                    .help("`cnsdiff-pipe runs` lists them"))
            }
            count => Err(CliError::wrong(format!("{count} runs start with `{run}`")).help("give more of the id")),
        }
    }

    /// Fetches the stages from the record that has them.
    pub fn with_stages(mut self, store: &Store) -> Result<Self, CliError> {
        if let Some(run) = &self.same_as {
            self.stages = read(&path_of(store, run))?.stages;
        }
        Ok(self)
    }
}

/// Which record has the last results of a pipeline.
fn last_path(store: &Store, name: &Digest) -> PathBuf {
    store.runs_dir().join("last").join(name.to_string())
}

fn path_of(store: &Store, run: &str) -> PathBuf {
    store.runs_dir().join(format!("{run}.json"))
}

fn read(path: &Path) -> Result<Record, CliError> {
    let unreadable = |error: String| CliError::store(format!("cannot read the record `{}`: {error}", path.display()));
    let bytes = store::read(path).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_tells_commit_and_changes() {
        let clean = "# branch.oid 0123abcd\n# branch.head main\n";
        assert_eq!(parse_git(clean), Some(Git { commit: "0123abcd".to_owned(), dirty: false }));
        let dirty = format!("{clean}1 .M N... 100644 100644 100644 a b src/lib.rs\n");
        assert_eq!(parse_git(&dirty).map(|git| git.dirty), Some(true));
        assert_eq!(parse_git(""), None);
    }

    #[test]
    fn results_differ_by_id_key_or_artifact() {
        let digest = |id, key: &[u8], output: &[u8]| {
            results_digest([(id, Some(Digest::of(key)), vec![Digest::of(output)])].into_iter())
        };
        let base = digest("a", b"k", b"o");
        assert_eq!(base, digest("a", b"k", b"o"));
        assert!([digest("b", b"k", b"o"), digest("a", b"l", b"o"), digest("a", b"k", b"p")].iter().all(|d| *d != base));
    }
}
