//! How the program ends: documented codes, and errors that carry one.

use std::fmt::Display;

use crate::engine;

/// Everything asked for was done.
pub const DONE: u8 = 0;
/// The pipeline or the command line is wrong.
pub const WRONG: u8 = 2;
/// A stage failed, a result differs from the lock file, a raw file is missing or damaged, or results could not be
/// written to standard output.
pub const FAILED: u8 = 3;
/// The cache is damaged or cannot be used.
pub const STORE: u8 = 4;
/// `plan --exit-code`: something would run.
pub const WOULD_RUN: u8 = 5;
/// Stopped by Ctrl-C or a request to terminate (128 + SIGINT, as shells count).
pub const INTERRUPTED: u8 = 130;

/// Why a command ended early.
#[derive(Debug)]
pub struct CliError {
    pub code: u8,
    pub message: ErrorText,
}

#[derive(Debug)]
pub enum ErrorText {
    /// What was wrong, and what to do about it.
    Plain { text: String, help: Option<String> },
    /// Rendered already, with source excerpts.
    Rendered(String),
}

impl CliError {
    pub fn new(code: u8, text: impl Display) -> Self {
        let text = text.to_string();
        // A limit of the system may be the reason.
        let help = engine::advice(&text).map(str::to_owned);
        Self { code, message: ErrorText::Plain { text, help } }
    }

    /// The pipeline or the command line is wrong.
    pub fn wrong(text: impl Display) -> Self {
        Self::new(WRONG, text)
    }

    /// The cache cannot be used.
    pub fn store(text: impl Display) -> Self {
        Self::new(STORE, text)
    }

    /// A bug, unless a limit of the system was reached where nobody expects it.
    pub fn panicked(text: impl Display) -> Self {
        let error = Self::new(FAILED, text);
        let known = matches!(&error.message, ErrorText::Plain { help: Some(_), .. });
        if known {
            error
        } else {
            error.help("this is a bug in cnsdiff-pipe; please report it with the command and the pipeline")
        }
    }

    pub fn help(mut self, advice: impl Display) -> Self {
        if let ErrorText::Plain { help, .. } = &mut self.message {
            *help = Some(advice.to_string());
        }
        self
    }
}

/// For results printed as JSON.
impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(FAILED, format!("cannot write a result as JSON: {error}"))
    }
}
