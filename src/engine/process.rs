//! The few things that only the operating system's C interface tells or does. The only unsafe code of the engine.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus};

/// What every program of this package does first. A file that may not become longer is then an error when it is
/// written, where the system would end the process without a word; and as many files may be open as is allowed to ask for.
pub fn prepare() {
    // SAFETY: no handler is installed, and `limit` is a valid place to read from and to write to.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// The signals that ask this process to end, but for those that whoever started it has it ignore, as `nohup` does.
pub fn requests_to_end() -> Vec<i32> {
    let is_ignored = |signal: &i32| {
        // SAFETY: zeros are a valid `sigaction`, which is only written to.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(*signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
        }
    };
    let mut signals = vec![libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGXCPU];
    signals.retain(|signal| !is_ignored(signal));
    signals
}

/// Has the system kill this process when the thread that started it ends, even if it is stopped then.
pub fn die_with_parent() {
    // SAFETY: has no effect on this process's memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// The files that are part of this process: the program and its libraries.
pub fn loaded_files() -> BTreeSet<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // The path is the sixth field of a line, and may hold spaces.
    let mut paths: BTreeSet<String> =
        maps.lines().filter_map(|line| Some(line[line.find('/')?..].to_owned())).collect();
    paths.retain(|path| std::path::Path::new(path).is_file());
    paths
}

/// CPU time of this process, user and system, in seconds.
pub fn process_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to; on failure it stays zero.
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
        libc::SIGXCPU => "SIGXCPU (the limit of CPU time, `ulimit -t`)",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
