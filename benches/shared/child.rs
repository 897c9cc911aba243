//! Commands that are measured.

#[path = "memory.rs"]
mod memory;

use std::error::Error;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a child's memory is looked at.
const PERIOD: Duration = Duration::from_millis(2);

pub struct Measured {
    pub seconds: f64,
    pub peak_mib: f64,
    pub printed: String,
}

/// Wall time and peak memory of a command.
pub fn measured(command: &mut Command) -> Result<Measured, Box<dyn Error>> {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let id = child.id();
    let memory = thread::spawn(move || peak_mib(id));
    let mut printed = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut printed)?;
    }
    let status = child.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(Measured { seconds, peak_mib: memory.join().unwrap_or(f64::NAN), printed })
}

/// The most memory that a process has held, as last seen before its end. What `wait4` tells counts the memory of the
/// parent as well, which here has libtorch.
fn peak_mib(id: u32) -> f64 {
    let mut peak = 0.0;
    while let Some(held) = memory::peak_mib(&id.to_string()) {
        peak = held;
        thread::sleep(PERIOD);
    }
    peak
}
