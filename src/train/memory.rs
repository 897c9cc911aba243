//! How much memory a training takes, estimated before it begins.

use super::config::{Config, Gradient, Model};
use crate::method::Unit;

/// Bytes of a number.
const NUMBER: u64 = 4;

/// Users and items that are assumed where nobody knows them: the parameters alone are at hand.
const NODES: u64 = 100_000;

/// The estimate in bytes, for so many users and items together where they are known.
pub fn bytes(config: &Config, nodes: Option<u64>) -> u64 {
    let nodes = nodes.unwrap_or(NODES);
    let numbers = match &config.model {
        Model::Gradient(gradient) => of_gradient(gradient, nodes),
        Model::Recommender { method, .. } => nodes.saturating_mul(2 + method.traits().per_item),
        Model::Missing => 0,
    };
    numbers.saturating_mul(NUMBER)
}

fn of_gradient(gradient: &Gradient, nodes: u64) -> u64 {
    let (backbone, loss) = (gradient.backbone.traits(), gradient.loss.traits());
    let sampler = gradient.sampler.as_ref().map(|sampler| sampler.traits()).unwrap_or_default();
    let (dim, batch) = (gradient.dim as u64, gradient.batch_size as u64);
    let rows = match backbone.unit {
        Unit::Pair => batch,
        Unit::Sequence { length } => batch.saturating_mul(length as u64),
    };
    let negatives = gradient.negatives as u64;
    let hops = if gradient.by_hops() { backbone.hops.max(1) as u64 } else { 1 };
    // Table, gradient, two moments, the best one, vectors, and what is between them.
    let per_node = 6_u64.saturating_add(2 * hops).saturating_add(backbone.numbers.per_node);
    let per_node = dim.saturating_mul(per_node).saturating_add(backbone.numbers.per_node_fixed);
    let tables = nodes.saturating_mul(per_node);
    // Values, gradients, two moments, the best ones.
    let layers = dim.saturating_mul(dim).saturating_mul(backbone.numbers.per_width_squared).saturating_mul(5);
    // Vectors of a row and their gradients.
    let vectors = (4 + 2 * negatives).saturating_mul(dim).saturating_mul(hops);
    // Samplers that mix hops have a whole row of gradient for each hop of a negative.
    let vectors = if gradient.by_hops() {
        vectors.saturating_add(negatives.saturating_mul(dim).saturating_mul(hops * hops))
    } else {
        vectors
    };
    let candidates = negatives.saturating_mul(sampler.candidates as u64);
    let of_row = vectors
        .saturating_add(candidates)
        .saturating_add(backbone.numbers.per_row)
        .saturating_add(backbone.numbers.per_row_and_width.saturating_mul(dim))
        .saturating_add(sampler.numbers.per_row);
    let squared = backbone.numbers.per_pair_of_rows + sampler.numbers.per_pair_of_rows + u64::from(loss.pairs_of_rows);
    let pairs_of_rows = rows.saturating_mul(rows).saturating_mul(squared);
    tables.saturating_add(layers).saturating_add(rows.saturating_mul(of_row)).saturating_add(pairs_of_rows)
}
