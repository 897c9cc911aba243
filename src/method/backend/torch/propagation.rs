//! Products with the normalised adjacency of the training graph within what libtorch differentiates.
//!
//! libtorch's sparse products are several times slower than ours on the processor, and need no derivative of the matrix.
//! So its graph is cut before and behind every product: what is computed after it stands on new leaves, and the gradient is
//! carried over the cuts by hand, from the last product back to the first.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::tensor::{leaf, slice_mut};
use crate::data::Graph;
use crate::method::backend::fast::product::{Adjacency, Operands};
use crate::method::rows::Nodes;

/// How the adjacency is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// `D^{-1/2} A D^{-1/2}`.
    Symmetric,
    /// `(D + I)^{-1} A`: rows of the adjacency with self loops, which are left to the caller.
    RowsWithLoops,
}

/// The matrix of the products, and its transpose for gradients.
pub struct Propagation<'a> {
    matrix: Matrix<'a>,
    transpose: Option<Matrix<'a>>,
}

enum Matrix<'a> {
    Host {
        adjacency: Adjacency<'a>,
        /// No node counts among the base of a product.
        none: Vec<bool>,
    },
    /// Sparse CSR `[U + I, U + I]`.
    OnDevice(Tensor),
}

impl<'a> Propagation<'a> {
    pub fn new(graph: &'a Graph, normalisation: Normalisation, device: Device) -> Self {
        let (users, items) = graph.inv_sqrt_degrees();
        match normalisation {
            Normalisation::Symmetric => {
                let scales = [users, items];
                Self { matrix: Matrix::new(graph, scales.clone(), scales, device), transpose: None }
            }
            Normalisation::RowsWithLoops => {
                let rows = Self::inverse_degrees_with_loops(graph);
                let ones = rows.each_ref().map(|side| vec![1.0; side.len()]);
                Self {
                    matrix: Matrix::new(graph, rows.clone(), ones.clone(), device),
                    transpose: Some(Matrix::new(graph, ones, rows, device)),
                }
            }
        }
    }

    /// `1 / (degree + 1)` of users and of items.
    pub fn inverse_degrees_with_loops(graph: &Graph) -> [Vec<f32>; 2] {
        let of = |ends: &[usize]| ends.windows(2).map(|ends| 1.0 / (ends[1] - ends[0] + 1) as f32).collect();
        [of(&graph.user_ptr), of(&graph.item_ptr)]
    }
}

impl<'a> Matrix<'a> {
    /// The entry at a pair is the product of the scale of its row and the neighbour scale of its column.
    fn new(graph: &'a Graph, scales: [Vec<f32>; 2], neighbour_scales: [Vec<f32>; 2], device: Device) -> Self {
        if device == Device::Cpu {
            let none = vec![false; graph.n_users + graph.n_items];
            return Self::Host { adjacency: Adjacency::with_scales(graph, scales, neighbour_scales), none };
        }
        let nodes = (graph.n_users + graph.n_items) as i64;
        let (mut start, mut neighbour, mut weight) = (vec![0i64], Vec::new(), Vec::new());
        for user in 0..graph.n_users as u32 {
            for &item in graph.items_of(user) {
                neighbour.push(graph.n_users as i64 + i64::from(item));
                weight.push(scales[0][user as usize] * neighbour_scales[1][item as usize]);
            }
            start.push(neighbour.len() as i64);
        }
        for item in 0..graph.n_items as u32 {
            for &user in graph.users_of(item) {
                neighbour.push(i64::from(user));
                weight.push(scales[1][item as usize] * neighbour_scales[0][user as usize]);
            }
            start.push(neighbour.len() as i64);
        }
        let [start, neighbour, weight] =
            [Tensor::from_slice(&start), Tensor::from_slice(&neighbour), Tensor::from_slice(&weight)]
                .map(|part| part.to_device(device));
        Self::OnDevice(Tensor::sparse_csr_tensor_crow_col_value_size(
            &start,
            &neighbour,
            &weight,
            [nodes, nodes].as_slice(),
            (Kind::Float, device),
        ))
    }

    /// The product with `x` `[U + I, columns]`, without history.
    fn times(&self, x: &Tensor) -> Tensor {
        match self {
            Self::OnDevice(matrix) => tch::no_grad(|| matrix.matmul(x)),
            Self::Host { adjacency, none } => {
                let (mut x, mut out) = (x.detach().contiguous(), x.detach().empty_like().contiguous());
                if let (Some(x), Some(out)) = (slice_mut(&mut x), slice_mut(&mut out)) {
                    let operands = Operands {
                        share: 1.0,
                        base: x,
                        base_nodes: Nodes::Marked(none),
                        table: x,
                        part: None,
                        wanted: Nodes::All,
                    };
                    adjacency.product(operands, out);
                }
                out
            }
        }
    }
}

/// The products of a forward pass.
#[derive(Default)]
pub struct Tape(RefCell<Vec<Cut>>);

/// A product: what it was made of, the leaf that stands for that behind the cut, and the product.
struct Cut {
    before: Tensor,
    operand: Tensor,
    product: Tensor,
}

impl Tape {
    /// The product with `x` `[U + I, columns]`. Answers what stands for `x` from here on, and the product: `x` itself is not to
    /// be used any more.
    pub fn propagate(&self, propagation: &Propagation, x: Tensor) -> (Tensor, Tensor) {
        if !x.requires_grad() {
            let product = propagation.matrix.times(&x);
            return (x, product);
        }
        let (operand, product) = (leaf(&x), leaf(&propagation.matrix.times(&x)));
        let cut = Cut { before: x, operand: operand.shallow_clone(), product: product.shallow_clone() };
        self.0.borrow_mut().push(cut);
        (operand, product)
    }

    /// The gradient of `root` with respect to everything before the products too.
    pub fn backward(self, propagation: Option<&Propagation>, root: &Tensor) {
        root.backward();
        for Cut { before, operand, product } in self.0.into_inner().into_iter().rev() {
            let mut gradient = operand.grad();
            if let (true, Some(propagation)) = (product.grad().defined(), propagation) {
                let transpose = propagation.transpose.as_ref().unwrap_or(&propagation.matrix);
                let through = transpose.times(&product.grad());
                gradient = if gradient.defined() { gradient + through } else { through };
            }
            if gradient.defined() {
                (before * gradient).sum(Kind::Float).backward();
            }
        }
    }
}
