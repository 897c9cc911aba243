//! What tests of whole trainings are made of.

use std::ops::ControlFlow;

use super::{Config, Data, EpochEnd, TrainError, Trained, Watch, fit};
use crate::method::Device;

/// Keeps the last checkpoint, and stops after an epoch if told to.
#[derive(Default)]
pub struct Keep {
    pub stop_after: Option<usize>,
    pub checkpoint: Vec<u8>,
}

impl Watch for Keep {
    fn epoch(&mut self, end: &EpochEnd, checkpoint: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()> {
        self.checkpoint = checkpoint();
        if self.stop_after == Some(end.done) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Trains in a pool of so many threads.
pub fn fit_with(
    config: &Config,
    data: &Data,
    threads: usize,
    resume: Option<&[u8]>,
    keep: &mut Keep,
) -> Result<Trained, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| fit(config, data, Device::Cpu, resume, keep))
}
