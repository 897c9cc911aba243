//! Dense ids again, after rows were filtered.

use crate::data::Interactions;

/// Which id each new id was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renumbered {
    pub users: Vec<u32>,
    pub items: Vec<u32>,
}

impl Renumbered {
    /// Everybody keeps their id.
    pub fn unchanged(users: u32, items: u32) -> Self {
        Self { users: (0..users).collect(), items: (0..items).collect() }
    }
}

/// Gives users and items the ids `0..` by first appearance in the rows.
pub fn renumber(rows: &mut Interactions) -> Renumbered {
    let (users, items) = rayon::join(|| column(&mut rows.user), || column(&mut rows.item));
    Renumbered { users, items }
}

/// No id has this value: there are less than 2^32 - 1 keys.
const NEW: u32 = u32::MAX;

fn column(ids: &mut [u32]) -> Vec<u32> {
    let mut new = vec![NEW; super::bound(ids)];
    let mut old = Vec::new();
    for id in ids {
        let known = &mut new[*id as usize];
        if *known == NEW {
            *known = old.len() as u32;
            old.push(*id);
        }
        *id = *known;
    }
    old
}
