//! Between plain rows and libtorch, and what tensors of rows need.

use tch::{Device, Kind, Tensor};

use crate::method::backend;

/// The device of libtorch.
pub fn device(device: backend::Device) -> Device {
    match device {
        backend::Device::Cpu => Device::Cpu,
        backend::Device::Cuda(number) => Device::Cuda(number),
    }
}

/// The matrix of the row-major `rows` of width `dim` on `device`.
pub fn matrix(rows: &[f32], dim: usize, device: Device) -> Tensor {
    Tensor::from_slice(rows).view([-1, dim as i64]).to_device(device)
}

/// The rows of `table` at `index`, of which gradients can be taken. On a GPU the gradient of a gather adds in no fixed
/// order; there it is a product with rows of the unit matrix instead.
pub fn rows_at(table: &Tensor, index: &Tensor) -> Tensor {
    match table.device() {
        Device::Cpu => table.index_select(0, index),
        _ => index.one_hot(table.size()[0]).to_kind(table.kind()).matmul(table),
    }
}

/// A tensor that shares the values of `tensor`, cut off from its history, of which gradients can be taken.
pub fn leaf(tensor: &Tensor) -> Tensor {
    tensor.detach().set_requires_grad(true)
}

/// The values of a tensor, row-major.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

/// The gradient of a leaf after `backward`; zeros where the loss did not depend on it.
pub fn gradient(leaf: &Tensor) -> Vec<f32> {
    let gradient = leaf.grad();
    if gradient.defined() { values(&gradient) } else { vec![0.0; leaf.numel()] }
}

/// Rows divided by their norm, where that is above `1e-12`.
pub fn normalize(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true).clamp_min(1e-12)
}

/// The inner product of each row of `a` with the same row of `b`.
pub fn dots(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float)
}

/// Numbers as an index on `device`.
pub fn index(ids: &[u32], device: Device) -> Tensor {
    Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()).to_device(device)
}

/// The numbers of a tensor of the processor, where they lie.
///
/// None if they are of another device or type, or do not lie one after the other.
pub fn slice_mut(tensor: &mut Tensor) -> Option<&mut [f32]> {
    let plain = tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && tensor.is_contiguous();
    // SAFETY: these are as many initialised numbers of this type, and the tensor, which keeps them, is borrowed for as long.
    // Nothing else uses them meanwhile: no graph is alive between the backward pass and the optimiser's step.
    plain.then(|| unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) })
}
