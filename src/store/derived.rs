//! Entries that may have been computed from a damaged object. Stages read digested bytes only, but earlier versions
//! checked sizes alone, so what they computed from an object that turns out to be damaged cannot be trusted.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{Entry, Origin, Store, StoreError, remove_file};
use crate::digest::Digest;

impl Store {
    /// Removes the entries that may have been computed from the damaged object.
    pub(super) fn forget_derived(&self, damaged: &Digest) -> Result<(), StoreError> {
        let keys = self.keys()?;
        let known: Vec<_> = keys.par_iter().filter_map(|key| self.index_record(key).ok().flatten()).collect();
        derived(&known, [*damaged].into()).iter().try_for_each(|key| remove_file(&self.index_path(key)).map(drop))
    }
}

/// The keys of entries whose inputs are damaged, or came of such entries, unless their inputs were digested when they were
/// read.
pub(super) fn derived(known: &[(Entry, Origin)], damaged: BTreeSet<Digest>) -> BTreeSet<Digest> {
    let mut readers: BTreeMap<Digest, Vec<&Entry>> = BTreeMap::new();
    for (entry, origin) in known.iter().filter(|(_, origin)| !origin.digested) {
        for input in inputs(origin) {
            readers.entry(input).or_default().push(entry);
        }
    }
    let mut keys = BTreeSet::new();
    let mut open: Vec<Digest> = damaged.into_iter().collect();
    while let Some(object) = open.pop() {
        for entry in readers.remove(&object).unwrap_or_default() {
            if keys.insert(entry.key) {
                open.extend(entry.outputs.iter().map(|output| output.digest));
            }
        }
    }
    keys
}

/// The artifacts that an entry was computed from, as its key names them.
fn inputs(origin: &Origin) -> impl Iterator<Item = Digest> {
    let needs = origin.material.iter().filter(|(field, _)| field.starts_with("needs."));
    needs.filter_map(|(_, value)| value.parse().ok())
}
