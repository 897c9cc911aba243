//! The stage kinds that a pipeline can use.

use super::stage::Kind;
use crate::spec::{KindSpec, KindTable};

/// All stage kinds, in documentation order.
pub struct Registry {
    kinds: Vec<Kind>,
}

impl Registry {
    pub fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds }
    }

    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Adds kinds, such as those of a test.
    pub fn with(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.kinds.extend(kinds);
        self
    }

    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.spec.name == name)
    }
}

impl KindTable for Registry {
    fn kinds(&self) -> Vec<&KindSpec> {
        self.kinds.iter().map(|kind| &kind.spec).collect()
    }

    fn find(&self, name: &str) -> Option<&KindSpec> {
        self.get(name).map(|kind| &kind.spec)
    }
}
