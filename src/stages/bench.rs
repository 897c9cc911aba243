//! Runs a kind on labelled, made-up artifacts in a temporary folder, without an engine. For the tests of kinds with many
//! sources; those with raw files use `testing`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use serde_json::Value;

use crate::engine::stage::{Context, Input, Job, RunFn, Stage, StageError, parse};
use crate::store::parquet;

/// A folder with artifacts in it.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Writes an artifact as a source would.
    pub fn put(&self, name: &str, batch: &RecordBatch) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.parquet"));
        parquet::write(&path, batch, &[]).unwrap();
        path
    }

    /// Writes a raw file.
    pub fn raw(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a kind on checked parameters; its outputs lie in the folder `into`.
    pub fn run<S: Stage>(
        &self,
        run: RunFn,
        params: Value,
        inputs: Vec<Input>,
        files: Vec<PathBuf>,
        into: &str,
    ) -> Result<PathBuf, StageError> {
        let params = parse::<S>(&params)?;
        S::check(&params)?;
        let out_dir = self.folder.path().join(into);
        std::fs::create_dir_all(&out_dir)?;
        let params = serde_json::to_value(&params).unwrap();
        let (id, kind, scratch) = (into.to_owned(), S::KIND.to_owned(), out_dir.clone());
        let job = Job { kind, id, params, inputs, files, out_dir: out_dir.clone(), scratch, threads: 1 };
        run(&job.params, &Context { job: &job, notify: &|_| {} })?;
        Ok(out_dir)
    }
}

/// A source: port, labels (`axis=label`), and its artifacts.
pub fn input(port: &str, labels: &[&str], artifacts: &[(&str, PathBuf)]) -> Input {
    let label = |text: &&str| text.split_once('=').map(|(axis, label)| (axis.to_owned(), label.to_owned())).unwrap();
    Input {
        port: port.to_owned(),
        labels: labels.iter().map(label).collect(),
        artifacts: artifacts.iter().map(|(name, path)| ((*name).to_owned(), path.clone())).collect::<BTreeMap<_, _>>(),
    }
}
