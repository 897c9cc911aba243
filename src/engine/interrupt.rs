//! A request from outside that what runs end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever asks and whoever is asked.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    raised: AtomicBool,
    heeded: AtomicBool,
}

impl Interrupt {
    /// Asks for the end.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::Relaxed);
    }

    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed)
    }

    /// Answers the request: the end is on its way, and nobody needs to enforce it.
    pub fn heed(&self) {
        self.0.heeded.store(true, Ordering::Relaxed);
    }

    pub fn is_heeded(&self) -> bool {
        self.0.heeded.load(Ordering::Relaxed)
    }
}
