//! Progress bars on a terminal: a line per running stage (epoch, loss, rate, time left) and one for the run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::{damaged, failure, interrupted, summary, warning};
use super::text::{bytes, duration, in_lines, number, one_line, shorten};
use super::{Reporter, Style, Tone};
use crate::engine::event::{Event, Outcome};
use crate::engine::stage::Progress;

/// How fast a stage goes, from when it started to count.
pub struct Pace {
    /// When the first progress came, and how far the stage was: what a resumed stage had done before is not speed.
    first: Option<(Instant, u64)>,
    last: Option<Progress>,
}

impl Pace {
    pub fn new() -> Self {
        Self { first: None, last: None }
    }

    pub fn update(&mut self, progress: &Progress) {
        self.first.get_or_insert((Instant::now(), progress.done));
        self.last = Some(progress.clone());
    }

    /// `epoch 12/100, loss 0.4213, 3.1/s, 28 s left`; empty before the first progress.
    pub fn text(&self) -> String {
        match (&self.first, &self.last) {
            (Some((since, from)), Some(progress)) => describe(progress, *from, since.elapsed()),
            _ => String::new(),
        }
    }
}

/// `from` is how far the stage was `elapsed` ago.
fn describe(progress: &Progress, from: u64, elapsed: Duration) -> String {
    let mut parts = vec![match (progress.unit.as_str(), progress.total) {
        ("byte", 0) => bytes(progress.done),
        ("byte", total) => format!("{} of {}", bytes(progress.done), bytes(total)),
        (unit, total) => format!("{unit} {}/{total}", progress.done),
    }];
    // The first value is the loss; the others come last, where a narrow line cuts them off.
    let mut values = progress.values.iter().map(|(name, value)| format!("{name} {}", number(*value)));
    parts.extend(values.next());
    let done = progress.done.saturating_sub(from);
    if done > 0 && elapsed > Duration::ZERO {
        let rate = done as f64 / elapsed.as_secs_f64();
        parts.push(match progress.unit.as_str() {
            "byte" => format!("{}/s", bytes(rate as u64)),
            _ if rate >= 1.0 => format!("{}/s", number(rate)),
            _ => format!("{} each", duration(1.0 / rate)),
        });
        if let Some(left) = progress.total.checked_sub(progress.done) {
            parts.push(format!("{} left", duration(left as f64 / rate)));
        }
    }
    parts.extend(values);
    parts.join(", ")
}

/// Bars on a terminal.
pub struct Bars {
    style: Style,
    bars: MultiProgress,
    overall: ProgressBar,
    running: BTreeMap<String, BarLine>,
    total: usize,
    finished: usize,
    failed: usize,
}

struct BarLine {
    bar: ProgressBar,
    pace: Pace,
}

/// Refreshes of the bars per second.
const REFRESHES: u8 = 8;
/// A stage that ends sooner than this leaves no line behind, so that thousands of short stages do not flood the
/// terminal.
const WORTH_A_LINE: f64 = 0.2;
/// Columns of a line that its text does not get: the spinner and the elapsed time.
const MARGIN: usize = 14;

impl Bars {
    pub fn new(style: Style) -> Self {
        // The library has its own opinion on colours, from the environment alone.
        console::set_colors_enabled_stderr(style.color);
        Self {
            style,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REFRESHES)),
            overall: ProgressBar::hidden(),
            running: BTreeMap::new(),
            total: 0,
            finished: 0,
            failed: 0,
        }
    }

    /// The line of the run appears with the first stage that has something to do.
    fn open(&mut self) {
        if self.overall.length().is_none_or(|length| length == 0) {
            self.overall = self.bars.add(ProgressBar::new(self.total as u64));
            self.overall.set_style(look("{bar:14.green} {wide_msg} {elapsed:.dim}"));
            self.overall.enable_steady_tick(Duration::from_secs(1) / u32::from(REFRESHES));
        }
    }

    fn show_overall(&self) {
        let mut text = format!("{}/{} stages", self.finished, self.total);
        if !self.running.is_empty() {
            text.push_str(&format!(", {} running", self.running.len()));
        }
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        self.overall.set_message(text);
        self.overall.set_position(self.finished as u64);
    }

    /// Prints above the bars.
    fn print(&self, text: &str) {
        self.bars.suspend(|| super::say(self.style, text));
    }
}

impl BarLine {
    /// What is told comes whole; the id gets what it leaves, but never less than a third of the terminal.
    fn refresh(&self, id: &str) {
        let width = width();
        let told = self.pace.text();
        let room = width.saturating_sub(told.chars().count() + MARGIN).max(width / 3);
        self.bar.set_message(format!("{}  {told}", shorten(&one_line(id), room)));
    }
}

