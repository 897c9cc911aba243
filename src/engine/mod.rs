//! Runs a plan: the `Stage` trait, the scheduler, worker processes, events.

mod environment;
pub mod event;
mod execute;
mod interrupt;
mod limits;
mod machine;
mod memory;
mod process;
mod registry;
mod resolve;
mod run;
pub mod serve;
pub mod stage;
mod thread_pool;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;

pub use environment::WorkerFacets;
pub use event::{Event, Failure, Finished, Outcome, Summary, Warning};
pub use execute::caught;
pub use interrupt::Interrupt;
pub use limits::{advice, start_threads};
pub use machine::Machine;
pub use process::{prepare, requests_to_end};
pub use registry::Registry;
pub use resolve::{Resolver, estimate, probe};
pub use run::{run, run_then, warnings};

use crate::digest::Digest;
use crate::plan::{Plan, PlanError};
use crate::store::{Entry, PipelineId, StoreError};

/// How a plan is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the run, for events.
    pub run: String,
    /// Most stages at a time; at least one.
    pub jobs: usize,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// How often a failed stage is tried again.
    pub retry: u32,
    /// Stages or instances to execute even if the store has their results.
    pub force: Vec<String>,
    /// Run these stages or instances and what they need, nothing else. Empty: everything.
    pub until: Vec<String>,
    /// The worker binary.
    pub worker: PathBuf,
    /// Runs light stages, too, in worker processes.
    pub isolate: bool,
    /// The pipeline file, absolute: tells pipelines of one name apart.
    pub file: PathBuf,
    /// The directory that relative raw files start from: the pipeline file's.
    pub base: PathBuf,
    /// Where raw files with a URL may lie under the name of that.
    pub data: Option<PathBuf>,
    /// Where missing raw files are looked for by digest.
    pub mirrors: Vec<PathBuf>,
    /// Set from outside to end the run.
    pub interrupt: Interrupt,
    /// Executes ready stages in an order drawn from this seed instead of file order. Results must not differ.
    pub shuffle: Option<u64>,
    /// Name and value: what to note beside each new entry, such as versions. No result depends on it.
    pub environment: Vec<(String, String)>,
}

impl Options {
    /// As what the store knows the pipeline.
    pub fn pipeline<'a>(&'a self, plan: &'a Plan) -> PipelineId<'a> {
        PipelineId { name: &plan.pipeline.name, file: &self.file }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run: String::new(),
            jobs: machine::cores(),
            keep_going: false,
            retry: 0,
            force: Vec::new(),
            until: Vec::new(),
            worker: PathBuf::from("cnsdiff-pipe-worker"),
            isolate: false,
            file: PathBuf::new(),
            base: PathBuf::new(),
            data: None,
            mirrors: Vec::new(),
            interrupt: Interrupt::default(),
            shuffle: None,
            environment: Vec::new(),
        }
    }
}

/// The state of an instance. This is the whole state machine of a run; every transition is here.
///
/// ```text
///  probe ── not asked for ──────────────────────────▶ Excluded
///    │
///    ├─ a source has no results yet ──▶ Waits ── a source failed or was skipped ──▶ Skipped
///    │                                    │
///    │                                    │ every source has results
///    ▼                                    ▼
///  resolve: make the key, look it up in the store
///    ├─ the key cannot be made ─────────────────────▶ Failed (Cancelled, if the run was interrupted)
///    ├─ the store has the results ──────────────────▶ Hit
///    └─ it has not, or the stage is forced ──▶ Miss
///                                               │ queued in `ready` until the machine has room
///                                               ├─ another process holds the lock of the key: tried again later
///                                               ├─ that process has stored the results ────▶ Hit
///                                               ├─ a raw file has changed, or its key fails ▶ Failed
///                                               ▼
///                                            execution (still Miss; listed in `running`)
///                                               ├─ results are in the store ───────────────▶ Executed
///                                               ├─ every attempt failed ───────────────────▶ Failed
///                                               ├─ interrupted ────────────────────────────▶ Cancelled
///                                               └─ an input is damaged: nothing was executed; the instance that made
///                                                  the input is taken back, and this one is looked at again (Failed,
///                                                  if the damaged file cannot be removed)
///
///  Hit, Executed ── the results turn out to be damaged ──▶ Waits, with every dependent that has results or is queued;
///                   looked at again at once; Failed after the third time
///  Miss, Waits ──── the run ends first ──▶ Cancelled
/// ```
///
/// Where the transitions are made: `resolve.rs` resolves a key; `run.rs` queues (`look_up`), starts (`start_ready`) and
/// settles (`settle`, the only place where an instance reaches one of the states that end it: `Hit`, `Executed`,
/// `Failed`, `Skipped` or `Cancelled`); `execute.rs` is the execution; `run/heal.rs` takes damaged results back. A
/// dependent whose inputs were taken back while it was running executes to its end, and is then looked at again.
///
/// A failure stops the run unless it was asked to keep going: nothing further is started, and what is left over is
/// `Cancelled`. [`probe`] gives `Excluded`, `Hit`, `Miss`, `Waits` and `Failed` (`Cancelled`, if it is interrupted);
/// after [`run`] no instance is in `Miss` or `Waits`.
#[derive(Clone, Debug)]
pub enum State {
    /// Not asked for.
    Excluded,
    /// The store has its results.
    Hit {
        key: Digest,
        entry: Arc<Entry>,
    },
    /// It has to be executed.
    Miss {
        key: Digest,
        forced: bool,
    },
    /// Its key is not known before these instances have been executed.
    Waits {
        on: Vec<usize>,
    },
    /// It cannot be or was not executed with success.
    Failed {
        key: Option<Digest>,
        failure: Failure,
    },
    Executed {
        key: Digest,
        entry: Arc<Entry>,
    },
    /// Something it needs failed.
    Skipped,
    /// The run ended before it did.
    Cancelled {
        key: Option<Digest>,
    },
}

impl State {
    /// Its results, where there are any.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Hit { entry, .. } | Self::Executed { entry, .. } => Some(entry),
            _ => None,
        }
    }

    /// Its key, where it is known.
    pub fn key(&self) -> Option<Digest> {
        match self {
            Self::Hit { key, .. } | Self::Miss { key, .. } | Self::Executed { key, .. } => Some(*key),
            Self::Failed { key, .. } | Self::Cancelled { key } => *key,
            Self::Excluded | Self::Waits { .. } | Self::Skipped => None,
        }
    }
}

/// The run could not be started or continued. A failed stage is not an error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `force` or `until` names no stage.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A bug of this program.
    #[error("the engine panicked: {0}")]
    Panicked(String),
}
