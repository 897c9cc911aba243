//! What of a step is worth a device: the denoising chains, the contrastive loss and the diffusion loss with their
//! gradients. [`fast`](crate::method::backend::fast) computes them on the processor by formulas
//! written down, [`torch`](crate::method::backend::torch) by libtorch and its automatic differentiation; from the same draws both come to
//! the same values, to rounding.

use super::chain::Chain;
use super::draws::Draws;
use super::params::{Cnsdiff, Condition};
use crate::kernel::Unit;

/// Some rows of a step: a block.
pub struct Rows<'a> {
    pub draws: &'a Draws,
    pub dim: usize,
    /// Encoded vectors, row-major: users, their positives, and the positives divided by the scale of the diffusion.
    pub users: &'a [f32],
    pub positives: &'a [f32],
    pub clean: &'a [f32],
}

impl Rows<'_> {
    /// How many these are.
    pub fn count(&self) -> usize {
        self.positives.len() / self.dim
    }

    /// The users, if the denoiser is conditioned on them.
    pub fn condition(&self, params: &Cnsdiff) -> Option<&[f32]> {
        (params.condition == Condition::User).then_some(self.users)
    }
}

/// The contrastive loss of a block.
pub struct Contrast {
    /// Sum over the rows.
    pub loss: f64,
    /// Gradient with respect to the positives, row-major.
    pub positives: Vec<f32>,
    /// Gradient with respect to the unit vectors of all uniform negatives of the step, row-major.
    pub negatives: Vec<f32>,
}

/// The diffusion loss of a block.
pub struct Diffusion {
    /// Sum over the rows.
    pub loss: f64,
    /// Gradient with respect to the clean rows, row-major; empty where it was not asked for.
    pub clean: Vec<f32>,
    /// Gradient with respect to the denoiser's parameters; empty where it was not asked for.
    pub weights: Vec<f32>,
}

/// Which gradients of the diffusion loss are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub clean: bool,
    pub weights: bool,
}

/// The three of them, on some device. Gradients are of the loss times a weight.
pub trait Arithmetic: Send {
    /// The same for another thread.
    fn share(&self) -> Box<dyn Arithmetic>;

    /// Takes the negatives that the contrastive loss of this step compares with: generated ones and uniform ones.
    fn compare(&mut self, generated: Option<&Unit>, uniform: &Unit);

    /// Candidates for hard negatives: one set of rows per start step, row-major, before the scale is undone.
    fn candidates(&self, rows: &Rows, params: &Cnsdiff, chain: &Chain) -> Vec<Vec<f32>>;

    /// The contrastive loss against the negatives of [`Self::compare`]; none without them.
    fn contrast(&self, rows: &Rows, params: &Cnsdiff, weight: f64) -> Option<Contrast>;

    fn diffusion(&self, rows: &Rows, params: &Cnsdiff, weight: f64, wanted: Wanted) -> Diffusion;
}
