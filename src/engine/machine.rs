//! What the machine offers, and who has how much of it.

use std::env;
use std::fs;
use std::thread;

use super::stage::Resources;

/// Cores, memory and GPUs.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub cores: usize,
    /// Available, not installed.
    pub memory_mib: u64,
    /// Numbers of the GPUs among those visible, ascending.
    pub gpus: Vec<usize>,
}

/// What a running stage holds of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    pub cores: usize,
    pub memory_mib: u64,
    pub gpus: Vec<usize>,
}

impl Machine {
    /// What this process may use. Where it cannot be found out: one core, unlimited memory, no GPU.
    pub fn detect() -> Self {
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: available_memory_mib().unwrap_or(u64::MAX),
            gpus: (0..visible_gpus()).collect(),
        }
    }

    /// Takes a share for a stage, or `None` when it has to wait. `slots` stages, this one included, could start
    /// now: free cores are divided among them. What exceeds the whole machine waits until it is alone; GPUs are asked
    /// for as far as `whole` has any.
    pub fn grant(&mut self, need: &Resources, whole: &Machine, slots: usize, alone: bool) -> Option<Share> {
        let gpus = need.gpus.min(whole.gpus.len());
        let fits = self.memory_mib >= need.memory_mib && self.gpus.len() >= gpus;
        if !fits && !alone {
            return None;
        }
        let cores = (self.cores / slots.max(1)).clamp(1, need.cores.max(1));
        let share = Share {
            // More jobs than cores were asked for: the surplus runs on borrowed time.
            cores,
            memory_mib: need.memory_mib.min(self.memory_mib),
            gpus: self.gpus.drain(..gpus.min(self.gpus.len())).collect(),
        };
        self.cores = self.cores.saturating_sub(cores);
        self.memory_mib -= share.memory_mib;
        Some(share)
    }

    /// Gives a share back.
    pub fn release(&mut self, share: &Share, whole: &Machine) {
        self.cores = (self.cores + share.cores).min(whole.cores);
        self.memory_mib += share.memory_mib;
        self.gpus.extend(&share.gpus);
        self.gpus.sort_unstable();
    }
}

/// How many GPUs this process may use: those of the machine, or of `CUDA_VISIBLE_DEVICES`.
fn visible_gpus() -> usize {
    let present = (0..).take_while(|index| fs::exists(format!("/dev/nvidia{index}")).unwrap_or(false)).count();
    match env::var("CUDA_VISIBLE_DEVICES") {
        Ok(chosen) => chosen.split(',').filter(|device| !device.trim().is_empty()).count().min(present),
        Err(_) => present,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_get_different_gpus_and_none_waits_for_one_that_is_not_there() {
        let need = Resources { gpus: 1, ..Resources::default() };
        let whole = Machine { cores: 4, memory_mib: 1024, gpus: vec![0, 1] };
        let mut free = whole.clone();
        let take = |free: &mut Machine| free.grant(&need, &whole, 1, false);
        let (first, second) = (take(&mut free).unwrap(), take(&mut free).unwrap());
        assert_eq!((&*first.gpus, &*second.gpus), (&[0][..], &[1][..]));
        assert_eq!(take(&mut free), None);
        free.release(&first, &whole);
        assert_eq!(take(&mut free).unwrap().gpus, [0]);

        let whole = Machine { gpus: Vec::new(), ..whole };
        assert!(whole.clone().grant(&need, &whole, 1, false).is_some_and(|share| share.gpus.is_empty()));
    }
}
