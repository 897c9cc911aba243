//! What is trained: named tensors with their gradients and the optimiser's moments. The optimiser, the best epoch and the
//! checkpoint see all of them alike, whatever piece they belong to and wherever they lie.

use super::optim::Update;

/// A tensor outside the piece that it belongs to, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The trained tensors of a piece.
pub trait Parameters: Send {
    /// How many numbers these are.
    fn count(&self) -> usize;

    /// The sum of the squares of the gradient.
    fn squared_gradient(&self) -> f64;

    /// One step of the optimiser against the gradient.
    fn update(&mut self, update: &Update);

    /// The values.
    fn values(&self) -> Vec<NamedTensor>;

    /// The optimiser's moments, named after the tensors that they are of.
    fn moments(&self) -> Vec<NamedTensor>;

    /// Takes over values or moments from those that these names have among `tensors`. False, and nothing changed, if one of
    /// them is missing or of another shape.
    fn restore(&mut self, tensors: &[NamedTensor], moments: bool) -> bool;
}

/// The tensor of this name and shape.
pub fn find<'a>(tensors: &'a [NamedTensor], name: &str, shape: &[usize]) -> Option<&'a [f32]> {
    let found = tensors.iter().find(|tensor| tensor.name == name && tensor.shape == shape)?;
    (found.values.len() == shape.iter().product::<usize>()).then_some(&found.values)
}

/// The names of the moments of a tensor.
pub fn moment_names(name: &str) -> [String; 2] {
    ["first", "second"].map(|moment| format!("{name}.{moment}_moment"))
}
