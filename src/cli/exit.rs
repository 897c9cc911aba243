//! How the program ends: documented codes, and errors that carry one.

use std::fmt::Display;

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
pub struct Stop {
    pub code: u8,
    pub message: Message,
}

#[derive(Debug)]
pub enum Message {
    /// What was wrong, and what to do about it.
    Plain { text: String, help: Option<String> },
    /// Rendered already, with source excerpts.
    Rendered(String),
}

impl Stop {
    pub fn new(code: u8, text: impl Display) -> Self {
        Self { code, message: Message::Plain { text: text.to_string(), help: None } }
    }

    /// The pipeline or the command line is wrong.
    pub fn wrong(text: impl Display) -> Self {
        Self::new(WRONG, text)
    }

    /// The cache cannot be used.
    pub fn store(text: impl Display) -> Self {
        Self::new(STORE, text)
    }

    pub fn help(mut self, advice: impl Display) -> Self {
        if let Message::Plain { help, .. } = &mut self.message {
            *help = Some(advice.to_string());
        }
        self
    }
}

/// For results printed as JSON.
impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::new(FAILED, format!("cannot write a result as JSON: {error}"))
    }
}
