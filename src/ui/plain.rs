//! Plain lines on standard error, where it is no terminal: one when a stage starts and ends, and now and then one
//! in between. Cached stages get none: a run that finds everything done should say so in one line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::failure::{failure, summary, warning};
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
                    (Some(error), _) => say(&failure(self.style, &finished.id, error)),
                    (None, Outcome::Executed) if !self.quiet => {
                        let done = self.style.paint(Tone::Good, "done");
                        say(&format!("{done} {} in {}", finished.id, duration(finished.seconds)));
                    }
                    _ => {}
                }
            }
            _ if self.quiet => {}
            Event::RunStarted { run, pipeline, stages, jobs } => {
                say(&format!("run {run}: {pipeline}, {}, {}", count(*stages, "stage"), count(*jobs, "job")));
            }
            Event::StageStarted { id, .. } => {
                self.running.insert(id.clone(), (Pace::new(), Instant::now()));
                say(&format!("start {id}"));
            }
            Event::StageProgress { id, progress } => {
                let Some((pace, last)) = self.running.get_mut(id) else { return };
                pace.update(progress);
                if last.elapsed() >= INTERVAL {
                    *last = Instant::now();
                    say(&format!("  {id}: {}", pace.text()));
                }
            }
            Event::StageWarning { id, text } => say(&warning(self.style, id, text)),
            Event::StageLog { .. } | Event::Warnings { .. } => {}
            Event::RunFinished(run) => say(&summary(self.style, run)),
        }
    }
}
