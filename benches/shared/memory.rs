//! The memory of a process, from /proc.

use std::fs;

/// The most that a process, a number or `self`, has held so far, in MiB; none once it has ended.
pub fn peak_mib(process: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
