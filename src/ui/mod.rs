//! Terminal, plain and JSON renderings of the event stream, and the only place that prints. Results go to standard
//! output, progress and messages to standard error. Knows nothing but events.

mod failure;
mod json;
mod plain;
mod progress;
mod style;
pub mod text;
mod transfer;

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::engine::event::{Event, Warning};

pub use style::{ColorChoice, Style, Tone};
pub use transfer::{Transfer, Transfers};

/// Shows the events of one run.
pub trait Reporter: Send {
    fn show(&mut self, event: &Event);
}

/// How to speak to whoever started the program.
pub struct Ui {
    /// Colours of standard output.
    pub out: Style,
    /// Colours of standard error.
    pub err: Style,
    /// Results are JSON lines.
    pub json: bool,
    /// Neither progress nor messages, only results and errors.
    pub quiet: bool,
    /// The reader of standard output went away (`| head`): nothing more is written to it.
    closed: Cell<bool>,
}

impl Ui {
    pub fn new(color: ColorChoice, json: bool, quiet: bool) -> Self {
        Self {
            out: Style::detect(color, io::stdout().is_terminal()),
            err: Style::detect(color, io::stderr().is_terminal()),
            json,
            quiet,
            closed: Cell::new(false),
        }
    }

    /// A result, to standard output; ends with a line break.
    pub fn result(&self, text: &str) {
        if self.closed.get() {
            return;
        }
        let mut out = io::stdout().lock();
        let line_break = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(line_break.as_bytes()));
        if written.and_then(|()| out.flush()).is_err() {
            self.closed.set(true);
        }
    }

    /// A result as one line of JSON.
    pub fn result_json(&self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.result(&serde_json::to_string(value)?);
        Ok(())
    }

    /// A message, to standard error.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Something that does not stop the program but should be known.
    pub fn warn(&self, text: &str) {
        say(&format!("{} {text}", self.err.paint(Tone::Warn, "warning:")));
    }

    /// What should be known about results.
    pub fn warnings(&self, warnings: &[Warning]) {
        failure::warnings(self.err, warnings).iter().for_each(|text| say(text));
    }

    /// What went wrong, and what to do about it.
    pub fn error(&self, message: &str, help: Option<&str>) {
        let mut text = format!("{} {message}", self.err.paint(Tone::Bad, "error:"));
        if let Some(help) = help {
            text.push_str(&format!("\n{} {help}", self.err.paint(Tone::Note, " help:")));
        }
        say(&text);
    }

    /// A message that was rendered elsewhere, with its own colours.
    pub fn rendered(&self, text: &str) {
        say(text);
    }

    /// The reporter that fits the output: JSON lines, progress bars on a terminal, or plain lines.
    pub fn reporter(&self) -> Box<dyn Reporter> {
        if self.json {
            Box::new(json::Json::default())
        } else if !self.quiet && io::stderr().is_terminal() {
            Box::new(progress::Bars::new(self.err))
        } else {
            Box::new(plain::Plain::new(self.err, self.quiet))
        }
    }
}

/// One message to standard error. Its reader may be gone: then there is nobody to tell.
fn say(text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{}", text.trim_end_matches('\n'));
}
