//! Runs kinds as the engine would, but without one, for the tests of kinds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use serde_json::Value;

use crate::engine::stage::{Context, Input, Job, Notice, RunFn, Stage, StageError, parse};
use crate::store::parquet;

/// Runs kind `S` on parameters as written in a pipeline; its outputs lie in `out_dir`. Answers its log and warnings.
fn execute<S: Stage>(
    run: RunFn,
    params: &Value,
    inputs: Vec<Input>,
    files: Vec<PathBuf>,
    out_dir: &Path,
) -> Result<[Vec<String>; 2], StageError> {
    let params = parse::<S>(params)?;
    S::check(&params)?;
    std::fs::create_dir_all(out_dir)?;
    let job = Job {
        kind: S::KIND.to_owned(),
        id: S::KIND.to_owned(),
        params: serde_json::to_value(&params).unwrap(),
        inputs,
        digests: files.iter().map(|file| std::fs::read(file).map(|bytes| blake3(&bytes))).collect::<Result<_, _>>()?,
        files,
        out_dir: out_dir.to_owned(),
        scratch: out_dir.join("scratch"),
        threads: 1,
        gpus: Vec::new(),
    };
    let told = Mutex::new([Vec::new(), Vec::new()]);
    let notify = |notice| match notice {
        Notice::Log(line) => told.lock().unwrap()[0].push(line),
        Notice::Warning(text) => told.lock().unwrap()[1].push(text),
        Notice::Progress(_) | Notice::Device(_) => {}
    };
    run(&job.params, &Context { job: &job, notify: &notify })?;
    for output in S::OUTPUTS {
        assert!(out_dir.join(format!("{}.parquet", output.name)).exists(), "no output `{}`", output.name);
    }
    Ok(told.into_inner().unwrap())
}

/// The digest of a raw file.
pub fn blake3(bytes: &[u8]) -> String {
    format!("blake3:{}", crate::digest::Digest::of(bytes))
}

/// The artifacts in a folder, by name.
pub fn artifacts_in(folder: &Path) -> BTreeMap<String, PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tables = paths.filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    tables.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

/// What a run left in a folder of its own.
pub struct Ran {
    dir: tempfile::TempDir,
    pub log: Vec<String>,
    pub warnings: Vec<String>,
}

/// Runs kind `S` with raw files and with all artifacts of earlier runs by port.
pub fn run_kind<S: Stage>(
    run: RunFn,
    params: Value,
    files: Vec<PathBuf>,
    inputs: &[(&str, &Ran)],
) -> Result<Ran, StageError> {
    let dir = tempfile::tempdir().unwrap();
    let inputs = inputs.iter().map(|(port, ran)| Input {
        port: (*port).to_owned(),
        labels: Vec::new(),
        artifacts: ran.artifacts(),
    });
    let [log, warnings] = execute::<S>(run, &params, inputs.collect(), files, dir.path())?;
    Ok(Ran { dir, log, warnings })
}

impl Ran {
    pub fn artifacts(&self) -> BTreeMap<String, PathBuf> {
        artifacts_in(self.dir.path())
    }

    pub fn read(&self, artifact: &str) -> RecordBatch {
        parquet::read(&self.artifacts()[artifact]).unwrap()
    }

    pub fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        self.artifacts().into_iter().map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
    }

    /// A value of the artifact `summary` of counts.
    pub fn count(&self, name: &str) -> i64 {
        let summary = self.read("summary");
        let row = summary["name"].as_string::<i32>().iter().position(|own| own == Some(name));
        let row = row.unwrap_or_else(|| panic!("nothing is counted as `{name}`"));
        summary["value"].as_primitive::<Int64Type>().value(row)
    }

    pub fn text(&self, artifact: &str, column: &str) -> Vec<String> {
        let batch = self.read(artifact);
        batch[column].as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
    }
}

/// A folder with made-up artifacts in it, for kinds with many labelled sources.
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

    /// Runs a kind; its outputs lie in the folder `into`.
    pub fn run<S: Stage>(
        &self,
        run: RunFn,
        params: Value,
        inputs: Vec<Input>,
        files: Vec<PathBuf>,
        into: &str,
    ) -> Result<PathBuf, StageError> {
        let out_dir = self.folder.path().join(into);
        execute::<S>(run, &params, inputs, files, &out_dir)?;
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

/// The public data sets: `CNSDIFF_MIRROR`, or `../shared/data` beside the repository. Tests on them are marked
/// `#[ignore = "needs the public data"]`; `make test` asks for them where the data are.
pub fn public_data() -> PathBuf {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data"));
    let found = std::env::var_os("CNSDIFF_MIRROR").map_or(beside, PathBuf::from);
    assert!(found.join("food/train.txt").exists(), "no public data in {}: set CNSDIFF_MIRROR", found.display());
    found
}
