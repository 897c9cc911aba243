//! Events as lines of JSON on standard output, for programs.

use std::sync::Arc;

use super::stdout::Stdout;
use super::{Reporter, text};
use crate::engine::event::Event;

pub struct Json {
    stdout: Arc<Stdout>,
}

impl Json {
    pub fn new(stdout: Arc<Stdout>) -> Self {
        Self { stdout }
    }
}

impl Reporter for Json {
    fn show(&mut self, event: &Event) {
        match text::json(event) {
            Ok(line) => self.stdout.write(&format!("{line}\n")),
            Err(error) => self.stdout.fail(error.into()),
        }
    }
}
