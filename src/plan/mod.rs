//! The graph of a pipeline's instances, the order to run them in, keys and their explanation. Pure: knows neither
//! stage kinds nor files.

pub mod key;
mod select;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub use key::{Change, Fields, InputMaterial, KeyMaterial, diff};

use crate::spec::{Instance, Pipeline};

/// A pipeline as a graph.
#[derive(Clone, Debug)]
pub struct Plan {
    pub pipeline: Pipeline,
    /// Indices of instances; each after everything it needs, otherwise in file order.
    pub order: Vec<usize>,
    /// Which instances each one needs, sorted, without repetition.
    pub sources: Vec<Vec<usize>>,
    /// Which instances need each one, sorted.
    pub dependents: Vec<Vec<usize>>,
    /// Instances of equal depth do not need each other; sources lie at a smaller depth.
    pub depth: Vec<usize>,
}

/// The pipeline cannot be planned, or does not have what was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    #[error("`{0}` needs itself through other stages")]
    Cycle(String),
    #[error("{message}")]
    Selection { message: String, help: String },
}

impl Plan {
    pub fn new(pipeline: Pipeline) -> Result<Self, PlanError> {
        let count = pipeline.instances.len();
        let mut sources = Vec::with_capacity(count);
        let mut dependents = vec![Vec::new(); count];
        for (index, instance) in pipeline.instances.iter().enumerate() {
            let mut needed: Vec<usize> =
                instance.needs.iter().flat_map(|need| &need.sources).map(|source| source.instance).collect();
            needed.sort_unstable();
            needed.dedup();
            needed.iter().for_each(|&source| dependents[source].push(index));
            sources.push(needed);
        }

        let mut missing: Vec<usize> = sources.iter().map(Vec::len).collect();
        let mut ready: BinaryHeap<Reverse<usize>> = (0..count).filter(|&i| missing[i] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(count);
        let mut depth = vec![0; count];
        while let Some(Reverse(index)) = ready.pop() {
            order.push(index);
            for &dependent in &dependents[index] {
                depth[dependent] = depth[dependent].max(depth[index] + 1);
                missing[dependent] -= 1;
                if missing[dependent] == 0 {
                    ready.push(Reverse(dependent));
                }
            }
        }
        if let Some(stuck) = missing.iter().position(|&count| count > 0) {
            return Err(PlanError::Cycle(pipeline.instances[stuck].id.clone()));
        }
        Ok(Self { pipeline, order, sources, dependents, depth })
    }

    pub fn instance(&self, index: usize) -> &Instance {
        &self.pipeline.instances[index]
    }

    pub fn len(&self) -> usize {
        self.pipeline.instances.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pipeline.instances.is_empty()
    }

    /// `targets` and everything they need, as a mask over all instances.
    pub fn closure(&self, targets: &[usize]) -> Vec<bool> {
        let mut wanted = vec![false; self.len()];
        targets.iter().for_each(|&target| wanted[target] = true);
        for &index in self.order.iter().rev() {
            if wanted[index] {
                self.sources[index].iter().for_each(|&source| wanted[source] = true);
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests;
