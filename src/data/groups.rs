//! Rows grouped by user or item, as compressed sparse rows (CSR): 4 bytes per row, and nothing to sort.

use std::ops::Range;

use rayon::prelude::*;

use super::tabulate::{bound, tabulate};

/// There are more rows than four bytes can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rows} interactions are more than can be grouped (2^32 - 1): take a part of the data first")]
pub struct TooManyRows {
    pub rows: usize,
}

/// Rows by id, or what stands for them; the rows of a group stand in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Groups<T = u32> {
    /// One offset into `rows` per id, and the end.
    start: Vec<u32>,
    rows: Vec<T>,
}

impl Groups {
    /// Groups those rows that `keep` accepts by their id.
    ///
    /// # Errors
    /// More rows than four bytes can number.
    pub fn new(ids: &[u32], keep: impl Fn(usize) -> bool + Sync) -> Result<Self, TooManyRows> {
        Self::of_values(ids, keep, |row| row as u32)
    }
}

impl<T: Copy + Default + Send + Sync> Groups<T> {
    /// As [`Groups::new`], with a value instead of each row's number.
    ///
    /// # Errors
    /// More rows than four bytes can number.
    pub fn of_values(
        ids: &[u32],
        keep: impl Fn(usize) -> bool + Sync,
        value: impl Fn(usize) -> T + Sync,
    ) -> Result<Self, TooManyRows> {
        if u32::try_from(ids.len()).is_err() {
            return Err(TooManyRows { rows: ids.len() });
        }
        let n = bound(ids);
        let count = |rows: Range<usize>, counts: &mut [u32]| {
            kept((rows.start, &ids[rows]), &keep).for_each(|(_, id)| counts[id as usize] += 1);
        };
        let (mut start, mut end) = (Vec::with_capacity(n + 1), 0);
        for count in tabulate(ids.len(), n, 0, count, |a, b| a + b) {
            start.push(end);
            end += count;
        }
        start.push(end);
        let rows = arranged(ids, &start, keep, value);
        Ok(Self { start, rows })
    }

    /// Values of all rows, group by group: of groups that lack no row of the `ids` they were made of.
    pub fn arranged<V>(&self, ids: &[u32], value: impl Fn(usize) -> V + Sync) -> Vec<V>
    where
        V: Copy + Default + Send + Sync,
    {
        arranged(ids, &self.start, |_| true, value)
    }

    /// Number of ids `0..=max`, those without rows among them.
    pub fn n_ids(&self) -> usize {
        self.start.len() - 1
    }

    /// Number of rows in all groups.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// The rows with this id.
    pub fn of(&self, id: usize) -> &[T] {
        &self.rows[self.range(id)]
    }

    /// Where the rows with this id stand among all.
    pub fn range(&self, id: usize) -> Range<usize> {
        self.start[id] as usize..self.start[id + 1] as usize
    }

    /// All rows, group by group, for rearranging within groups.
    pub fn rows_mut(&mut self) -> &mut [T] {
        &mut self.rows
    }

    /// Runs `work` on stretches of neighbouring ids, one per thread and with about equally many rows, side by side.
    /// How many stretches there are must not show in what is made of the answers.
    pub fn in_parallel<A: Send>(&self, work: impl Fn(Range<usize>) -> A + Sync) -> Vec<A> {
        let stretches = rayon::current_num_threads();
        let bound = |stretch: usize| {
            let row = self.rows.len() * stretch / stretches;
            if stretch == stretches {
                self.n_ids()
            } else {
                self.start[1..].partition_point(|&end| end as usize <= row)
            }
        };
        let stretch = |stretch: usize| bound(stretch)..bound(stretch + 1).max(bound(stretch));
        (0..stretches).into_par_iter().map(|index| work(stretch(index))).collect()
    }
}

/// The rows of a stretch that count, and their ids. The stretch comes with the number of its first row.
fn kept<'a>(
    (first, ids): (usize, &'a [u32]),
    keep: &'a impl Fn(usize) -> bool,
) -> impl Iterator<Item = (usize, u32)> + 'a {
    (first..).zip(ids).filter(|&(row, _)| keep(row)).map(|(row, &id)| (row, id))
}

/// Rows that are arranged at a time.
const BAND: usize = 1 << 21;

/// Stretches of neighbouring ids among which the rows of a band are dealt first.
const STRETCHES: usize = 256;

/// The groups of neighbouring ids, while they are filled.
struct Stretch<'a, T> {
    first_id: usize,
    first_place: usize,
    /// Where the next value of each id belongs.
    next: &'a mut [u32],
    values: &'a mut [T],
}

