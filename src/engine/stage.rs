//! What a stage kind is to the engine, and what a running stage sees of the world.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits;
use crate::spec::{KindSpec, Output, ParamError, Port};
use crate::store::raw::is_path;

/// A stage kind: its parameters, ports, outputs and version. Implemented by an empty struct per kind in `stages/`.
pub trait Stage: 'static {
    /// Parameters with serde defaults for everything optional and `deny_unknown_fields`.
    type Params: Serialize + DeserializeOwned + JsonSchema;

    const KIND: &'static str;
    /// To be bumped when a change of code changes outputs; enters the stage key.
    const VERSION: u32;
    const DOC: &'static str;
    const PORTS: &'static [Port];
    const OUTPUTS: &'static [Output];

    /// Checks that types cannot express (ranges, combinations).
    fn check(_params: &Self::Params) -> Result<(), ParamError> {
        Ok(())
    }

    /// The raw files it reads.
    fn files(_params: &Self::Params) -> Vec<RawSource> {
        Vec::new()
    }

    /// Where its parameters name these. A path is left out of the key, which has the digest of the file, so no output
    /// may tell it; a URL stays.
    fn sources(_params: &mut Self::Params) -> Vec<&mut String> {
        Vec::new()
    }

    /// The parts of the code that its parameters choose, and their versions; they enter the key. A change of a part that
    /// others do not choose changes nothing for these.
    fn components(_params: &Self::Params) -> Vec<(String, u32)> {
        Vec::new()
    }

    /// The parts of the environment that its result depends on; they enter the key.
    fn facets(_params: &Self::Params) -> Vec<Facet> {
        Vec::new()
    }

    /// What it needs of the machine. Must not change results.
    fn resources(_params: &Self::Params) -> Resources {
        Resources::default()
    }
}

/// How a kind runs: in this process, or in the worker binary (whose table holds the function).
#[derive(Clone, Copy)]
pub enum Runner {
    InProcess(RunFn),
    Worker,
}

/// Runs a stage whose parameters are given in canonical form.
pub type RunFn = fn(&Value, &Context) -> Result<(), StageError>;

/// A raw file outside the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFile {
    /// A path (relative to the pipeline file), or an `http:`, `https:` or `file:` URL.
    pub source: String,
    /// `sha256:<hex>` or `blake3:<hex>` of the bytes; needed for URLs.
    #[serde(default)]
    pub digest: Option<String>,
}

/// A raw file that a stage reads, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawSource {
    pub source: String,
    /// As declared.
    pub digest: Option<String>,
    /// Under what terms it is published.
    pub licence: Option<String>,
    /// Whom to cite for it.
    pub citation: Option<String>,
}

impl From<RawFile> for RawSource {
    fn from(file: RawFile) -> Self {
        Self { source: file.source, digest: file.digest, ..Self::default() }
    }
}

/// A part of the environment that results depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    /// `cpu`, or `cuda` and the version of libtorch, which computes there.
    Device,
    /// The version of libtorch, for what computes with it wherever it runs.
    Libtorch,
}

/// What a stage needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resources {
    /// Cores it can put to use; it gets between one and this many.
    pub cores: usize,
    /// Estimated peak memory in MiB.
    pub memory_mib: u64,
    /// GPUs it can put to use; it gets this many, or all of a machine that has fewer.
    pub gpus: usize,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cores: 1, memory_mib: 64, gpus: 0 }
    }
}

/// A stage kind with its types erased, as the registry holds it.
pub struct Kind {
    pub spec: KindSpec,
    pub version: u32,
    pub runner: Runner,
    /// What a stage with these canonical parameters needs.
    pub demands: fn(&Value) -> Demands,
    /// The parameters of a kind with raw files as the key has them.
    pub without_paths: fn(&Value) -> Value,
}

/// What a stage needs beside its inputs; see the functions of [`Stage`] of these names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demands {
    pub files: Vec<RawSource>,
    pub components: Vec<(String, u32)>,
    pub facets: Vec<Facet>,
    pub resources: Resources,
}

impl Demands {
    fn of<S: Stage>(params: &S::Params) -> Self {
        Self {
            files: S::files(params),
            components: S::components(params),
            facets: S::facets(params),
            resources: S::resources(params),
        }
    }
}

impl Kind {
    /// Erases `S`.
    pub fn of<S: Stage>(runner: Runner) -> Self {
        Self {
            spec: KindSpec {
                name: S::KIND,
                doc: S::DOC,
                ports: S::PORTS,
                outputs: S::OUTPUTS,
                schema: LazyLock::new(|| schemars::schema_for!(S::Params).to_value()),
                canonical: canonical::<S>,
            },
            version: S::VERSION,
            runner,
            demands: |value| parse::<S>(value).map(|params| Demands::of::<S>(&params)).unwrap_or_default(),
            without_paths: without_paths::<S>,
        }
    }
}

/// Canonical parameters back as the type of a kind.
pub fn parse<S: Stage>(value: &Value) -> Result<S::Params, ParamError> {
    serde_path_to_error::deserialize(value).map_err(|error| ParamError {
        path: error.path().iter().map(|segment| segment.to_string()).collect(),
        message: error.inner().to_string(),
        help: None,
    })
}

