//! One execution of one stage instance, from raw files to committed results.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;
use tempfile::TempDir;

use super::event::Failure;
use super::interrupt::Interrupt;
use super::resolve::failure;
use super::stage::{Context, Job, Kind, Notice, Progress, RawSource, RunFn, Runner, StageError};
use super::worker::{Usage, WorkerPool};
use crate::digest::Digest;
use crate::store::raw::{DownloadEvent, Pinned, RawFiles};
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
    /// Instance, name and digest of each artifact that the job reads: not before its object is known to be sound.
    pub inputs: Vec<(usize, String, Digest)>,
    /// Complete but for outputs and costs.
    pub entry: Entry,
    pub origin: Origin,
    pub staging: &'a Staging,
    pub raw: &'a RawFiles,
    pub raw_files: Vec<RawSource>,
    pub retry: u32,
    pub isolate: bool,
    pub workers: &'a WorkerPool,
    pub interrupt: &'a Interrupt,
}

/// Why there are no results.
pub(super) enum End {
    Failed(Failure),
    /// Nothing was executed: these inputs have to be made anew.
    Unsound(Vec<Unsound>),
    Cancelled,
}

/// An artifact whose object is missing or damaged.
pub(super) struct Unsound {
    /// The instance that it is of.
    pub source: usize,
    pub artifact: String,
    pub digest: Digest,
    pub reason: String,
}

impl Task<'_> {
    /// Runs the stage and puts its outputs into the store. They are there for other stages at once;
    /// [`Task::commit`] must follow to make them known to later runs.
    pub fn execute(&mut self, notify: &(dyn Fn(Notice) + Sync)) -> Result<Entry, End> {
        let started = Instant::now();
        match self.unsound_inputs() {
            Ok(unsound) if unsound.is_empty() => {}
            Ok(unsound) => return Err(End::Unsound(unsound)),
            Err(error) => return Err(End::Failed(failure(stage_error(error)))),
        }
        let log = Log::new(self.store.log_path(&self.entry.key));
        let warnings = Mutex::new(Vec::new());
        let notify = |notice: Notice| {
            match &notice {
                Notice::Log(line) => log.write(line),
                Notice::Warning(text) => {
                    log.write(text);
                    warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
                }
                Notice::Progress(_) | Notice::Device(_) => {}
            }
            notify(notice);
        };
        let mut attempt = 0;
        let result = loop {
            let error = match self.attempt(&notify) {
                Ok((usage, folder)) => break self.keep(usage, folder, started).map_err(stage_error),
                Err(error) => error,
            };
            if self.interrupt.is_raised() {
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

    fn unsound_inputs(&self) -> Result<Vec<Unsound>, StoreError> {
        let check = |(source, name, digest): &(usize, String, Digest)| match self.store.sound_object(digest) {
            Ok(_) => Ok(None),
            Err(StoreError::Damaged { reason, .. }) => {
                Ok(Some(Unsound { source: *source, artifact: name.clone(), digest: *digest, reason }))
            }
            Err(error) => Err(error),
        };
        // One artifact is not worth waking other threads; a large one is digested by all of them anyway.
        if let [input] = &self.inputs[..] {
            return check(input).map(|found| found.into_iter().collect());
        }
        self.inputs.par_iter().map(check).filter_map(Result::transpose).collect()
    }

    /// Answers the cost, and the folder with the outputs.
    fn attempt(&mut self, notify: &(dyn Fn(Notice) + Sync)) -> Result<(Usage, TempDir), StageError> {
        let fetch = |(file, digest): (&RawSource, &String)| self.fetch(file, digest, notify);
        let pinned: Vec<Pinned> = self.raw_files.iter().zip(&self.job.digests).map(fetch).collect::<Result<_, _>>()?;
        self.job.files = pinned.iter().map(|file| file.path.clone()).collect();
        let folder = self.staging.take().map_err(stage_error)?;
        self.job.out_dir = folder.path().to_owned();
        let usage = match self.kind.runner {
            Runner::InProcess(run) if !self.isolate => run_here(run, &self.job, notify),
            _ => self.workers.run(&self.job, notify),
        }?;
        self.check_device(&usage)?;
        pinned.iter().try_for_each(|file| self.raw.unchanged(file)).map_err(stage_error)?;
        Ok((usage, folder))
    }

    /// What was computed on another device than the key names is another result.
    fn check_device(&self, usage: &Usage) -> Result<(), StageError> {
        let keyed = self.origin.material.iter().find(|(field, _)| field == "environment.device");
        let (Some((_, keyed)), Some(used)) = (keyed, &usage.device) else { return Ok(()) };
        // The material spells texts as JSON.
        if serde_json::from_str::<String>(keyed).is_ok_and(|keyed| keyed == *used) {
            return Ok(());
        }
        Err(StageError::new(format!("it computed on `{used}`, but its key is that of a computation on {keyed}"))
            .with_help("its results are thrown away; see that the GPU can be used, or write `device: cpu`"))
    }

    /// A raw file with the bytes that the key says.
    fn fetch(&self, file: &RawSource, digest: &str, notify: &(dyn Fn(Notice) + Sync)) -> Result<Pinned, StageError> {
        let listener = |news: DownloadEvent| match news {
            DownloadEvent::Bytes { done, total } => notify(Notice::Progress(Progress::bytes(done, total))),
            DownloadEvent::Again { reason, wait, attempt, of } => notify(Notice::Log(format!(
                "`{}`: {reason}; attempt {} of {of} in {} s",
                file.source,
                attempt + 1,
                wait.as_secs_f64()
            ))),
        };
        let path = self.raw.fetch(&file.source, file.digest.as_deref(), &listener).map_err(stage_error)?;
        self.raw.pin(&path, digest).map_err(stage_error)
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
    catch(run, job, notify)?;
    Ok(Usage::default())
}

/// Calls the function of a kind and turns a panic into an error.
pub(super) fn catch(run: RunFn, job: &Job, notify: &(dyn Fn(Notice) + Sync)) -> Result<(), StageError> {
    let context = Context { job, notify };
    caught(|| run(&job.params, &context))
        .unwrap_or_else(|text| Err(panicked(format!("stage kind `{}` panicked: {text}", job.kind))))
}

/// Does something, or answers what it panicked with.
pub fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(act)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        text.unwrap_or("without a message").to_owned()
    })
}

/// A bug, unless a limit of the system was reached where nobody expects it.
pub(super) fn panicked(message: String) -> StageError {
    let error = StageError::new(message);
    let report = "this is a bug in cnsdiff-pipe; please report it with the pipeline";
    if error.help.is_some() { error } else { error.with_help(report) }
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
        let text = crate::store::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|&line| line.to_owned()).collect()
    }
}
