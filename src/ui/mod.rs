//! Terminal, plain and JSON renderings of the event stream, and the only place that prints. Results go to standard
//! output, progress and messages to standard error.

mod failure;
mod json;
mod plain;
mod progress;
mod stdout;
mod style;
pub mod text;
mod transfer;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::engine::event::{Event, Warning};

use stdout::Stdout;
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
    stdout: Arc<Stdout>,
}

impl Ui {
    pub fn new(color: ColorChoice, json: bool, quiet: bool) -> Self {
        Self {
            out: Style::detect(color, io::stdout().is_terminal()),
            err: Style::detect(color, io::stderr().is_terminal()),
            json,
            quiet,
            stdout: Arc::default(),
        }
    }

    /// A result, to standard output; ends with a line break.
    pub fn result(&self, text: &str) {
        self.write(&text::visible(text, self.out.color));
    }

    /// Text whose every character counts, such as data in CSV: as it is, unless it goes to a terminal.
    pub fn result_exact(&self, text: &str) {
        match io::stdout().is_terminal() {
            true => self.write(&text::visible(text, false)),
            false => self.write(text),
        }
    }

    /// A result as one line of JSON.
    pub fn result_json(&self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.write(&text::json(value)?);
        Ok(())
    }

    fn write(&self, text: &str) {
        let line_break = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        self.stdout.write(&format!("{text}{line_break}"));
    }

    /// Why results did not reach standard output, if so.
    pub fn loss(&self) -> Option<String> {
        self.stdout.loss()
    }

    /// A message, to standard error.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(self.err, text);
        }
    }

    /// Something that does not stop the program but should be known.
    pub fn warn(&self, text: &str) {
        say(self.err, &format!("{} {}", self.err.paint(Tone::Warn, "warning:"), text::visible(text, false)));
    }

    /// What should be known about results.
    pub fn warnings(&self, warnings: &[Warning]) {
        failure::warnings(self.err, warnings).iter().for_each(|text| say(self.err, text));
    }

    /// What went wrong, and what to do about it.
    pub fn error(&self, message: &str, help: Option<&str>) {
        let mut text = format!("{} {}", self.err.paint(Tone::Bad, "error:"), text::visible(message, false));
        if let Some(help) = help {
            text.push_str(&format!("\n{} {}", self.err.paint(Tone::Note, " help:"), text::visible(help, false)));
        }
        say(self.err, &text);
    }

    /// A message that was rendered elsewhere, with its own colours.
    pub fn rendered(&self, text: &str) {
        say(self.err, text);
    }

    /// The reporter that fits the output: JSON lines, progress bars on a terminal, or plain lines.
    pub fn reporter(&self) -> Box<dyn Reporter> {
        if self.json {
            Box::new(json::Json::new(self.stdout.clone()))
        } else if !self.quiet && style::redraws(io::stderr().is_terminal()) {
            Box::new(progress::Bars::new(self.err))
        } else {
            Box::new(plain::Plain::new(self.err, self.quiet))
        }
    }
}

/// One message to standard error, with the colours of `style` and no other control characters. Its reader may be gone:
/// then there is nobody to tell.
pub fn say(style: Style, text: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{}", text::visible(text.trim_end_matches('\n'), style.color));
}
