//! The events of a run: the only contract between the engine and whoever shows or records what happens. Emitted by
//! the engine's loop alone; `ui/`, the JSON log and the tests read the same stream.

use serde::{Deserialize, Serialize};

use super::stage::{Progress, StageError};

/// Something happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        run: String,
        pipeline: String,
        stages: usize,
        jobs: usize,
    },
    StageStarted {
        id: String,
        kind: String,
        threads: usize,
    },
    StageProgress {
        id: String,
        #[serde(flatten)]
        progress: Progress,
    },
    StageLog {
        id: String,
        line: String,
    },
    /// A fact about the results of a stage that was just executed; [`Event::Warnings`] has those of all.
    StageWarning {
        id: String,
        text: String,
    },
    StageFinished(Finished),
    /// An artifact in the cache is not what it was: its stage is executed again.
    ArtifactDamaged {
        id: String,
        artifact: String,
        reason: String,
        /// How many stages that had ended, this one and those that need it, will end once more.
        again: usize,
    },
    /// The run was asked to end, and waits a moment for what is running.
    Interrupted {
        running: usize,
    },
    /// What should be known about the results, whether they were computed now or before; at the end of the run.
    Warnings {
        warnings: Vec<Warning>,
    },
    RunFinished(Summary),
}

/// A fact about results, and the instances of which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub text: String,
    pub ids: Vec<String>,
}

/// The end of one stage instance.
#[derive(Clone, Debug, Serialize)]
pub struct Finished {
    pub id: String,
    pub outcome: Outcome,
    /// Absent when the key was never known (skipped).
    pub key: Option<crate::digest::Digest>,
    /// Wall time of the execution; 0 for cached ones.
    pub seconds: f64,
    pub error: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Taken from the store.
    Cached,
    Executed,
    Failed,
    /// Something it needs failed.
    Skipped,
    /// The run was interrupted before or during it.
    Cancelled,
}

/// A failed stage.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    #[serde(flatten)]
    pub error: StageError,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    pub log_path: Option<std::path::PathBuf>,
}

/// The end of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub run: String,
    pub cached: usize,
    pub executed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub cancelled: usize,
    pub seconds: f64,
}