/// The values of those rows that `keep` accepts, group by group, in the order of rows. A group has few rows of any
/// stretch of the log, and to fill all groups at once would be a cache miss per row: rows are dealt to stretches of ids,
/// and by these, whose groups fit into a cache, to their groups.
fn arranged<T>(
    ids: &[u32],
    start: &[u32],
    keep: impl Fn(usize) -> bool + Sync,
    value: impl Fn(usize) -> T + Sync,
) -> Vec<T>
where
    T: Copy + Default + Send + Sync,
{
    let n = start.len() - 1;
    let shift = n.div_ceil(STRETCHES).max(1).next_power_of_two().trailing_zeros();
    let mut next = start[..n].to_vec();
    let mut values = vec![T::default(); start[n] as usize];
    let (mut rest, mut stretches) = (&mut *values, Vec::with_capacity(STRETCHES));
    for (next, first_id) in next.chunks_mut(1 << shift).zip((0..).step_by(1 << shift)) {
        let first_place = start[first_id] as usize;
        let end = start[first_id + next.len()] as usize;
        let (own, others) = std::mem::take(&mut rest).split_at_mut(end - first_place);
        rest = others;
        stretches.push(Stretch { first_id, first_place, next, values: own });
    }
    let mut dealt = vec![vec![Vec::new(); stretches.len()]; rayon::current_num_threads()];
    for (band, first) in ids.chunks(BAND).zip((0..).step_by(BAND)) {
        let length = band.len().div_ceil(dealt.len());
        dealt.par_iter_mut().enumerate().for_each(|(index, dealt)| {
            dealt.iter_mut().for_each(Vec::clear);
            let own = band.chunks(length).nth(index).unwrap_or_default();
            for (row, id) in kept((first + index * length, own), &keep) {
                dealt[(id >> shift) as usize].push((id, value(row)));
            }
        });
        stretches.par_iter_mut().enumerate().for_each(|(index, stretch)| {
            for &(id, value) in dealt.iter().flat_map(|dealt| &dealt[index]) {
                let next = &mut stretch.next[id as usize - stretch.first_id];
                stretch.values[*next as usize - stretch.first_place] = value;
                *next += 1;
            }
        });
    }
    drop(stretches);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_id_in_order() {
        let groups = Groups::new(&[2, 0, 2, 4, 0, 2], |row| row != 5).unwrap();
        let of: Vec<&[u32]> = (0..groups.n_ids()).map(|id| groups.of(id)).collect();
        assert_eq!(of, [&[1, 4][..], &[], &[0, 2], &[], &[3]]);
        assert_eq!((groups.n_rows(), Groups::new(&[], |_| true).unwrap().n_ids()), (5, 0));
    }

    #[test]
    fn stretches_cover_every_id_once() {
        for ids in [vec![], vec![0; 9], vec![7, 7, 7, 1], (0..100).collect::<Vec<u32>>()] {
            let groups = Groups::new(&ids, |_| true).unwrap();
            for threads in [1, 2, 3, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let covered: Vec<usize> =
                    pool.install(|| groups.in_parallel(|ids| ids)).into_iter().flatten().collect();
                let filled = |id: &usize| !groups.of(*id).is_empty();
                assert!(covered.is_sorted() && covered.iter().filter(|id| filled(id)).count() == ids_present(&ids));
            }
        }
    }

    #[test]
    fn values_stand_with_their_rows() {
        // More ids than stretches, and more rows than a band.
        let ids: Vec<u32> = (0..BAND as u64 + 1000).map(|row| (row * 7_919 % 1_009) as u32).collect();
        let even = |row| row % 2 == 0;
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let made = |threads| pool(threads).install(|| Groups::new(&ids, even).unwrap());
        let (groups, all) = (made(1), Groups::new(&ids, |_| true).unwrap());
        assert_eq!((&groups.start, &groups.rows), (&made(3).start, &made(3).rows));
        let mut sorted: Vec<u32> = (0..ids.len() as u32).step_by(2).collect();
        sorted.sort_by_key(|&row| ids[row as usize]);
        assert!(groups.rows == sorted);
        assert!(all.arranged(&ids, |row| ids[row]).is_sorted());
        assert_eq!(all.arranged(&ids, |row| row as u32), all.rows);
    }

    fn ids_present(ids: &[u32]) -> usize {
        ids.iter().collect::<std::collections::HashSet<_>>().len()
    }
}
