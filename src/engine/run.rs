//! The engine's loop: starts stages when what they need is there and the machine has room, settles them when they
//! end, and is the only emitter of events.

mod heal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::event::{Event, Finished, Outcome, Summary, Warning};
use super::execute::{End, Task, caught, panicked};
use super::machine::{Machine, Share};
use super::resolve::{Resolver, failure};
use super::stage::{Input, Job, Notice, Resources, Runner, StageError};
use super::thread_pool::ThreadPool;
use super::worker::WorkerPool;
use super::{EngineError, Options, Registry, State};
use crate::digest::Digest;
use crate::plan::Plan;
use crate::spec::Source;
use crate::store::{Entry, KeyLock, Origin, OutputEntry, Staging, Store, StoreError};

/// How often the loop looks whether it was interrupted.
const TICK: Duration = Duration::from_millis(50);
/// How long interrupted workers may take to end before they are killed.
const GRACE: Duration = Duration::from_millis(600);
/// When an interrupted run waits no longer for stages in this process, which cannot be ended by force.
const LEAVE: Duration = Duration::from_millis(800);
/// How many ready stages are considered when the first ones do not fit on the machine.
const LOOKAHEAD: usize = 64;

/// Executes what the store does not have. Answers where every instance stands at the end; `sink` gets the events.
///
/// # Errors
/// When the store cannot be used, or `force` or `until` names no stage. Failed stages are no errors.
pub fn run(
    plan: &Plan,
    kinds: &Registry,
    store: &Store,
    options: &Options,
    sink: &mut dyn FnMut(&Event),
) -> Result<Vec<State>, EngineError> {
    run_then(plan, kinds, store, options, sink, |result, _| result)
}

/// As [`run`], with the result going to `end`, which is also told whether stages still compute in this process that the
/// run does not wait for: when it was interrupted, or is broken. Nothing is expected of them, so `end` may end the
/// process; if it returns, they are waited for.
pub fn run_then<T>(
    plan: &Plan,
    kinds: &Registry,
    store: &Store,
    options: &Options,
    sink: &mut dyn FnMut(&Event),
    end: impl FnOnce(Result<Vec<State>, EngineError>, bool) -> T,
) -> T {
    let started = Instant::now();
    let ready = || Ok::<_, EngineError>((store.share()?, Resolver::new(plan, kinds, store, options)?));
    let (_share, resolver) = match ready() {
        Ok(ready) => ready,
        Err(error) => return end(Err(error), false),
    };
    sink(&Event::RunStarted {
        run: options.run.clone(),
        pipeline: plan.pipeline.name.clone(),
        stages: resolver.wanted.iter().filter(|&&wanted| wanted).count(),
        jobs: options.jobs,
    });

    let states = resolver.probe();
    let (workers, staging) = (WorkerPool::new(options.worker.clone()), store.staging());
    let (sender, receiver) = mpsc::channel();
    let mut run = Scheduler::new(&resolver, &workers, &staging, sink, sender, states);
    std::thread::scope(|scope| {
        let threads = ThreadPool::new(scope);
        let result = caught(|| run.complete(&threads, &receiver)).unwrap_or_else(|text| {
            workers.kill();
            Err(EngineError::Panicked(text))
        });
        workers.dismiss();
        let Scheduler { states, mut summary, running, sink, .. } = run;
        let conclude = || -> Result<Vec<State>, EngineError> {
            // Also after an error: the next run must find what was finished.
            let keys = states
                .iter()
                .enumerate()
                .filter_map(|(index, state)| state.entry().map(|entry| (plan.instance(index).id.as_str(), entry.key)));
            let complete = plan.pipeline.changes.is_empty() && states.iter().all(|state| state.entry().is_some());
            match store.remember(options.pipeline(plan), keys, complete) {
                // A cache that can only be read serves a run that has nothing to do.
                Err(error) if error.is_read_only() && summary.executed == 0 => {}
                remembered => remembered?,
            }
            store.sync()?;
            result?;
            let warnings = warnings(plan, &states);
            if !warnings.is_empty() {
                sink(&Event::Warnings { warnings });
            }
            summary.run.clone_from(&options.run);
            summary.seconds = started.elapsed().as_secs_f64();
            sink(&Event::RunFinished(summary));
            Ok(states)
        };
        end(conclude(), !running.is_empty())
    })
}

