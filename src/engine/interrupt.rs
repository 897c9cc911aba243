//! A request from outside to end the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever asks and whoever is asked.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    heeded: Arc<AtomicBool>,
}

impl Interrupt {
    /// Asks for the end.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// The request alone, for layers that know nothing of the engine.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.raised)
    }

    /// Answers the request: the end is on its way, and nobody needs to enforce it.
    pub fn heed(&self) {
        self.heeded.store(true, Ordering::Relaxed);
    }

    pub fn is_heeded(&self) -> bool {
        self.heeded.load(Ordering::Relaxed)
    }
}
