//! Arithmetic of the inner loops on the processor: matrix products on small tiles and elementwise functions, in
//! versions for what the processor has, chosen at run time. Knows plain slices only; nothing of models or losses.
//!
//! Every number is the outcome of one fixed sequence of additions, multiplications and fused multiply-adds, whatever
//! the width of the vector registers: every processor gives the same bits.

mod aligned;
pub mod math;
mod prefetch;
mod product;
mod rows;

pub use aligned::Aligned;
pub use prefetch::prefetch;
pub use product::{HEIGHT, LANES, Lanes, Outer, Packed};
pub use rows::{Unit, add_scaled, dot, normalize, pull_back_unit, tile, untile};
