//! Plain lines on standard error, where it is no terminal: one when a stage starts and ends, and now and then one
//! in between. Cached stages get none: a run that finds everything done should say so in one line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::failure::{damaged, failure, interrupted, summary, warning};
use super::progress::Pace;
use super::text::{count, duration};
use super::{Reporter, Style, Tone, say};
use crate::engine::event::{Event, Outcome};

/// Between two progress lines of a stage.
const INTERVAL: Duration = Duration::from_secs(10);

pub struct Plain {
    style: Style,
    /// Only failures.
    quiet: bool,
    running: BTreeMap<String, (Pace, Instant)>,
}

impl Plain {
    pub fn new(style: Style, quiet: bool) -> Self {
        Self { style, quiet, running: BTreeMap::new() }
    }
}

impl Reporter for Plain {
    fn show(&mut self, event: &Event) {
        match event {
            Event::StageFinished(finished) => {
                self.running.remove(&finished.id);
                match (&finished.error, finished.outcome) {
                    (Some(error), _) => say(self.style, &failure(self.style, &finished.id, error)),
                    (None, Outcome::Executed) if !self.quiet => {
                        let done = self.style.paint(Tone::Good, "done");
                        say(self.style, &format!("{done} {} in {}", finished.id, duration(finished.seconds)));
                    }
                    _ => {}
                }
            }
            Event::ArtifactDamaged { id, artifact, reason, .. } => {
                say(self.style, &damaged(self.style, id, artifact, reason))
            }
            _ if self.quiet => {}
            Event::RunStarted { run, pipeline, stages, jobs } => {
                say(
                    self.style,
                    &format!("run {run}: {pipeline}, {}, {}", count(*stages, "stage"), count(*jobs, "job")),
                );
            }
            Event::StageStarted { id, .. } => {
                self.running.insert(id.clone(), (Pace::new(), Instant::now()));
                say(self.style, &format!("start {id}"));
            }
            Event::StageProgress { id, progress } => {
                let Some((pace, last)) = self.running.get_mut(id) else { return };
                pace.update(progress);
                if last.elapsed() >= INTERVAL {
                    *last = Instant::now();
                    say(self.style, &format!("  {id}: {}", pace.text()));
                }
            }
            Event::StageWarning { id, text } => say(self.style, &warning(self.style, id, text)),
            Event::StageLog { .. } | Event::Warnings { .. } => {}
            Event::Interrupted { running } => say(self.style, &interrupted(self.style, *running)),
            Event::RunFinished(run) => say(self.style, &summary(self.style, run)),
        }
    }
}
