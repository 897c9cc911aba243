//! What the machine offers, and who has how much of it.

use std::path::Path;
use std::thread;

use super::memory;
use super::stage::Resources;

/// Cores, memory and GPUs.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub cores: usize,
    /// Available, not installed.
    pub memory_mib: u64,
    /// Numbers of the GPUs among those that libtorch sees, ascending.
    pub gpus: Vec<usize>,
}

/// How many cores this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What a running stage holds of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    pub cores: usize,
    pub memory_mib: u64,
    pub gpus: Vec<usize>,
}

impl Machine {
    /// What this process may use. Where it cannot be found out: one core, unlimited memory. Only the worker can tell
    /// how many GPUs there are.
    pub fn detect(gpus: usize) -> Self {
        Self {
            cores: cores(),
            memory_mib: memory::available_mib(Path::new("/")).unwrap_or(u64::MAX),
            gpus: (0..gpus).collect(),
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