/// Columns of the terminal.
fn width() -> usize {
    usize::from(console::Term::stderr().size().1)
}

pub(super) fn look(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Reporter for Bars {
    fn show(&mut self, event: &Event) {
        match event {
            Event::RunStarted { stages, .. } => self.total = *stages,
            Event::StageStarted { id, .. } => {
                self.open();
                let bar = self.bars.insert_before(&self.overall, ProgressBar::no_length());
                bar.set_style(look("{spinner:.cyan} {wide_msg} {elapsed:.dim}"));
                bar.enable_steady_tick(Duration::from_secs(1) / u32::from(REFRESHES));
                let line = BarLine { bar, pace: Pace::new() };
                line.refresh(id);
                // It starts again when its inputs had to be made anew.
                if let Some(earlier) = self.running.insert(id.clone(), line) {
                    earlier.bar.finish_and_clear();
                    self.bars.remove(&earlier.bar);
                }
                self.show_overall();
            }
            Event::StageProgress { id, progress } => {
                if let Some(line) = self.running.get_mut(id) {
                    line.pace.update(progress);
                    line.refresh(id);
                }
            }
            Event::StageWarning { id, text } => self.print(&warning(self.style, id, text)),
            Event::StageLog { .. } | Event::Warnings { .. } => {}
            Event::ArtifactDamaged { id, artifact, reason, again } => {
                self.finished = self.finished.saturating_sub(*again);
                self.print(&damaged(self.style, id, artifact, reason));
            }
            Event::StageFinished(finished) => {
                self.finished += 1;
                if let Some(line) = self.running.remove(&finished.id) {
                    line.bar.finish_and_clear();
                    self.bars.remove(&line.bar);
                }
                match (&finished.error, finished.outcome) {
                    (Some(error), _) => {
                        self.failed += 1;
                        self.print(&failure(self.style, &finished.id, error));
                    }
                    (None, Outcome::Executed) if finished.seconds >= WORTH_A_LINE => {
                        let done = self.style.paint(Tone::Good, "done");
                        self.print(&format!("{done} {} in {}", finished.id, duration(finished.seconds)));
                    }
                    _ => {}
                }
                self.show_overall();
            }
            Event::Interrupted { running } => self.print(&interrupted(self.style, *running)),
            Event::RunFinished(run) => {
                self.overall.finish_and_clear();
                self.print(&in_lines(&summary(self.style, run), width()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64) -> Progress {
        Progress { done, total: 100, unit: "epoch".to_owned(), values: vec![("loss".to_owned(), 0.42131)] }
    }

    #[test]
    fn a_stage_tells_epoch_loss_rate_and_time_left() {
        let text = describe(&progress(20), 0, Duration::from_secs(10));
        assert_eq!(text, "epoch 20/100, loss 0.4213, 2/s, 40 s left");
    }

    #[test]
    fn slow_stages_tell_the_time_of_one_step() {
        let text = describe(&progress(2), 0, Duration::from_secs(10));
        assert_eq!(text, "epoch 2/100, loss 0.4213, 5.0 s each, 8 min 10 s left");
    }

    #[test]
    fn a_resumed_stage_counts_only_what_it_did_itself() {
        let text = describe(&progress(60), 50, Duration::from_secs(10));
        assert_eq!(text, "epoch 60/100, loss 0.4213, 1/s, 40 s left");
    }

    #[test]
    fn further_values_come_last() {
        let mut progress = progress(20);
        progress.values.push(("reg".to_owned(), 0.5));
        let text = describe(&progress, 0, Duration::from_secs(10));
        assert_eq!(text, "epoch 20/100, loss 0.4213, 2/s, 40 s left, reg 0.5000");
    }

    #[test]
    fn a_download_tells_sizes() {
        let elapsed = Duration::from_secs(2);
        let known = describe(&Progress::bytes(4 << 20, Some(16 << 20)), 0, elapsed);
        assert_eq!(known, "4.0 MiB of 16.0 MiB, 2.0 MiB/s, 6.0 s left");
        assert_eq!(describe(&Progress::bytes(4 << 20, None), 0, elapsed), "4.0 MiB, 2.0 MiB/s");
    }

    #[test]
    fn the_first_progress_promises_nothing() {
        assert_eq!(describe(&progress(50), 50, Duration::ZERO), "epoch 50/100, loss 0.4213");
    }
}
