//! The few things that only the operating system's C interface tells or does. The only unsafe code of the engine.

use std::process::{self, ExitStatus};

use std::os::unix::process::ExitStatusExt;

/// CPU time of the calling thread, in seconds.
pub fn thread_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to; on failure it stays zero.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU time of this process, user and system, in seconds.
pub fn process_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Largest resident set of this process since it was last reset, in bytes.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Starts measuring [`peak_memory_bytes`] anew. Where the kernel does not allow it, the peak stays the process's.
pub fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Asks a child of this process to end. The caller must know that it has not been waited for, since its number
/// may belong to someone else afterwards.
pub fn terminate(child: &process::Child) {
    if let Ok(id) = libc::pid_t::try_from(child.id()) {
        // SAFETY: has no effect on this process's memory.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }
}

/// Ends this process at once, without destructors, which could crash or hang while other threads compute.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always sound; nothing runs after it.
    unsafe { libc::_exit(code) }
}

/// How a process ended, in words: `exit status 1`, `killed by SIGKILL`.
pub fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("killed by {}", signal_name(signal)),
        None => format!("exit status {}", status.code().unwrap_or(-1)),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL (an instruction that this processor does not have)",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
