//! Commands that are measured, and where those of peers are installed.

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

pub struct Measured {
    pub seconds: f64,
    pub peak_mib: f64,
    pub printed: String,
}

/// Wall time and peak memory of a command.
pub fn measured(command: &mut Command) -> Result<Measured, Box<dyn Error>> {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut printed = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut printed)?;
    }
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types; the child has not been waited for.
    let waited = unsafe { libc::wait4(child.id().cast_signed(), &mut status, 0, &mut usage) };
    let seconds = started.elapsed().as_secs_f64();
    if waited < 0 || status != 0 {
        return Err(format!("{command:?} failed").into());
    }
    Ok(Measured { seconds, peak_mib: usage.ru_maxrss as f64 / 1024.0, printed })
}

/// Whether a command can be run and ends well; only its errors are shown.
pub fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The folder of the user's cache that peers are installed in.
pub fn peers() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("cnsdiff-pipe"))
}
