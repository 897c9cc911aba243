//! Results in the store that turn out to be damaged when they are about to be read: they, and what was made from them,
//! are looked at anew, so that the same run executes what is needed and ends as it would have without the damage.

use std::sync::PoisonError;

use super::Scheduler;
use crate::engine::State;
use crate::engine::event::Event;
use crate::engine::execute::Unsound;
use crate::engine::resolve::failure;
use crate::engine::stage::StageError;

/// How often the results of a stage may turn out to be damaged in one run.
const PATIENCE: u32 = 2;

impl Scheduler<'_, '_> {
    /// A stage was not begun because some of its inputs are damaged: has these made anew, and then the stage tried again.
    pub(super) fn heal(&mut self, index: usize, unsound: Vec<Unsound>) {
        for found in unsound {
            let store = self.resolver.store;
            // Several stages may have found it, so that it may be back already.
            let Err(error) = store.sound_object(&found.digest) else { continue };
            if store.object_path(&found.digest).exists() {
                let error = StageError::new(error.to_string()).with_help("name another cache with --cache DIR");
                let key = self.states[index].key();
                return self.settle(index, State::Failed { key, failure: failure(error) });
            }
            let entry = self.states[found.source].entry();
            if entry.is_some_and(|entry| entry.outputs.iter().any(|output| output.digest == found.digest)) {
                self.take_back(found);
            }
        }
        self.requeue(index);
    }

    /// The results of an instance are lost, and so is what follows from them: its executions may give others.
    fn take_back(&mut self, found: Unsound) {
        let plan = self.resolver.plan;
        let (mut open, mut again) = (vec![found.source], 0);
        while let Some(index) = open.pop() {
            self.ready.remove(&(self.rank[index], index));
            self.deferred.remove(&(self.rank[index], index));
            let ended = match std::mem::replace(&mut self.states[index], State::Waits { on: Vec::new() }) {
                State::Hit { .. } => &mut self.summary.cached,
                State::Executed { .. } => &mut self.summary.executed,
                _ => continue,
            };
            *ended -= 1;
            again += 1;
            for &dependent in &plan.dependents[index] {
                self.missing[dependent] += 1;
                // What runs has read its inputs, or will find the damage itself.
                let waits =
                    matches!(self.states[dependent], State::Hit { .. } | State::Executed { .. } | State::Miss { .. });
                if waits && !self.running.contains_key(&dependent) {
                    open.push(dependent);
                }
            }
        }
        let Unsound { source, artifact, reason, .. } = found;
        let id = plan.instance(source).id.clone();
        (self.sink)(&Event::ArtifactDamaged { id, artifact, reason, again });
        let times = self.damaged.entry(source).or_default();
        *times += 1;
        if *times > PATIENCE {
            let error = StageError::new("its results in the cache are damaged again and again").with_help(
                "look whether the disk and the memory of this machine are sound, or use another --cache DIR",
            );
            self.settle(source, State::Failed { key: None, failure: failure(error) });
        } else {
            self.requeue(source);
        }
    }

    /// Looks at an instance again that has no results and does not run.
    pub(super) fn requeue(&mut self, index: usize) {
        if !matches!(self.states[index], State::Miss { .. } | State::Waits { .. }) {
            return;
        }
        let failed = |source: &usize| matches!(self.states[*source], State::Failed { .. } | State::Skipped);
        if self.resolver.plan.sources[index].iter().any(failed) {
            self.settle(index, State::Skipped);
        } else if self.missing[index] > 0 {
            self.states[index] = State::Waits { on: Vec::new() };
        } else if let Some(state) = self.look_up(index) {
            self.settle(index, state);
        }
    }

    /// Tells of damage that was found by looking something up.
    pub(super) fn tell_damaged(&mut self) {
        let found = std::mem::take(&mut *self.resolver.damaged.lock().unwrap_or_else(PoisonError::into_inner));
        for Unsound { source, artifact, reason, .. } in found {
            let id = self.resolver.plan.instance(source).id.clone();
            (self.sink)(&Event::ArtifactDamaged { id, artifact, reason, again: 0 });
        }
    }
}
