//! What the machine offers, and who has how much of it.

use std::fs;
use std::thread;

use super::stage::Resources;

/// Cores, memory and GPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    pub cores: usize,
    /// Available, not installed.
    pub memory_mib: u64,
    pub gpus: usize,
}

impl Machine {
    /// What this process may use. Where it cannot be found out: one core, unlimited memory, no GPU.
    pub fn detect() -> Self {
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: available_memory_mib().unwrap_or(u64::MAX),
            gpus: (0..).take_while(|index| fs::exists(format!("/dev/nvidia{index}")).unwrap_or(false)).count(),
        }
    }

    /// Takes a share for a stage, or `None` when it has to wait. `slots` stages, this one included, could start
    /// now: free cores are divided among them. What exceeds the whole machine waits until it is alone.
    pub fn grant(&mut self, need: &Resources, slots: usize, alone: bool) -> Option<Resources> {
        let fits = self.memory_mib >= need.memory_mib && self.gpus >= need.gpus;
        if !fits && !alone {
            return None;
        }
        let cores = (self.cores / slots.max(1)).clamp(1, need.cores.max(1));
        let share = Resources {
            // More jobs than cores were asked for: the surplus runs on borrowed time.
            cores,
            memory_mib: need.memory_mib.min(self.memory_mib),
            gpus: need.gpus.min(self.gpus),
        };
        self.cores = self.cores.saturating_sub(cores);
        self.memory_mib -= share.memory_mib;
        self.gpus -= share.gpus;
        Some(share)
    }

    /// Gives a share back.
    pub fn release(&mut self, share: &Resources, whole: &Machine) {
        self.cores = (self.cores + share.cores).min(whole.cores);
        self.memory_mib += share.memory_mib;
        self.gpus += share.gpus;
    }
}

/// The least of what the system has free and what the control group still allows.
fn available_memory_mib() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let system = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? / 1024;
    let number = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .zip(number("/sys/fs/cgroup/memory.current"))
        .map(|(max, used)| max.saturating_sub(used) >> 20);
    Some(group.map_or(system, |group| group.min(system)))
}
