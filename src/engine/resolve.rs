//! Where every instance stands: keys from what is known, entries from the store. Runs nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::environment::Environment;
use super::execute::Unsound;
use super::stage::{Demands, Kind, StageError};
use super::{EngineError, Failure, Options, Registry, State};
use crate::digest::Digest;
use crate::plan::{Fields, InputMaterial, KeyMaterial, Plan};
use crate::spec::{Arity, Form};
use crate::store::raw::RawFiles;
use crate::store::{Entry, OutputEntry, Store, StoreError};

/// Finds keys and entries.
pub struct Resolver<'a> {
    pub(super) plan: &'a Plan,
    pub(super) kinds: &'a Registry,
    pub(super) store: &'a Store,
    pub(super) options: &'a Options,
    pub(super) raw: RawFiles,
    /// What was found damaged and not told yet.
    pub(super) damaged: Mutex<Vec<Unsound>>,
    pub(super) environment: Environment<'a>,
    /// Masks over all instances.
    forced: Vec<bool>,
    pub(super) wanted: Vec<bool>,
}

impl<'a> Resolver<'a> {
    /// # Errors
    /// The options name a stage that is not there.
    pub fn new(
        plan: &'a Plan,
        kinds: &'a Registry,
        store: &'a Store,
        options: &'a Options,
    ) -> Result<Self, EngineError> {
        let mut forced = vec![false; plan.len()];
        for name in &options.force {
            plan.select(name)?.into_iter().for_each(|index| forced[index] = true);
        }
        let wanted = if options.until.is_empty() {
            vec![true; plan.len()]
        } else {
            let targets = options.until.iter().map(|name| plan.select(name)).collect::<Result<Vec<_>, _>>()?;
            plan.closure(&targets.concat())
        };
        let raw = RawFiles::new(store.dir(), &options.base, options.data.clone(), options.mirrors.clone())
            .interruptible(options.interrupt.flag());
        let environment = Environment::new(store, &options.worker);
        Ok(Self { plan, kinds, store, options, raw, damaged: Mutex::default(), environment, forced, wanted })
    }

    /// The state of every instance. Instances of equal depth are looked up in parallel.
    pub fn probe(&self) -> Vec<State> {
        let mut states = vec![State::Excluded; self.plan.len()];
        let mut order: Vec<usize> = (0..self.plan.len()).filter(|&index| self.wanted[index]).collect();
        order.sort_by_key(|&index| self.plan.depth[index]);
        for level in order.chunk_by(|&a, &b| self.plan.depth[a] == self.plan.depth[b]) {
            let found: Vec<State> =
                level.par_iter().with_min_len(16).map(|&index| self.resolve(index, &states)).collect();
            level.iter().zip(found).for_each(|(&index, state)| states[index] = state);
        }
        states
    }

    /// The fields that the key of an instance is made of: what `explain` shows and compares with the
    /// [`material`](crate::store::Origin::material) of an earlier entry. `None` while a source has no results.
    ///
    /// # Errors
    /// The key cannot be made: a raw file is missing, or a part of the environment unknown.
    pub fn fields(&self, index: usize, states: &[State]) -> Result<Option<Fields>, StageError> {
        Ok(self.material(index, states)?.map(|material| material.fields()))
    }

    /// The state of one instance, given those of its sources.
    pub(super) fn resolve(&self, index: usize, states: &[State]) -> State {
        let key = match self.material(index, states) {
            Ok(Some(material)) => material.key(),
            Ok(None) => {
                let unknown = |source: &&usize| states[**source].entry().is_none();
                return State::Waits { on: self.plan.sources[index].iter().filter(unknown).copied().collect() };
            }
            Err(error) => return self.unresolved(None, error),
        };
        if self.forced[index] {
            return State::Miss { key, forced: true };
        }
        match self.entry(index, &key) {
            Some(entry) => State::Hit { key, entry: Arc::new(entry) },
            None => State::Miss { key, forced: false },
        }
    }

    /// The results of a key, if they are there. Those that are read when the run has ended, files for people, are digested:
    /// then it would be too late to make them anew.
    pub(super) fn entry(&self, index: usize, key: &Digest) -> Option<Entry> {
        let entry = self.store.entry(key)?;
        let outputs = self.kind(index).map_or(&[][..], |kind| kind.spec.outputs);
        for output in outputs.iter().filter(|output| matches!(output.form, Form::Files)) {
            let Some(OutputEntry { digest, .. }) = entry.output(output.name) else { continue };
            if let Err(StoreError::Damaged { reason, .. }) = self.store.sound_object(digest) {
                let artifact = output.name.to_owned();
                let unsound = Unsound { source: index, artifact, digest: *digest, reason };
                self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(unsound);
                return None;
            }
        }
        Some(entry)
    }

