//! Where rows, losses and gradients are computed: by kernels on the processor ([`fast`]), or by libtorch on any device
//! ([`torch`]).

pub mod fast;
pub mod torch;

/// What a training computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}
