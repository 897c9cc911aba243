//! `run`: computes what is missing, publishes the reports, and keeps the lock file and the record of the run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use serde_json::json;

use super::args::{GlobalArgs, RunArgs};
use super::exit::{CliError, DONE, FAILED, INTERRUPTED};
use super::lock::{self, Lock};
use super::project::{Project, engine_error, open_store, store_error};
use super::publish::{Published, publish};
use super::record::{self, Git, Record, RunEnvironment, StageRecord};
use super::signals::listen_for_interrupts;
use super::{clock, data, duplicates, plan};
use crate::engine::stage::RawSource;
use crate::engine::{self, Options, State};
use crate::store::{Entry, Store};
use crate::ui::Ui;

pub fn main(args: &RunArgs, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    let (time, clock) = (SystemTime::now(), Instant::now());
    let git = record::ask_git();
    let project = Project::load(&args.selection, ui)?;
    let lock_path = lock::path_of(&project.path);
    // Read before the work, so that a broken lock file does not cost it.
    let locked = Lock::read(&lock_path)?;
    if args.locked && locked.is_none() {
        return Err(CliError::wrong(format!("there is no lock file `{}` to compare with", lock_path.display()))
            .help("a complete run without --locked writes it"));
    }
    let store = open_store(global)?;
    let defaults = project.options(&args.mirrors);
    let options = Options {
        run: clock::run_id(time),
        jobs: args.jobs.unwrap_or(defaults.jobs),
        keep_going: args.keep_going,
        retry: args.retry,
        force: args.force.clone(),
        until: args.until.clone(),
        shuffle: args.shuffle,
        ..defaults
    };
    if args.dry_run {
        return plan::show(&project, &store, &options, false, ui);
    }
    listen_for_interrupts(&options.interrupt)?;
    // Nothing is removed from the cache before all is published and recorded.
    let _share = store.share().map_err(store_error)?;

    let reporter = RefCell::new(Some(ui.reporter()));
    let mut show = |event: &engine::Event| {
        if let Some(reporter) = reporter.borrow_mut().as_mut() {
            reporter.show(event);
        }
    };
    let begun =
        StartedRun { args, project: &project, store: &store, options: &options, locked, lock_path, git, time, clock };
    engine::run_then(&project.plan, &project.registry, &store, &options, &mut show, |result, running| {
        // Its lines would mix with what follows.
        drop(reporter.take());
        let outcome = result.map_err(engine_error).and_then(|states| conclude(begun, &states, ui));
        if running {
            // Stages that nobody waits for still compute, and only the end of the process ends them.
            std::process::exit(i32::from(super::report(outcome, ui)));
        }
        outcome
    })
}

/// A run that was started.
struct StartedRun<'a> {
    args: &'a RunArgs,
    project: &'a Project,
    store: &'a Store,
    options: &'a Options,
    locked: Option<Lock>,
    lock_path: PathBuf,
    git: Option<JoinHandle<Option<Git>>>,
    time: SystemTime,
    clock: Instant,
}

/// What follows the stages: reports, the record, the lock file.
fn conclude(begun: StartedRun, states: &[State], ui: &Ui) -> Result<u8, CliError> {
    let StartedRun { args, project, store, options, locked, lock_path, git, time, clock } = begun;
    let ended = FinishedRun { project, store, ui, states };
    let results = ended.results();
    let published = publish(project, &results, store, ended.is_whole())?;
    ended.tell(&published)?;
    duplicates::report(&project.plan, states, ui);
    let named: Vec<(&str, &Entry)> =
        results.iter().map(|&(index, entry)| (project.plan.instance(index).id.as_str(), entry)).collect();
    let (mut code, mut outcome) = if states.iter().any(|state| matches!(state, State::Failed { .. })) {
        (FAILED, "failed")
    } else if states.iter().any(|state| matches!(state, State::Cancelled { .. })) {
        (INTERRUPTED, "interrupted")
    } else {
        (DONE, "done")
    };
    let difference = match (&locked, args.locked && code == DONE) {
        (Some(locked), true) => locked.first_difference(&named, store)?,
        _ => None,
    };
    if difference.is_some() {
        (code, outcome) = (FAILED, "differs from the lock file");
    }
    let warnings = engine::warnings(&project.plan, states);
    let record = Record {
        run: options.run.clone(),
        started: clock::timestamp(time),
        seconds: clock.elapsed().as_secs_f64(),
        outcome: outcome.to_owned(),
        pipeline: project.plan.pipeline.name.clone(),
        file: project.path.clone(),
        changes: project.plan.pipeline.changes.clone(),
        arguments: std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // If the thread panicked, the run is recorded without the state of git.
        git: git.and_then(|git| git.join().ok().flatten()),
        environment: RunEnvironment::new(options.jobs, ended.facets()),
        results: ended.digest(),
        warnings: warnings.clone(),
        same_as: None,
        stages: Vec::new(),
    };
    match record.write(store, || ended.records()) {
        Err(error) if error.is_read_only() => ui.note("the cache can only be read: this run is not recorded in it"),
        written => written.map_err(store_error)?,
    }
    if !ui.json {
        ui.warnings(&warnings);
    }

    if let Some(difference) = difference {
        let error = CliError::new(
            code,
            format!("`{}` differs from {}: {}", difference.id, lock_path.display(), difference.how),
        );
        return Err(match difference.same_key {
            Some(true) => error.help("its key is the locked one: the same computation gave another result here"),
            Some(false) => {
                error.help("its key differs as well: parameters, inputs, code or environment are others; see `explain`")
            }
            None => error.help("a complete run without --locked renews the lock file"),
        });
    }
    match code {
        DONE if args.locked => ui.note(&format!("all results are those of {}", lock_path.display())),
        DONE => ended.keep_lock(args, locked.unwrap_or_default(), &lock_path, &named)?,
        INTERRUPTED => ui.note("what is finished is kept; the same command goes on from there"),
        _ => {}
    }
    Ok(code)
}