/// What the results of a plan bring with them, each fact once with all the instances of which it is true, in the order of
/// the plan.
pub fn warnings(plan: &Plan, states: &[State]) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    let mut known = BTreeMap::new();
    for &index in &plan.order {
        for text in states[index].entry().into_iter().flat_map(|entry| &entry.warnings) {
            let place = *known.entry(text).or_insert(warnings.len());
            if place == warnings.len() {
                warnings.push(Warning { text: text.clone(), ids: Vec::new() });
            }
            warnings[place].ids.push(plan.instance(index).id.clone());
        }
    }
    warnings
}

/// How many executed stages may wait for the disk at a time, beside those that run.
const COMMITS: usize = 32;

/// Messages from executions to the loop.
enum TaskMessage {
    Notice(usize, Notice),
    Ended(usize, Result<Entry, End>),
    /// The results of a stage that succeeded are durable.
    Committed(Result<(), EngineError>),
}

struct Scheduler<'env, 'sink> {
    resolver: &'env Resolver<'env>,
    workers: &'env WorkerPool,
    staging: &'env Staging,
    sink: &'sink mut dyn FnMut(&Event),
    sender: Sender<TaskMessage>,
    states: Vec<State>,
    /// How many sources of each instance have no results yet.
    missing: Vec<usize>,
    /// Rank in the order of execution, and instance.
    ready: BTreeSet<(u64, usize)>,
    /// Ready, but someone else holds the lock of the key.
    deferred: BTreeSet<(u64, usize)>,
    rank: Vec<u64>,
    running: BTreeMap<usize, Share>,
    committing: usize,
    whole: Machine,
    free: Machine,
    /// Keys executed in this run: not again, even when forced.
    executed: BTreeSet<Digest>,
    /// How often the results of an instance were found damaged.
    damaged: BTreeMap<usize, u32>,
    /// No further stage is started.
    stopped: bool,
    summary: Summary,
}

impl<'env, 'sink> Scheduler<'env, 'sink> {
    fn new(
        resolver: &'env Resolver<'env>,
        workers: &'env WorkerPool,
        staging: &'env Staging,
        sink: &'sink mut dyn FnMut(&Event),
        sender: Sender<TaskMessage>,
        states: Vec<State>,
    ) -> Self {
        let plan = resolver.plan;
        let mut shuffle = resolver.options.shuffle.map(|seed| crate::rng::stream(seed, "execution order", 0));
        // Only who has to compute something on a GPU needs to ask the worker for them.
        let needs_gpu = |index: usize| {
            let params = &plan.instance(index).params;
            let open = matches!(states[index], State::Miss { .. } | State::Waits { .. });
            let kind = resolver.kind(index).ok().filter(|kind| open && matches!(kind.runner, Runner::Worker));
            kind.is_some_and(|kind| (kind.demands)(params).resources.gpus > 0)
        };
        let gpus = if (0..plan.len()).any(needs_gpu) { resolver.environment.gpus() } else { 0 };
        let machine = Machine::detect(gpus);
        Self {
            resolver,
            workers,
            staging,
            sink,
            sender,
            missing: plan.sources.iter().map(Vec::len).collect(),
            states,
            ready: BTreeSet::new(),
            deferred: BTreeSet::new(),
            rank: (0..plan.len()).map(|_| shuffle.as_mut().map_or(0, |rng| rng.random())).collect(),
            running: BTreeMap::new(),
            committing: 0,
            free: machine.clone(),
            whole: machine,
            executed: BTreeSet::new(),
            damaged: BTreeMap::new(),
            stopped: false,
            summary: Summary::default(),
        }
    }

