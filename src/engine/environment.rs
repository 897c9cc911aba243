//! The parts of the environment that keys depend on. Only the worker binary, which loads libtorch, can tell them;
//! its answer is remembered for as long as the same worker is used on the same devices, so that a run in which
//! nothing is to be done does not start it.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::process;
use super::stage::{Facet, StageError};
use crate::digest::Digest;
use crate::store::Store;

/// What the worker says of its environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerFacets {
    /// What trainings run on: `cpu`, or `cuda, libtorch 2.13.0`.
    pub device: String,
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
        let facets = self.facets.get_or_init(|| self.find()).as_ref().map_err(Clone::clone)?;
        Ok(match facet {
            Facet::Device => ("device", facets.device.clone()),
        })
    }

    fn find(&self) -> Result<WorkerFacets, StageError> {
        let remembered = self.remembered_path();
        let known = remembered.as_ref().and_then(|path| serde_json::from_slice(&fs::read(path).ok()?).ok());
        if let Some(facets) = known {
            return Ok(facets);
        }
        let facets = self.ask()?;
        if let (Some(path), Ok(text)) = (remembered, serde_json::to_vec(&facets)) {
            // A cache that cannot be written only costs time here; the run will say so when it matters.
            let _ = self.store.write_atomic(&path, |file| file.write_all(&text));
        }
        Ok(facets)
    }

    /// Named by everything that could change the answer.
    fn remembered_path(&self) -> Option<PathBuf> {
        let worker = fs::metadata(self.worker).ok()?;
        let variable = |name| env::var_os(name).unwrap_or_default();
        let identity = format!(
            "{:?} {} {} {} {} {:?} {:?} {:?}",
            self.worker,
            worker.size(),
            worker.mtime(),
            worker.mtime_nsec(),
            worker.ino(),
            Machine::detect().gpus,
            variable("CUDA_VISIBLE_DEVICES"),
            variable("LD_LIBRARY_PATH"),
        );
        Some(self.store.dir().join("facets").join(Digest::of(identity.as_bytes()).to_string()))
    }

    fn ask(&self) -> Result<WorkerFacets, StageError> {
        let worker = self.worker.display();
        let output = Command::new(self.worker)
            .arg(FACETS_ARGUMENT)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| missing(self.worker, &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let message = format!("the worker `{worker}` does not start: {}", process::describe(output.status));
            return Err(StageError::new(message).with_help(said.trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| StageError::new(format!("the worker `{worker}` does not say its environment: {error}")))
    }
}

/// The worker binary cannot be started.
pub fn missing(worker: &Path, error: &std::io::Error) -> StageError {
    StageError::new(format!("cannot start the worker `{}`: {error}", worker.display()))
        .with_help("it is installed beside `cnsdiff-pipe`; build it with `cargo build --release --features torch`")
}
