//! How `data fetch` shows files on their way: a bar on a terminal, plain lines elsewhere, JSON for programs.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use super::progress::{Pace, look};
use super::style::redraws;
use super::text::{duration, one_line, shorten, visible};
use super::{Tone, Ui};
use crate::engine::stage::Progress;

/// Between two lines of progress where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);
/// Columns that a source gets in front of what is told of it.
const SOURCE: usize = 48;

/// What happens to a file.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Transfer<'a> {
    FileStarted {
        source: &'a str,
    },
    FileProgress {
        source: &'a str,
        done: u64,
        total: Option<u64>,
    },
    /// An attempt failed, another follows.
    FileAgain {
        source: &'a str,
        reason: &'a str,
        attempt: u32,
        of: u32,
        seconds: f64,
    },
    FileFinished {
        source: &'a str,
        /// `present`, `taken`, `downloaded` or `failed`.
        outcome: &'a str,
        path: Option<PathBuf>,
        bytes: Option<u64>,
        seconds: f64,
        error: Option<String>,
    },
}

/// Shows one file after the other.
pub struct Transfers<'a> {
    ui: &'a Ui,
    /// On a terminal.
    bar: Option<ProgressBar>,
    current: RefCell<(Pace, Instant)>,
}

impl<'a> Transfers<'a> {
    pub fn new(ui: &'a Ui) -> Self {
        let bar = (!ui.json && !ui.quiet && redraws(io::stderr().is_terminal())).then(|| {
            console::set_colors_enabled_stderr(ui.err.color);
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(look("{spinner:.cyan} {wide_msg} {elapsed:.dim}"));
            bar
        });
        Self { ui, bar, current: RefCell::new((Pace::new(), Instant::now())) }
    }

    pub fn show(&self, transfer: &Transfer) -> Result<(), serde_json::Error> {
        if self.ui.json {
            return self.ui.result_json(transfer);
        }
        match transfer {
            Transfer::FileStarted { source } => {
                *self.current.borrow_mut() = (Pace::new(), Instant::now());
                if let Some(bar) = &self.bar {
                    bar.reset();
                    bar.enable_steady_tick(Duration::from_millis(125));
                    bar.set_message(shorten(&one_line(source), SOURCE));
                }
            }
            Transfer::FileProgress { source, done, total } => {
                let mut current = self.current.borrow_mut();
                current.0.update(&Progress::bytes(*done, *total));
                let text = format!("{}  {}", shorten(&one_line(source), SOURCE), current.0.text());
                match &self.bar {
                    Some(bar) => bar.set_message(text),
                    None if current.1.elapsed() >= INTERVAL => {
                        current.1 = Instant::now();
                        self.ui.note(&format!("  {text}"));
                    }
                    None => {}
                }
            }
            Transfer::FileAgain { source, reason, attempt, of, seconds } => {
                let again = self.ui.err.paint(Tone::Warn, "again");
                let next = format!("attempt {} of {of} in {}", attempt + 1, duration(*seconds));
                self.say(&format!("{again} {}; {next}", visible(&format!("{source}: {reason}"), false)));
            }
            Transfer::FileFinished { source, outcome, path, bytes, seconds, error } => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
                match error {
                    Some(error) => {
                        let failed = self.ui.err.paint(Tone::Bad, "failed");
                        let error = visible(error, false);
                        let lines: Vec<String> = error.lines().map(|line| format!("\n  {line}")).collect();
                        self.ui.rendered(&format!("{failed} {}{}", visible(source, false), lines.concat()));
                    }
                    None => {
                        let size = bytes.map(super::text::bytes).unwrap_or_default();
                        let place = path.as_deref().unwrap_or(Path::new("")).display().to_string();
                        let place = visible(&place, false);
                        let outcome = self.ui.err.paint(Tone::Good, outcome);
                        self.ui.note(&format!("{outcome} {place} ({size}) in {}", duration(*seconds)));
                    }
                }
            }
        }
        Ok(())
    }

    /// A note above the bar.
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.note(text)),
            None => self.ui.note(text),
        }
    }
}
