//! Starts writing long files to the disk while they are still growing, so that making one durable at the end does not
//! wait for all of it.

use std::fs::File;
use std::io;
use std::thread::{self, JoinHandle};

/// Bytes that are sent on their way at a time; shorter files are left alone.
const STEP: u64 = 64 << 20;

/// Writes a growing file back.
#[derive(Default)]
pub(super) struct WriteBack {
    /// Length of the file up to which it was sent.
    sent: u64,
    /// A thread of its own, which does nothing but wait for the disk.
    running: Option<JoinHandle<io::Result<()>>>,
}

impl WriteBack {
    /// Sends what the file holds, if that is enough and the disk is done with what was sent before.
    ///
    /// # Errors
    /// What was sent before could not be written.
    pub fn send(&mut self, file: &File, length: u64) -> io::Result<()> {
        let busy = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if busy || length < self.sent + STEP {
            return Ok(());
        }
        self.wait()?;
        self.sent = length;
        let file = file.try_clone()?;
        // Without a thread to be had, the disk gets what is left at the end.
        self.running = thread::Builder::new().spawn(move || file.sync_data()).ok();
        Ok(())
    }

    /// Waits until the disk is done with what was sent.
    ///
    /// # Errors
    /// It could not be written.
    pub fn wait(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.join().unwrap_or_else(|_| Err(io::Error::other("writing to the disk has panicked")))
    }
}
