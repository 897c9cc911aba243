//! Peers that are installed for the benchmarks, into a folder of the user's cache.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Whether a command can be run and ends well; only its errors are shown.
pub fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The folder of the user's cache that peers are installed in.
pub fn folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("cnsdiff-pipe"))
}
