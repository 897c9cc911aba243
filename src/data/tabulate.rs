//! Tables by user or item, made of many rows on all threads.

use std::ops::Range;

use rayon::prelude::*;

/// How many entries a table of these ids has: one more than the largest id.
pub fn bound(ids: &[u32]) -> usize {
    ids.par_iter().max().map_or(0, |&id| id as usize + 1)
}

/// A table of `n` entries. Stretches of the rows `0..rows` are entered side by side by `fill`, each into a table of its
/// own that begins as `empty`, as far as these take no more memory than the rows; `merge` joins what stands in the same
/// place of two of them, in any order.
pub fn tabulate<T: Copy + Send + Sync>(
    rows: usize,
    n: usize,
    empty: T,
    fill: impl Fn(Range<usize>, &mut [T]) + Sync,
    merge: impl Fn(T, T) -> T + Sync,
) -> Vec<T> {
    let most = (rows / n.max(1)).clamp(1, rayon::current_num_threads());
    let length = rows.div_ceil(most).max(1);
    let tables = (0..rows).into_par_iter().step_by(length).map(|first| {
        let mut table = vec![empty; n];
        fill(first..rows.min(first + length), &mut table);
        table
    });
    let merged = tables.reduce_with(|mut table, other| {
        table.iter_mut().zip(other).for_each(|(own, other)| *own = merge(*own, other));
        table
    });
    merged.unwrap_or_else(|| vec![empty; n])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_do_not_depend_on_threads() {
        let ids: Vec<usize> = (0..10_000).map(|row| row * 7_919 % 101).collect();
        let count = |rows: Range<usize>, table: &mut [u32]| ids[rows].iter().for_each(|&id| table[id] += 1);
        let plainly: Vec<u32> = (0..101).map(|id| ids.iter().filter(|&&own| own == id).count() as u32).collect();
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| tabulate(ids.len(), 101, 0, count, |a, b| a + b)), plainly);
        }
        assert_eq!(tabulate(0, 2, 5, |_, _: &mut [u32]| (), |a, _| a), [5, 5]);
    }
}
