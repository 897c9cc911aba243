//! One execution of one stage instance, from raw files to committed results. Knows nothing of other instances.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tempfile::TempDir;

use super::event::Failure;
use super::process;
use super::stage::{Context, Job, Kind, Notice, Progress, RawSource, RunFn, Runner, StageError};
use super::worker::{Usage, WorkerPool};
use crate::store::raw::{News, RawFiles};
use crate::store::{Entry, KeyLock, Origin, Staging, Store, StoreError};

/// How many lines of its log a failure shows.
const TAIL_LINES: usize = 20;

/// Everything one execution needs.
pub(super) struct Task<'a> {
    pub store: &'a Store,
    pub kind: &'a Kind,
    /// Nobody else executes this key for as long as this lives.
    pub _lock: KeyLock,
    /// Complete but for the raw files and the folder of the outputs.
    pub job: Job,
    /// Complete but for outputs and costs.
    pub entry: Entry,
    pub origin: Origin,
    pub staging: &'a Staging,
    pub raw: &'a RawFiles,
    pub raw_files: Vec<RawSource>,
    pub retry: u32,
    pub isolate: bool,
    pub workers: &'a WorkerPool,
    pub interrupt: &'a AtomicBool,
}

/// Why there are no results.
pub(super) enum End {
    Failed(Failure),
    Cancelled,
}

impl Task<'_> {
    /// Runs the stage and puts its outputs into the store. They are there for other stages at once;
    /// [`Task::commit`] must follow to make them known to later runs.
    pub fn execute(&mut self, notify: &(dyn Fn(Notice) + Sync)) -> Result<Entry, End> {
        let started = Instant::now();
        let log = Log::new(self.store.log_path(&self.entry.key));
        let warnings = Mutex::new(Vec::new());
        let notify = |notice: Notice| {
            match &notice {
                Notice::Log(line) => log.write(line),
                Notice::Warning(text) => {
                    log.write(text);
                    warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
                }
                Notice::Progress(_) => {}
            }
            notify(notice);
        };
        let mut attempt = 0;
        let result = loop {
            let error = match self.attempt(&notify) {
                Ok((usage, folder)) => break self.keep(usage, folder, started).map_err(stage_error),
                Err(error) => error,
            };
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(End::Cancelled);
            }
            if attempt == self.retry {
                break Err(error);
            }
            attempt += 1;
            warnings.lock().unwrap_or_else(PoisonError::into_inner).clear();
            notify(Notice::Log(format!("attempt {attempt} failed: {error}; trying again")));
        };
        match result {
            Ok(()) => {
                self.entry.warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
                Ok(self.entry.clone())
            }
            Err(error) => {
                let log_tail = log.tail();
                let log_path = (!log_tail.is_empty()).then_some(log.path);
                Err(End::Failed(Failure { error, log_tail, log_path }))
            }
        }
    }

    /// Makes the results durable and known, and gives the key free. Mostly waiting for the disk, so that many can
    /// go on at a time.
    pub fn commit(self) -> Result<(), StoreError> {
        self.store.commit(&self.entry, &self.origin)?;
        // Leftovers cost space and nothing else, so failing to remove them is no failure of the stage.
        let _ = fs::remove_dir_all(&self.job.scratch);
        Ok(())
    }

    /// Answers the cost, and the folder with the outputs.
    fn attempt(&mut self, notify: &(dyn Fn(Notice) + Sync)) -> Result<(Usage, TempDir), StageError> {
        self.job.files = self.raw_files.iter().map(|file| self.fetch(file, notify)).collect::<Result<_, _>>()?;
        let folder = self.staging.take().map_err(stage_error)?;
        self.job.out_dir = folder.path().to_owned();
        let usage = match self.kind.runner {
            Runner::InProcess(run) if !self.isolate => run_here(run, &self.job, notify),
            _ => self.workers.run(&self.job, notify),
        }?;
        Ok((usage, folder))
    }

    fn fetch(&self, file: &RawSource, notify: &(dyn Fn(Notice) + Sync)) -> Result<PathBuf, StageError> {
        let listener = |news: News| {
            match news {
                News::Bytes { done, total } => notify(Notice::Progress(Progress::bytes(done, total))),
                News::Again { reason, wait, attempt, of } => notify(Notice::Log(format!(
                    "`{}`: {reason}; attempt {} of {of} in {} s",
                    file.source,
                    attempt + 1,
                    wait.as_secs_f64()
                ))),
                News::Idle => {}
            }
            if self.interrupt.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.raw.fetch(&file.source, file.digest.as_deref(), &listener).map_err(stage_error)
    }

    fn keep(&mut self, usage: Usage, folder: TempDir, started: Instant) -> Result<(), StoreError> {
        for output in self.kind.spec.outputs {
            let file = folder.path().join(format!("{}.parquet", output.name));
            self.entry.outputs.push(self.store.put(output.name, &file)?);
        }
        self.staging.give_back(folder);
        self.entry.seconds = started.elapsed().as_secs_f64();
        self.entry.cpu_seconds = usage.cpu_seconds;
        self.entry.peak_memory_bytes = usage.peak_memory_bytes;
        Ok(())
    }
}

fn stage_error(error: impl std::fmt::Display) -> StageError {
    StageError::new(error.to_string())
}

/// Runs a stage in this thread. A panic in it is a failed stage, not the end of the run.
fn run_here(run: RunFn, job: &Job, notify: &(dyn Fn(Notice) + Sync)) -> Result<Usage, StageError> {
    let before = process::thread_cpu_seconds();
    catch(run, job, notify)?;
    Ok(Usage { cpu_seconds: process::thread_cpu_seconds() - before, peak_memory_bytes: None })
}

/// Calls the function of a kind and turns a panic into an error.
pub(super) fn catch(run: RunFn, job: &Job, notify: &(dyn Fn(Notice) + Sync)) -> Result<(), StageError> {
    let context = Context { job, notify };
    panic::catch_unwind(AssertUnwindSafe(|| run(&job.params, &context))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        let message = format!("stage kind `{}` panicked: {}", job.kind, text.unwrap_or("without a message"));
        Err(StageError::new(message).with_help("this is a bug in cnsdiff-pipe; please report it with the pipeline"))
    })
}

/// The log of an execution; the file is created by the first line.
struct Log {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        // That of an earlier execution of the key.
        let _ = fs::remove_file(&path);
        Self { path, file: Mutex::new(None) }
    }

    /// A log that cannot be written does not stop the stage.
    fn write(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = self.create().ok();
        }
        if let Some(file) = file.as_mut() {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn create(&self) -> io::Result<File> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().create(true).append(true).open(&self.path)
    }

    fn tail(&self) -> Vec<String> {
        let text = fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|&line| line.to_owned()).collect()
    }
}