/// What stands in the key for any path.
const PATH: &str = "path";

fn without_paths<S: Stage>(value: &Value) -> Value {
    let named = parse::<S>(value).ok().and_then(|mut params| {
        S::sources(&mut params).into_iter().filter(|source| is_path(source)).for_each(|path| PATH.clone_into(path));
        serde_json::to_value(params).ok()
    });
    // Parameters come here in canonical form, which both steps are made for.
    named.unwrap_or_else(|| value.clone())
}

fn canonical<S: Stage>(value: &Value) -> Result<Value, ParamError> {
    let params = parse::<S>(value)?;
    S::check(&params)?;
    serde_json::to_value(&params).map_err(|error| ParamError {
        path: Vec::new(),
        message: error.to_string(),
        help: None,
    })
}

/// Everything a stage needs to run, in a form that also travels to a worker process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub kind: String,
    /// The instance, for messages.
    pub id: String,
    pub params: Value,
    pub inputs: Vec<Input>,
    /// Local copies of the raw files, in the order of [`Stage::files`], content verified.
    pub files: Vec<PathBuf>,
    /// The digests of these, as in the key.
    pub digests: Vec<String>,
    /// Outputs are written here, as `<artifact>.parquet`.
    pub out_dir: PathBuf,
    /// Survives an interrupted execution of the same key: the place for checkpoints. Made by the stage, if it needs one.
    pub scratch: PathBuf,
    /// Threads it may use. Results must not depend on it.
    pub threads: usize,
    /// Numbers of the GPUs it may use. Results must not depend on which they are.
    pub gpus: Vec<usize>,
}

/// What came in through a port, one entry per source instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    pub port: String,
    /// All labels of the source instance, in axis order.
    pub labels: Vec<(String, String)>,
    /// Artifact name to a readable file in the store.
    pub artifacts: BTreeMap<String, PathBuf>,
}

/// What a running stage sees.
pub struct Context<'a> {
    pub job: &'a Job,
    /// Receives progress and log lines.
    pub notify: &'a (dyn Fn(Notice) + Sync),
}

/// What a running stage tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    Progress(Progress),
    /// A line for the stage's log.
    Log(String),
    /// The device that it computes on, as the key of a stage with [`Facet::Device`] must have it.
    Device(String),
    /// What whoever uses the results should know: a fact about them, kept with them.
    Warning(String),
}

/// How far a stage is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// What is counted, in singular: `epoch`, `file`.
    pub unit: String,
    /// Named values worth showing, such as `loss`.
    #[serde(default)]
    pub values: Vec<(String, f64)>,
}

impl Progress {
    /// Of a file that is downloaded; the total is 0 while nobody knows it.
    pub fn bytes(done: u64, total: Option<u64>) -> Self {
        Self { done, total: total.unwrap_or(0), unit: "byte".to_owned(), values: Vec::new() }
    }
}

impl Context<'_> {
    /// The single source of a port of arity one.
    pub fn input(&self, port: &str) -> Result<&Input, StageError> {
        self.inputs(port).next().ok_or_else(|| StageError::new(format!("nothing came in through port `{port}`")))
    }

    /// All sources of a port, in axis order.
    pub fn inputs(&self, port: &str) -> impl Iterator<Item = &Input> {
        let port = port.to_owned();
        self.job.inputs.iter().filter(move |input| input.port == port)
    }

    /// Where to write the artifact `name`.
    pub fn output(&self, name: &str) -> PathBuf {
        self.job.out_dir.join(format!("{name}.parquet"))
    }

    pub fn log(&self, line: impl Into<String>) {
        (self.notify)(Notice::Log(line.into()));
    }

    /// Tells the engine which device is used.
    pub fn computes_on(&self, device: impl Into<String>) {
        (self.notify)(Notice::Device(device.into()));
    }

    /// Tells a fact about the results that should be known wherever they are used. It must follow from the inputs and
    /// parameters alone: it is kept with the results, and told again by every run that takes them from the cache.
    pub fn warn(&self, text: impl Into<String>) {
        (self.notify)(Notice::Warning(text.into()));
    }

    pub fn progress(&self, progress: Progress) {
        (self.notify)(Notice::Progress(progress));
    }
}

impl Input {
    /// The file of an artifact.
    pub fn artifact(&self, name: &str) -> Result<&PathBuf, StageError> {
        self.artifacts
            .get(name)
            .ok_or_else(|| StageError::new(format!("port `{}` brought no artifact `{name}`", self.port)))
    }
}

/// Why a stage failed: what was wrong, and what to do about it.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct StageError {
    pub message: String,
    pub help: Option<String>,
}

impl StageError {
    /// Comes with advice where a limit of the system is the reason.
    pub fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        let help = limits::advice(&message).map(str::to_owned);
        Self { message, help }
    }

    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<ParamError> for StageError {
    fn from(error: ParamError) -> Self {
        let at = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path.join(".")) };
        Self { message: format!("{at}{}", error.message), help: error.help }
    }
}

impl From<crate::store::parquet::ParquetError> for StageError {
    fn from(error: crate::store::parquet::ParquetError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<arrow::error::ArrowError> for StageError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for StageError {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
