//! Events as lines of JSON on standard output, for programs. Knows nothing of terminals.

use std::io::{self, Write};

use super::Reporter;
use crate::engine::event::Event;

#[derive(Default)]
pub struct Json {
    /// The reader went away: the run goes on in silence.
    closed: bool,
}

impl Reporter for Json {
    fn show(&mut self, event: &Event) {
        if self.closed {
            return;
        }
        let mut out = io::stdout().lock();
        let written = serde_json::to_writer(&mut out, event).map_err(io::Error::from).and_then(|()| {
            out.write_all(b"\n")?;
            out.flush()
        });
        self.closed = written.is_err();
    }
}
