//! Runs a kind as the engine would, in a directory of its own, for the tests of kinds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use serde_json::Value;

use crate::engine::stage::{Context, Input, Job, Notice, RunFn, Stage, StageError};
use crate::store::parquet;

/// What a run left.
pub struct Ran {
    dir: tempfile::TempDir,
    pub log: Vec<String>,
}

/// Runs kind `S` on `params` as written in a pipeline, with raw files and with all artifacts of earlier runs by port.
pub fn run_kind<S: Stage>(
    run: RunFn,
    params: Value,
    files: Vec<PathBuf>,
    inputs: &[(&str, &Ran)],
) -> Result<Ran, StageError> {
    let params = serde_json::to_value(crate::engine::stage::parse::<S>(&params)?).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let inputs = inputs.iter().map(|(port, ran)| Input {
        port: (*port).to_owned(),
        labels: Vec::new(),
        artifacts: ran.artifacts(),
    });
    let job = Job {
        kind: S::KIND.to_owned(),
        id: S::KIND.to_owned(),
        params: params.clone(),
        inputs: inputs.collect(),
        files,
        out_dir: dir.path().to_owned(),
        scratch: dir.path().join("scratch"),
        threads: 1,
    };
    let log = Mutex::new(Vec::new());
    let notify = |notice| {
        if let Notice::Log(line) = notice {
            log.lock().unwrap().push(line);
        }
    };
    run(&params, &Context { job: &job, notify: &notify })?;
    for output in S::OUTPUTS {
        assert!(dir.path().join(format!("{}.parquet", output.name)).exists(), "no output `{}`", output.name);
    }
    Ok(Ran { dir, log: log.into_inner().unwrap() })
}

impl Ran {
    fn artifacts(&self) -> BTreeMap<String, PathBuf> {
        let paths = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect()
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

/// The public data sets, where they are at hand: `CNSDIFF_MIRROR`, or `../shared/data` beside the repository.
pub fn public_data() -> Option<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data"));
    let found = std::env::var_os("CNSDIFF_MIRROR").map_or(beside, PathBuf::from);
    if !found.join("food/train.txt").exists() {
        eprintln!("SKIPPED: no public data in {} (set CNSDIFF_MIRROR)", found.display());
        return None;
    }
    Some(found)
}
