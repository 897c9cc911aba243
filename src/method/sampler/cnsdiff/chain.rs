//! Sampling: from noised positives down the denoising chain to candidates for hard negatives. Without gradient.

use super::schedule::Schedule;

/// How chains run.
pub struct Chain<'a> {
    pub schedule: &'a Schedule,
    /// Start steps: a row is noised as after step `s - 1`, or not at all for 0.
    pub starts: &'a [usize],
    /// All steps for every start, as the released code does, instead of those from `s - 1` down.
    pub full: bool,
}

impl Chain<'_> {
    /// The step that the chain of the start step `start` begins with.
    pub fn first(&self, start: usize) -> usize {
        if self.full { self.schedule.steps() - 1 } else { start.max(1) - 1 }
    }
}
