//! Which items are right for which user.

/// Relevant items per user, sorted, in one flat array.
#[derive(Clone, Debug, PartialEq)]
pub struct Relevance {
    start: Vec<usize>,
    item: Vec<u32>,
    removed: usize,
}

impl Relevance {
    /// From (user, item) pairs of a test part, in any order. A pair counts once however often it occurs. Pairs that
    /// are also in `seen` (the training set, whose items are never recommended) are removed: kept, they would be
    /// positives that nobody can reach. Users are `0..users`; pairs of other users are left out.
    pub fn new(
        users: usize,
        relevant: impl IntoIterator<Item = (u32, u32)>,
        seen: impl IntoIterator<Item = (u32, u32)>,
    ) -> Self {
        let mut pairs: Vec<(u32, u32)> = relevant.into_iter().filter(|(user, _)| (*user as usize) < users).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut kept = vec![true; pairs.len()];
        for pair in seen {
            if let Ok(position) = pairs.binary_search(&pair) {
                kept[position] = false;
            }
        }
        let mut start = Vec::with_capacity(users + 1);
        let mut item = Vec::with_capacity(pairs.len());
        start.push(0);
        for (&(user, id), _) in pairs.iter().zip(&kept).filter(|(_, kept)| **kept) {
            while start.len() <= user as usize {
                start.push(item.len());
            }
            item.push(id);
        }
        start.resize(users + 1, item.len());
        let removed = pairs.len() - item.len();
        Self { start, item, removed }
    }

    /// The relevant items of a user, sorted; none for unknown users.
    pub fn of(&self, user: u32) -> &[u32] {
        match self.start.get(user as usize..user as usize + 2) {
            Some(&[from, to]) => &self.item[from..to],
            _ => &[],
        }
    }

    /// The users with at least one relevant item, ascending: those that count.
    pub fn users(&self) -> impl Iterator<Item = u32> {
        self.start.windows(2).zip(0u32..).filter(|(window, _)| window[0] < window[1]).map(|(_, user)| user)
    }

    /// How many pairs were removed because they had been seen in training.
    pub fn removed(&self) -> usize {
        self.removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_pairs_and_repetitions_do_not_count() {
        let relevance = Relevance::new(4, [(2, 9), (0, 5), (2, 3), (2, 9), (1, 7), (9, 1)], [(1, 7), (2, 3), (3, 3)]);
        assert_eq!(relevance.of(0), [5]);
        assert_eq!(relevance.of(1), [] as [u32; 0]);
        assert_eq!(relevance.of(2), [9]);
        assert_eq!(relevance.of(3), [] as [u32; 0]);
        assert_eq!(relevance.of(4), [] as [u32; 0]);
        assert_eq!(relevance.users().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(relevance.removed(), 2);
    }

    #[test]
    fn no_pairs_no_users() {
        let relevance = Relevance::new(0, [], []);
        assert_eq!(relevance.users().count(), 0);
        assert_eq!(relevance.of(0), [] as [u32; 0]);
    }
}
