//! What trainings learn from: the graph of the training pairs, and on demand what else a method asks for.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::MethodError;
use crate::data::popularity::counts;
use crate::data::{Graph, Interactions};

/// The training part of a split.
#[derive(Debug)]
pub struct TrainingData {
    /// All users and items, and the distinct training pairs.
    pub graph: Graph,
    interactions: Interactions,
    popularity: OnceLock<Vec<u32>>,
    sequences: OnceLock<Sequences>,
}

impl TrainingData {
    /// Over the users and items that occur.
    pub fn new(interactions: Interactions) -> Self {
        Self::over(Graph::from_interactions(&interactions), interactions)
    }

    /// Over the users and items of `graph`, which is that of the interactions.
    pub fn over(graph: Graph, interactions: Interactions) -> Self {
        Self { graph, interactions, popularity: OnceLock::new(), sequences: OnceLock::new() }
    }

    /// How many training users each item has.
    pub fn popularity(&self) -> &[u32] {
        self.popularity.get_or_init(|| counts(self.graph.user_items.iter().copied(), self.graph.n_items))
    }

    /// The items of each user in the order of time.
    ///
    /// # Errors
    /// The interactions have no times.
    pub fn sequences(&self) -> Result<&Sequences, MethodError> {
        if self.interactions.time.is_none() && !self.interactions.is_empty() {
            return Err(MethodError::NoTimes);
        }
        Ok(self.sequences.get_or_init(|| Sequences::new(self.graph.n_users, &[&self.interactions])))
    }
}

/// The items of each user in the order of time; those of equal times in the order of the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequences {
    start: Vec<usize>,
    items: Vec<u32>,
}

impl Sequences {
    /// Of `n_users` users, from these parts of the data; those without times come last.
    pub fn new(n_users: usize, parts: &[&Interactions]) -> Self {
        let time = |part: &Interactions, row: usize| part.time.as_ref().map_or(i64::MAX, |times| times[row]);
        let rows =
            |part| (0..Interactions::len(part)).map(move |row| (part.user[row], time(part, row), part.item[row]));
        let mut rows: Vec<(u32, i64, u32)> = parts.iter().flat_map(|part| rows(*part)).collect();
        rows.sort_by_key(|&(user, time, _)| (user, time));
        let mut start = vec![0; n_users + 1];
        rows.iter().for_each(|&(user, ..)| start[user as usize + 1] += 1);
        for user in 0..n_users {
            start[user + 1] += start[user];
        }
        Self { start, items: rows.into_iter().map(|(_, _, item)| item).collect() }
    }

    pub fn of(&self, user: u32) -> &[u32] {
        &self.items[self.start[user as usize]..self.start[user as usize + 1]]
    }

    /// The latest part of a sequence that queries are made of, `length` items at most, and the item that follows each: the
    /// positives.
    pub fn positions(sequence: &[u32], length: usize) -> (&[u32], &[u32]) {
        match &sequence[sequence.len().saturating_sub(length + 1)..] {
            [] => (&[], &[]),
            last @ [rest @ .., _] => (rest, &last[1..]),
        }
    }
}

/// What is known of users when items are recommended to them.
#[derive(Clone, Copy)]
pub struct Histories<'a> {
    pub train: &'a TrainingData,
    /// Interactions beside those of the training part that are known as well.
    pub then: Option<&'a Interactions>,
}

impl<'a> Histories<'a> {
    /// The items of each user in the order of time, of both parts together: what is held out at random lies among what was
    /// learned from, not behind it. Of equal times, those of the training part come first.
    ///
    /// # Errors
    /// The training part has no times.
    pub fn sequences(&self) -> Result<Cow<'a, Sequences>, MethodError> {
        let train = self.train.sequences()?;
        let both = |then| Sequences::new(self.train.graph.n_users, &[&self.train.interactions, then]);
        Ok(self.then.map_or(Cow::Borrowed(train), |then| Cow::Owned(both(then))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(rows: &[(u32, u32, i64)]) -> Interactions {
        Interactions {
            user: rows.iter().map(|row| row.0).collect(),
            item: rows.iter().map(|row| row.1).collect(),
            time: Some(rows.iter().map(|row| row.2).collect()),
            weight: None,
        }
    }

    #[test]
    fn sequences_follow_times_and_then_the_data() {
        let data = TrainingData::new(log(&[(1, 4, 9), (0, 2, 5), (1, 3, 1), (0, 1, 5), (1, 0, 9)]));
        let sequences = data.sequences().unwrap();
        assert_eq!((sequences.of(0), sequences.of(1)), (&[2, 1][..], &[3, 4, 0][..]));
        let held_out = log(&[(1, 2, 9), (1, 1, 2)]);
        let known = Histories { train: &data, then: Some(&held_out) }.sequences().unwrap();
        assert_eq!((known.of(0), known.of(1)), (&[2, 1][..], &[3, 1, 4, 0, 2][..]));
        let without_times = Interactions { time: None, ..held_out };
        let known = Histories { train: &data, then: Some(&without_times) }.sequences().unwrap();
        assert_eq!(known.of(1), [3, 4, 0, 2, 1]);
        assert_eq!(data.popularity(), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn each_position_is_followed_by_its_positive() {
        for (length, expected) in [(1, (&[1][..], &[9][..])), (2, (&[7, 1], &[1, 9])), (9, (&[4, 7, 1], &[7, 1, 9]))] {
            assert_eq!(Sequences::positions(&[4, 7, 1, 9], length), expected);
        }
        for sequence in [&[][..], &[5]] {
            assert_eq!(Sequences::positions(sequence, 3), (&[][..], &[][..]));
        }
    }

    #[test]
    fn without_times_there_are_no_sequences() {
        let data = TrainingData::new(Interactions { user: vec![0], item: vec![0], ..Interactions::default() });
        assert_eq!(data.sequences(), Err(MethodError::NoTimes));
    }
}