    fn complete(
        &mut self,
        threads: &ThreadPool<'_, 'env>,
        receiver: &Receiver<TaskMessage>,
    ) -> Result<(), EngineError> {
        self.begin();
        let mut interrupted: Option<Instant> = None;
        let mut broken = None;
        loop {
            if self.resolver.options.interrupt.is_raised() {
                let since = *interrupted.get_or_insert_with(|| {
                    self.stopped = true;
                    self.workers.terminate();
                    self.resolver.options.interrupt.heed();
                    (self.sink)(&Event::Interrupted { running: self.running.len() });
                    Instant::now()
                });
                if since.elapsed() > GRACE {
                    self.workers.kill();
                }
                if since.elapsed() > LEAVE && self.committing == 0 {
                    break;
                }
            }
            self.tell_damaged();
            if let Err(error) = self.start_ready(threads) {
                // Running stages are waited for, so workers are asked to end soon.
                self.stopped = true;
                self.workers.terminate();
                broken.get_or_insert(error);
            }
            let exhausted = self.stopped || (self.ready.is_empty() && self.deferred.is_empty());
            if exhausted && self.running.is_empty() && self.committing == 0 {
                break;
            }
            match receiver.recv_timeout(TICK) {
                Ok(TaskMessage::Notice(index, notice)) => self.tell(index, notice),
                Ok(TaskMessage::Ended(index, result)) => self.ended(index, result),
                Ok(TaskMessage::Committed(result)) => {
                    self.committing -= 1;
                    if let Err(error) = result {
                        self.stopped = true;
                        broken.get_or_insert(error);
                    }
                }
                // This loop holds a sender itself, so that only time can run out.
                Err(_) => {}
            }
            self.ready.append(&mut self.deferred);
        }
        for index in 0..self.states.len() {
            if let State::Miss { .. } | State::Waits { .. } = self.states[index] {
                self.settle(index, State::Cancelled { key: self.states[index].key() });
            }
        }
        broken.map_or(Ok(()), Err)
    }

    /// Takes over what the probe found.
    fn begin(&mut self) {
        let plan = self.resolver.plan;
        for &index in &plan.order {
            match self.states[index].clone() {
                state @ (State::Hit { .. } | State::Failed { .. } | State::Cancelled { .. }) => {
                    self.settle(index, state)
                }
                State::Miss { .. } => {
                    self.ready.insert((self.rank[index], index));
                }
                _ => {}
            }
        }
    }

    /// Starts as many ready stages as there is room for.
    fn start_ready(&mut self, threads: &ThreadPool<'_, 'env>) -> Result<(), EngineError> {
        let jobs = self.resolver.options.jobs.max(1);
        'next: while !self.stopped && self.running.len() < jobs && self.committing < COMMITS {
            let candidates: Vec<(u64, usize)> = self.ready.iter().take(LOOKAHEAD).copied().collect();
            for (rank, index) in candidates {
                let slots = self.ready.len().min(jobs - self.running.len());
                let need = match self.resolver.kind(index) {
                    Ok(kind) => (kind.demands)(&self.resolver.plan.instance(index).params).resources,
                    Err(_) => Resources::default(),
                };
                let mut free = self.free.clone();
                let Some(share) = free.grant(&need, &self.whole, slots, self.running.is_empty()) else { continue };
                self.ready.remove(&(rank, index));
                let State::Miss { key, forced } = self.states[index] else { continue 'next };
                let Some(lock) = self.resolver.store.try_lock(&key)? else {
                    self.deferred.insert((rank, index));
                    continue 'next;
                };
                // Another process may have executed it since the probe.
                let again = forced && !self.executed.contains(&key);
                if let Some(entry) = (!again).then(|| self.resolver.entry(index, &key)).flatten() {
                    drop(lock);
                    self.settle(index, State::Hit { key, entry: Arc::new(entry) });
                    continue 'next;
                }
                match self.task(index, key, lock, &share) {
                    Ok(task) => {
                        self.free = free;
                        self.running.insert(index, share);
                        self.start(threads, index, task);
                    }
                    Err(error) => self.settle(index, self.resolver.unresolved(Some(key), error)),
                }
                continue 'next;
            }
            break;
        }
        Ok(())
    }

