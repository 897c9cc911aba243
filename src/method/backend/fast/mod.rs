//! Hand-written kernels behind the traits of methods: a second implementation of what libtorch could do as well, several
//! times as fast on the processor and with the same bits on every machine, for every number of threads. How tables lie in
//! memory, and which part of a product is needed, is known here alone.

pub mod bpr;
pub mod cnsdiff;
pub mod layout;
mod lightgcn;
mod mf;
mod penalty;
pub mod product;
mod tables;

pub use lightgcn::LightGcn;
pub use mf::Mf;
