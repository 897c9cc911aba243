//! The parts of the environment that keys depend on. Only the worker binary, which loads libtorch, can tell them;
//! its answer is remembered for as long as the same worker with the same libraries is used on the same devices, so that a
//! run in which nothing is to be done does not start it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::process;
use super::stage::{Facet, StageError};
use crate::digest::Digest;
use crate::store::{self, Store};

/// What the worker says of its environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerFacets {
    /// What trainings run on: `cpu`, or `cuda, libtorch 2.13.0`.
    pub device: String,
    /// The version of libtorch.
    #[serde(default)]
    pub libtorch: String,
    /// How many GPUs libtorch sees.
    #[serde(default)]
    pub gpus: usize,
}

/// Everything that the worker answers, and what is remembered of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    pub facets: WorkerFacets,
    /// The files that the answer comes from, the worker's and its libraries', with what tells whether they are still the
    /// same; the worker leaves that out.
    #[serde(default)]
    pub files: BTreeMap<String, Option<Stamp>>,
}

/// Size, time and inode of a file.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Stamp(u64, i64, i64, u64);

impl Stamp {
    fn of(path: impl AsRef<Path>) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self(file.size(), file.mtime(), file.mtime_nsec(), file.ino()))
    }
}

/// Argument that makes the worker print its [`WorkerFacets`] as JSON and end.
pub const FACETS_ARGUMENT: &str = "--facets";

/// Answers what keys need to know of the environment; asks the worker at most once.
pub struct Environment<'a> {
    store: &'a Store,
    worker: &'a Path,
    facets: OnceLock<Result<WorkerFacets, StageError>>,
}

impl<'a> Environment<'a> {
    pub fn new(store: &'a Store, worker: &'a Path) -> Self {
        Self { store, worker, facets: OnceLock::new() }
    }

    /// Name and value of a facet.
    pub fn facet(&self, facet: Facet) -> Result<(&'static str, String), StageError> {
        let facets = self.facets()?;
        Ok(match facet {
            Facet::Device => ("device", facets.device.clone()),
            Facet::Libtorch => ("libtorch", facets.libtorch.clone()),
        })
    }

    /// How many GPUs workers can use; none if the worker cannot be asked.
    pub fn gpus(&self) -> usize {
        self.facets().map_or(0, |facets| facets.gpus)
    }

    fn facets(&self) -> Result<&WorkerFacets, StageError> {
        self.facets.get_or_init(|| self.find()).as_ref().map_err(Clone::clone)
    }

    fn find(&self) -> Result<WorkerFacets, StageError> {
        let remembered = self.remembered_path();
        let known = |path: &PathBuf| read(&store::read(path).ok()?);
        if let Some(answer) = remembered.as_ref().and_then(known) {
            let is_same = |(path, stamp): (&String, &Option<Stamp>)| stamp.is_some() && Stamp::of(path) == *stamp;
            if answer.files.iter().all(is_same) {
                return Ok(answer.facets);
            }
        }
        let mut answer = self.ask()?;
        answer.files.iter_mut().for_each(|(path, stamp)| *stamp = Stamp::of(path));
        if let (Some(path), Ok(text)) = (remembered, serde_json::to_vec(&answer)) {
            // A cache that cannot be written only costs time here; the run will say so when it matters.
            let check = Digest::of(&text);
            let _ = self.store.write_atomic(&path, |file| {
                file.write_all(format!("{check}\n").as_bytes())?;
                file.write_all(&text)
            });
        }
        Ok(answer.facets)
    }

    /// Named by everything else that could change the answer.
    fn remembered_path(&self) -> Option<PathBuf> {
        let Stamp(size, seconds, nanoseconds, inode) = Stamp::of(self.worker)?;
        let variable = |name| env::var_os(name).unwrap_or_default();
        let identity = format!(
            "4 {:?} {size} {seconds} {nanoseconds} {inode} {:?} {:?} {:?}",
            self.worker,
            gpu_devices(),
            variable("CUDA_VISIBLE_DEVICES"),
            variable("LD_LIBRARY_PATH"),
        );
        Some(self.store.dir().join("facets").join(Digest::of(identity.as_bytes()).to_string()))
    }

    fn ask(&self) -> Result<Answer, StageError> {
        let worker = self.worker.display();
        let output = Command::new(self.worker)
            .arg(FACETS_ARGUMENT)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| missing(self.worker, &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let error =
                StageError::new(format!("the worker `{worker}` does not start: {}", process::describe(output.status)));
            return Err(if said.trim().is_empty() { error } else { error.with_help(said.trim()) });
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| StageError::new(format!("the worker `{worker}` does not say its environment: {error}")))
    }
}

/// What was remembered: a line with the checksum of the rest, since it becomes a part of keys.
fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let (check, text) = (&bytes[..end], &bytes[end + 1..]);
    (check == Digest::of(text).to_string().as_bytes()).then(|| serde_json::from_slice(text).ok())?
}

/// The devices of GPUs: their numbers need not be contiguous (a container may have `/dev/nvidia3` only), and under
/// Windows there is one for all of them.
fn gpu_devices() -> Vec<OsString> {
    let is_gpu = |name: &OsString| {
        let name = name.to_string_lossy();
        name == "dxg" || name.strip_prefix("nvidia").is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let mut devices: Vec<OsString> =
        fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.file_name()).filter(is_gpu).collect();
    devices.sort_unstable();
    devices
}

/// The worker binary cannot be started.
pub fn missing(worker: &Path, error: &std::io::Error) -> StageError {
    let failed = StageError::new(format!("cannot start the worker `{}`: {error}", worker.display()));
    match error.kind() {
        ErrorKind::NotFound => failed
            .with_help("it is installed beside `cnsdiff-pipe`; build it with `cargo build --release --features torch`"),
        _ => failed,
    }
}
