//! Runs a plan: the `Stage` trait, the scheduler, worker processes, events. Knows nothing of data, models or
//! metrics.

pub mod event;
pub mod stage;