    /// An instance whose key cannot be made.
    pub(super) fn unresolved(&self, key: Option<Digest>, error: StageError) -> State {
        match self.options.interrupt.is_raised() {
            true => State::Cancelled { key },
            false => State::Failed { key, failure: failure(error) },
        }
    }

    /// What the key is made of, or `None` while a source has no results.
    pub(super) fn material(&self, index: usize, states: &[State]) -> Result<Option<KeyMaterial<'a>>, StageError> {
        let instance = self.plan.instance(index);
        let kind = self.kind(index)?;
        let mut inputs = Vec::new();
        for need in &instance.needs {
            let port = kind.spec.ports.iter().find(|port| port.name == need.port);
            let many = port.is_some_and(|port| matches!(port.arity, Arity::Many | Arity::OptionalMany));
            for source in &need.sources {
                let Some(entry) = states[source.instance].entry() else { return Ok(None) };
                let digest = |name: &'a String| {
                    let output = entry.output(name).ok_or_else(|| {
                        let id = &self.plan.instance(source.instance).id;
                        StageError::new(format!("`{id}` has no artifact `{name}`"))
                    })?;
                    Ok((name.as_str(), output.digest))
                };
                inputs.push(InputMaterial {
                    port: &need.port,
                    labels: many.then(|| self.plan.instance(source.instance).labels.as_slice()),
                    artifacts: source.artifacts.iter().map(digest).collect::<Result<_, StageError>>()?,
                });
            }
        }
        let identity = |file: super::stage::RawSource| {
            let found = self.raw.identity(&file.source, file.digest.as_deref());
            found.map_err(|error| StageError::new(error.to_string()))
        };
        let Demands { files, components, facets, .. } = (kind.demands)(&instance.params);
        Ok(Some(KeyMaterial {
            kind: kind.spec.name,
            kind_version: kind.version,
            params: match files.is_empty() {
                true => Cow::Borrowed(&instance.params),
                false => Cow::Owned((kind.without_paths)(&instance.params)),
            },
            inputs,
            files: files.into_iter().map(identity).collect::<Result<_, _>>()?,
            components,
            facets: facets.into_iter().map(|facet| self.environment.facet(facet)).collect::<Result<_, _>>()?,
        }))
    }

    pub(super) fn kind(&self, index: usize) -> Result<&'a Kind, StageError> {
        let name = &self.plan.pipeline.stages[self.plan.instance(index).stage].kind;
        self.kinds.get(name).ok_or_else(|| StageError::new(format!("this version has no stage kind `{name}`")))
    }
}

/// A failure without a log.
pub(super) fn failure(error: StageError) -> Failure {
    Failure { error, log_tail: Vec::new(), log_path: None }
}

/// Where every instance stands before a run: what `plan` and `status` show.
pub fn probe(plan: &Plan, kinds: &Registry, store: &Store, options: &Options) -> Result<Vec<State>, EngineError> {
    Ok(Resolver::new(plan, kinds, store, options)?.probe())
}

/// Seconds that each instance still to be executed will take, from the store's memory: its own last execution,
/// else the mean of its stage, else of its kind; `None` where nothing is known, 0 for what need not run.
pub fn estimate(plan: &Plan, store: &Store, options: &Options, states: &[State]) -> Vec<Option<f64>> {
    let previous = store.previous(options.pipeline(plan));
    let seconds = |key: &Digest| store.index_entry(key).ok().flatten().map(|entry| entry.seconds);
    let known: Vec<Option<f64>> = (0..plan.len())
        .into_par_iter()
        .map(|index| match states[index].entry() {
            Some(entry) => Some(entry.seconds),
            None => previous.get(&plan.instance(index).id).and_then(seconds),
        })
        .collect();

    let mut by_stage = BTreeMap::<usize, (f64, u32)>::new();
    let mut by_kind = BTreeMap::<&str, (f64, u32)>::new();
    for (index, seconds) in known.iter().enumerate() {
        let Some(seconds) = seconds else { continue };
        let stage = plan.instance(index).stage;
        for (sum, count) in
            [by_stage.entry(stage).or_default(), by_kind.entry(plan.pipeline.stages[stage].kind.as_str()).or_default()]
        {
            *sum += seconds;
            *count += 1;
        }
    }
    let mean = |total: Option<&(f64, u32)>| total.map(|&(sum, count)| sum / f64::from(count));
    let estimate = |index: usize| {
        let stage = plan.instance(index).stage;
        match states[index] {
            State::Miss { .. } | State::Waits { .. } => known[index]
                .or_else(|| mean(by_stage.get(&stage)))
                .or_else(|| mean(by_kind.get(plan.pipeline.stages[stage].kind.as_str()))),
            _ => Some(0.0),
        }
    };
    (0..plan.len()).map(estimate).collect()
}
