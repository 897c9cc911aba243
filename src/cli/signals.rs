//! Requests to end from outside: Ctrl-C, `kill`, a terminal that goes away.

use std::thread;
use std::time::{Duration, Instant};

use signal_hook::iterator::Signals;

use super::exit::{CliError, FAILED, INTERRUPTED};
use crate::engine::{Interrupt, requests_to_end};
use crate::ui::{Style, say};

/// How long what runs may take to heed a request: what digests a long file or waits for a disk does not look.
const PATIENCE: Duration = Duration::from_millis(800);
const TICK: Duration = Duration::from_millis(10);

/// The first request is passed on, and ends the process if nobody heeds it; the second ends it at once.
pub fn listen_for_interrupts(interrupt: &Interrupt) -> Result<(), CliError> {
    let failed = |error| CliError::new(FAILED, format!("cannot listen for Ctrl-C: {error}"));
    let mut signals = Signals::new(requests_to_end()).map_err(failed)?;
    let interrupt = interrupt.clone();
    let listen = move || {
        signals.forever().next();
        interrupt.raise();
        let since = Instant::now();
        while signals.pending().next().is_none() {
            if since.elapsed() > PATIENCE && !interrupt.is_heeded() {
                say(
                    Style { color: false },
                    "interrupted: what is finished is kept; the same command goes on from there",
                );
                break;
            }
            thread::sleep(TICK);
        }
        std::process::exit(i32::from(INTERRUPTED));
    };
    thread::Builder::new().spawn(listen).map_err(failed)?;
    Ok(())
}