/// A run that came to its end, good or bad.
struct FinishedRun<'a> {
    project: &'a Project,
    store: &'a Store,
    ui: &'a Ui,
    states: &'a [State],
}

impl<'a> FinishedRun<'a> {
    /// Instances with results, in topological order.
    fn results(&self) -> Vec<(usize, &'a Entry)> {
        let order = self.project.plan.order.iter();
        order.filter_map(|&index| self.states[index].entry().map(|entry| (index, entry.as_ref()))).collect()
    }

    /// Whether everything that the pipeline file says has results.
    fn is_whole(&self) -> bool {
        let all = self.states.iter().all(|state| state.entry().is_some());
        all && self.project.plan.pipeline.changes.is_empty()
    }

    fn tell(&self, published: &Published) -> Result<(), CliError> {
        if published.files.is_empty() {
            return Ok(());
        }
        if self.ui.json {
            self.ui.result_json(&json!({ "event": "published", "files": published.files }))?;
            return Ok(());
        }
        if !self.ui.quiet {
            published.texts.iter().for_each(|text| self.ui.result(text));
        }
        let mut written =
            if published.written == 0 { "unchanged".to_owned() } else { format!("{} new", published.written) };
        if published.removed > 0 {
            written.push_str(&format!(", {} of earlier runs removed", published.removed));
        }
        self.ui.note(&format!(
            "reports: {}/ ({} files, {written})",
            published.directory.display(),
            published.files.len()
        ));
        Ok(())
    }

    /// A lock file describes the whole pipeline as its file says: a part of it, or a changed one, leaves it alone.
    fn keep_lock(&self, args: &RunArgs, old: Lock, path: &Path, results: &[(&str, &Entry)]) -> Result<(), CliError> {
        let partial = !args.until.is_empty() || !self.project.plan.pipeline.changes.is_empty();
        if partial && !args.update_lock {
            let why = "only a part of the pipeline, or a changed one, was run (--update-lock writes it)";
            self.ui.note(&format!("{} is left as it is: {why}", path.display()));
            return Ok(());
        }
        let mut new = old.renewed(results, self.store)?;
        if partial {
            new.add_missing(old);
        }
        if new.write(path)? {
            self.ui.note(&format!("lock file: {}", path.display()));
        }
        Ok(())
    }

    fn digest(&self) -> crate::digest::Digest {
        let stages = self.project.plan.pipeline.instances.iter().zip(self.states).map(|(instance, state)| {
            let outputs = state.entry().map(|entry| entry.outputs.iter().map(|output| output.digest).collect());
            (instance.id.as_str(), state.key(), outputs.unwrap_or_default())
        });
        record::results_digest(stages)
    }

    /// What results depended on, as the keys have it: looked up once per kind.
    fn facets(&self) -> BTreeMap<String, String> {
        let plan = &self.project.plan;
        let mut kinds = BTreeMap::new();
        for (index, entry) in self.results() {
            kinds.entry(entry.kind.as_str()).or_insert((index, entry));
        }
        let mut facets = BTreeMap::new();
        for (kind, (index, entry)) in kinds {
            let depends = self
                .project
                .registry
                .get(kind)
                .is_some_and(|kind| !(kind.demands)(&plan.instance(index).params).facets.is_empty());
            let origin = if depends { self.store.origin(&entry.key).ok().flatten() } else { None };
            let fields = origin.into_iter().flat_map(|origin| origin.material);
            facets
                .extend(fields.filter_map(|(field, value)| {
                    Some((field.strip_prefix("environment.")?.to_owned(), plain(&value)))
                }));
        }
        facets
    }

    /// The raw files of an instance, with the digests that its key has.
    fn files(&self, index: usize, state: &State) -> Vec<RawSource> {
        let plan = &self.project.plan;
        let instance = plan.instance(index);
        let kind = self.project.registry.get(&plan.pipeline.stages[instance.stage].kind);
        let mut files = kind.map(|kind| (kind.demands)(&instance.params).files).unwrap_or_default();
        if files.iter().any(|file| file.digest.is_none()) {
            let origin = state.key().and_then(|key| self.store.origin(&key).ok().flatten()).unwrap_or_default();
            for (index, file) in files.iter_mut().enumerate() {
                file.digest = file.digest.take().or_else(|| data::digest_in(&origin, index));
            }
        }
        files
    }

    fn records(&self) -> Vec<StageRecord> {
        let plan = &self.project.plan;
        let record = |(index, state): (usize, &State)| {
            let instance = plan.instance(index);
            let needs = instance.needs.iter().map(|need| {
                let sources = need.sources.iter().flat_map(|source| {
                    let id = &plan.instance(source.instance).id;
                    source.artifacts.iter().map(move |artifact| format!("{id}.{artifact}"))
                });
                (need.port.clone(), sources.collect())
            });
            let entry = state.entry();
            let outputs = entry.into_iter().flat_map(|entry| &entry.outputs);
            StageRecord {
                id: instance.id.clone(),
                kind: plan.pipeline.stages[instance.stage].kind.clone(),
                outcome: plan::word(state).to_owned(),
                key: state.key(),
                params: instance.params.clone(),
                needs: needs.collect(),
                outputs: outputs.map(|output| (output.name.clone(), output.digest)).collect(),
                files: self.files(index, state),
                seconds: entry.map(|entry| entry.seconds),
            }
        };
        self.states.iter().enumerate().map(record).collect()
    }
}

/// A text as a key's material has it, without the quotes.
pub(super) fn plain(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
}