    fn task(&self, index: usize, key: Digest, lock: KeyLock, share: &Share) -> Result<Task<'env>, StageError> {
        let Resolver { plan, store, options, raw, .. } = self.resolver;
        let instance = plan.instance(index);
        let kind = self.resolver.kind(index)?;
        let raw_files = (kind.demands)(&instance.params).files;
        let material = self.resolver.material(index, &self.states)?;
        if material.as_ref().is_none_or(|material| material.key() != key) {
            let files: Vec<&str> = raw_files.iter().map(|file| file.source.as_str()).collect();
            let message = format!("what it reads changed while the run was going on: run again ({})", files.join(", "));
            return Err(StageError::new(message));
        }
        let sources = || instance.needs.iter().flat_map(|need| need.sources.iter().map(|source| (&need.port, source)));
        let input = |port: &str, source: &Source| Input {
            port: port.to_owned(),
            labels: plan.instance(source.instance).labels.clone(),
            artifacts: self
                .artifacts(source)
                .map(|output| (output.name.clone(), store.object_path(&output.digest)))
                .collect(),
        };
        Ok(Task {
            store,
            kind,
            _lock: lock,
            inputs: sources()
                .flat_map(|(_, source)| {
                    self.artifacts(source).map(move |output| (source.instance, output.name.clone(), output.digest))
                })
                .collect(),
            job: Job {
                kind: kind.spec.name.to_owned(),
                id: instance.id.clone(),
                params: instance.params.clone(),
                inputs: sources().map(|(port, source)| input(port, source)).collect(),
                files: Vec::new(),
                digests: material.as_ref().map(|material| material.files.clone()).unwrap_or_default(),
                out_dir: PathBuf::new(),
                scratch: store.scratch_dir(&key),
                threads: share.cores,
                gpus: share.gpus.clone(),
            },
            entry: Entry {
                key,
                kind: kind.spec.name.to_owned(),
                kind_version: kind.version,
                outputs: Vec::new(),
                seconds: 0.0,
                cpu_seconds: None,
                peak_memory_bytes: None,
                threads: share.cores,
                warnings: Vec::new(),
            },
            origin: Origin {
                id: instance.id.clone(),
                environment: options.environment.clone(),
                material: material.map(|material| material.fields()).unwrap_or_default(),
                digested: true,
            },
            staging: self.staging,
            raw,
            raw_files,
            retry: options.retry,
            isolate: options.isolate,
            workers: self.workers,
            interrupt: &options.interrupt,
        })
    }

    /// The artifacts that come from a source.
    fn artifacts<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = &'a OutputEntry> {
        let outputs = self.states[source.instance].entry().into_iter().flat_map(|entry| &entry.outputs);
        outputs.filter(|output| source.artifacts.contains(&output.name))
    }

    fn start(&mut self, threads: &ThreadPool<'_, 'env>, index: usize, task: Task<'env>) {
        let event =
            Event::StageStarted { id: task.job.id.clone(), kind: task.job.kind.clone(), threads: task.job.threads };
        (self.sink)(&event);
        let sender = self.sender.clone();
        let work = move || {
            // The loop listens for as long as a stage runs.
            let notify = |notice| drop(sender.send(TaskMessage::Notice(index, notice)));
            tell_ends(index, &sender, task, |task| task.execute(&notify), Task::commit);
        };
        if let Err(error) = threads.start(work) {
            let error = StageError::new(format!("cannot start a thread for the stage: {error}"));
            self.ended(index, Err(End::Failed(failure(error))));
        }
    }

    fn tell(&mut self, index: usize, notice: Notice) {
        let id = self.resolver.plan.instance(index).id.clone();
        (self.sink)(&match notice {
            Notice::Progress(progress) => Event::StageProgress { id, progress },
            Notice::Log(line) => Event::StageLog { id, line },
            Notice::Device(_) => return,
            Notice::Warning(text) => Event::StageWarning { id, text },
        });
    }

    fn ended(&mut self, index: usize, result: Result<Entry, End>) {
        if let Some(share) = self.running.remove(&index) {
            self.free.release(&share, &self.whole);
        }
        let key = self.states[index].key();
        match result {
            Ok(entry) => {
                self.committing += 1;
                self.executed.insert(entry.key);
                if self.missing[index] > 0 {
                    // Its inputs were taken back and are being made again; its key is looked up again once they are there.
                    self.requeue(index);
                } else {
                    self.settle(index, State::Executed { key: entry.key, entry: Arc::new(entry) });
                }
            }
            Err(End::Unsound(unsound)) => self.heal(index, unsound),
            Err(End::Failed(failure)) => self.settle(index, State::Failed { key, failure }),
            Err(End::Cancelled) => self.settle(index, State::Cancelled { key }),
        }
    }

    /// The only place where an instance reaches its final state, and what follows from that: the event, the count,
    /// and the turn of those that need it.
    fn settle(&mut self, index: usize, state: State) {
        let mut settled = vec![(index, state)];
        while let Some((index, state)) = settled.pop() {
            self.announce(index, &state);
            let succeeded = state.entry().is_some();
            let failed = matches!(state, State::Failed { .. } | State::Skipped);
            self.states[index] = state;
            let plan = self.resolver.plan;
            for &dependent in &plan.dependents[index] {
                self.missing[dependent] -= usize::from(succeeded);
                // Dependents that the probe resolved, that are skipped already or were not asked for are not waiting.
                if !matches!(self.states[dependent], State::Waits { .. }) {
                    continue;
                }
                if failed {
                    self.states[dependent] = State::Skipped;
                    settled.push((dependent, State::Skipped));
                } else if self.missing[dependent] == 0 {
                    settled.extend(self.look_up(dependent).map(|state| (dependent, state)));
                }
            }
        }
    }

    /// Looks at an instance whose sources all have results: queues it if it is to be executed, or else answers the state
    /// that it has reached.
    fn look_up(&mut self, index: usize) -> Option<State> {
        match self.resolver.resolve(index, &self.states) {
            state @ State::Miss { .. } => {
                self.states[index] = state;
                self.ready.insert((self.rank[index], index));
                None
            }
            state => Some(state),
        }
    }

    fn announce(&mut self, index: usize, state: &State) {
        let (outcome, count) = match state {
            State::Hit { .. } => (Outcome::Cached, &mut self.summary.cached),
            State::Executed { .. } => (Outcome::Executed, &mut self.summary.executed),
            State::Failed { .. } => (Outcome::Failed, &mut self.summary.failed),
            State::Skipped => (Outcome::Skipped, &mut self.summary.skipped),
            State::Cancelled { .. } => (Outcome::Cancelled, &mut self.summary.cancelled),
            State::Excluded | State::Miss { .. } | State::Waits { .. } => return,
        };
        *count += 1;
        let error = match state {
            State::Failed { failure, .. } => {
                self.stopped |= !self.resolver.options.keep_going;
                Some(failure.clone())
            }
            _ => None,
        };
        let seconds = match state {
            State::Executed { entry, .. } => entry.seconds,
            _ => 0.0,
        };
        (self.sink)(&Event::StageFinished(Finished {
            id: self.resolver.plan.instance(index).id.clone(),
            outcome,
            key: state.key(),
            seconds,
            error,
        }));
    }
}

/// Executes and commits a stage. The loop waits for a message about each, so a panic is reported like a failure.
fn tell_ends<T>(
    index: usize,
    sender: &Sender<TaskMessage>,
    mut task: T,
    execute: impl FnOnce(&mut T) -> Result<Entry, End>,
    commit: impl FnOnce(T) -> Result<(), StoreError>,
) {
    let result = caught(|| execute(&mut task)).unwrap_or_else(|text| {
        let error = panicked(format!("the engine panicked while it ran the stage: {text}"));
        Err(End::Failed(failure(error)))
    });
    let succeeded = result.is_ok();
    // If the loop has ended, nobody waits for this message.
    drop(sender.send(TaskMessage::Ended(index, result)));
    if succeeded {
        let committed = caught(|| commit(task)).map_err(EngineError::Panicked);
        drop(sender.send(TaskMessage::Committed(committed.and_then(|result| result.map_err(EngineError::from)))));
    }
}
