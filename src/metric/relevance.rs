//! Which items are right for which user.

/// Relevant items per user, sorted, in one flat array.
#[derive(Clone, Debug, PartialEq)]
pub struct Relevance {
    start: Vec<usize>,
    item: Vec<u32>,
}

impl Relevance {
    /// From (user, item) pairs of a test part, in any order. A pair counts once however often it occurs. Users are
    /// `0..users`; pairs of other users are left out.
    pub fn new(users: usize, relevant: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut pairs: Vec<(u32, u32)> = relevant.into_iter().filter(|(user, _)| (*user as usize) < users).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut start = Vec::with_capacity(users + 1);
        start.push(0);
        for (row, &(user, _)) in pairs.iter().enumerate() {
            while start.len() <= user as usize {
                start.push(row);
            }
        }
        start.resize(users + 1, pairs.len());
        Self { start, item: pairs.into_iter().map(|pair| pair.1).collect() }
    }

    /// Removes pairs, such as those of the training set: their items are never recommended to these users, and kept they
    /// would be positives that nobody can reach. Returns how many of them there were.
    pub fn remove(&mut self, pairs: impl IntoIterator<Item = (u32, u32)>) -> usize {
        let mut kept = vec![true; self.item.len()];
        for (user, item) in pairs {
            if let Ok(place) = self.of(user).binary_search(&item) {
                kept[self.start[user as usize] + place] = false;
            }
        }
        self.keep(&kept)
    }

    /// Removes the pairs that `wanted` does not accept. Returns how many these were.
    pub fn retain(&mut self, wanted: impl Fn(u32, u32) -> bool) -> usize {
        let of_user = |user: u32| self.of(user).iter().map(move |&item| (user, item));
        let kept: Vec<bool> = self.users().flat_map(of_user).map(|(user, item)| wanted(user, item)).collect();
        self.keep(&kept)
    }

    fn keep(&mut self, kept: &[bool]) -> usize {
        // How many are kept of those before each pair.
        let mut before = Vec::with_capacity(kept.len());
        let mut count = 0;
        for &kept in kept {
            before.push(count);
            count += usize::from(kept);
        }
        self.start.iter_mut().for_each(|start| *start = before.get(*start).copied().unwrap_or(count));
        let mut kept = kept.iter();
        self.item.retain(|_| kept.next().is_some_and(|&kept| kept));
        before.len() - count
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

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.item.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_pairs_and_repetitions_do_not_count() {
        let mut relevance = Relevance::new(4, [(2, 9), (0, 5), (2, 3), (2, 9), (1, 7), (9, 1)]);
        assert_eq!(relevance.pairs(), 4);
        assert_eq!(relevance.remove([(1, 7), (2, 3), (3, 3), (2, 3), (7, 7)]), 2);
        assert_eq!(relevance.of(0), [5]);
        assert_eq!(relevance.of(1), [] as [u32; 0]);
        assert_eq!(relevance.of(2), [9]);
        assert_eq!(relevance.of(3), [] as [u32; 0]);
        assert_eq!(relevance.of(4), [] as [u32; 0]);
        assert_eq!(relevance.users().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn items_that_are_not_ranked_do_not_count() {
        let mut relevance = Relevance::new(3, [(0, 1), (0, 2), (1, 1), (2, 2), (2, 3)]);
        assert_eq!(relevance.retain(|_, item| item != 1), 2);
        assert_eq!((relevance.of(0), relevance.of(1), relevance.of(2)), (&[2][..], &[][..], &[2, 3][..]));
        assert_eq!(relevance.retain(|user, item| (user, item) != (2, 2)), 1);
        assert_eq!((relevance.of(0), relevance.of(2)), (&[2][..], &[3][..]));
        assert_eq!(relevance.retain(|_, _| false), 2);
        assert_eq!(relevance.users().count(), 0);
    }

    #[test]
    fn no_pairs_no_users() {
        let mut relevance = Relevance::new(0, []);
        assert_eq!(relevance.users().count(), 0);
        assert_eq!(relevance.of(0), [] as [u32; 0]);
        assert_eq!(relevance.remove([(0, 0)]), 0);
    }
}
