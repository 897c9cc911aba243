//! Methods by libtorch, on any device that it knows: written once, with automatic differentiation.
//!
//! Without the feature `torch` the same functions are here, and say that there is none.

#[cfg(not(feature = "torch"))]
mod absent;
#[cfg(feature = "torch")]
pub mod adapter;
#[cfg(feature = "torch")]
pub mod cnsdiff;
#[cfg(feature = "torch")]
mod device;
#[cfg(feature = "torch")]
pub mod lightgcn;
#[cfg(feature = "torch")]
pub mod losses;
#[cfg(feature = "torch")]
mod present;
#[cfg(feature = "torch")]
pub mod propagation;
#[cfg(feature = "torch")]
pub mod row_loss;
#[cfg(feature = "torch")]
pub mod tensor;
#[cfg(feature = "torch")]
pub mod tensors;
#[cfg(all(test, feature = "torch"))]
pub mod testing;

#[cfg(not(feature = "torch"))]
pub use absent::*;
#[cfg(feature = "torch")]
pub use lightgcn::tables;
#[cfg(feature = "torch")]
pub use present::*;
