//! The bipartite graph of training interactions as two compressed sparse row (CSR) adjacencies: users to items and
//! items to users.

use rayon::prelude::*;

use super::Interactions;
use super::tabulate::bound;

/// Distinct user-item pairs, each stored from both sides with neighbours in ascending order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub n_users: usize,
    pub n_items: usize,
    /// `n_users + 1` offsets into [`Self::user_items`].
    pub user_ptr: Vec<usize>,
    pub user_items: Vec<u32>,
    /// `n_items + 1` offsets into [`Self::item_users`].
    pub item_ptr: Vec<usize>,
    pub item_users: Vec<u32>,
}

impl Graph {
    /// The graph over users `0..=max(user)` and items `0..=max(item)`. Repeated pairs count once: summing them into
    /// heavier edges is a known trap of loaders of this lineage.
    pub fn from_interactions(interactions: &Interactions) -> Self {
        Self::with_size(bound(&interactions.user), bound(&interactions.item), interactions)
    }

    /// The graph over `n_users` users and `n_items` items; those without interactions are isolated nodes. All ids
    /// must lie below these sizes.
    pub fn with_size(n_users: usize, n_items: usize, interactions: &Interactions) -> Self {
        let (ptr, mut items) = group(n_users, &interactions.user, &interactions.item);
        // Sorted rows without repeats, then closed up.
        let lengths: Vec<usize> = rows_mut(&ptr, &mut items).into_par_iter().map(sort_distinct).collect();
        let mut user_ptr = Vec::with_capacity(n_users + 1);
        user_ptr.push(0);
        let mut end = 0;
        for (row, &length) in lengths.iter().enumerate() {
            items.copy_within(ptr[row]..ptr[row] + length, end);
            end += length;
            user_ptr.push(end);
        }
        items.truncate(end);

        let mut users = Vec::with_capacity(end);
        for (user, &length) in lengths.iter().enumerate() {
            users.extend(std::iter::repeat_n(user as u32, length));
        }
        // Pairs are visited by ascending user, so the users of each item come out sorted.
        let (item_ptr, item_users) = group(n_items, &items, &users);
        Self { n_users, n_items, user_ptr, user_items: items, item_ptr, item_users }
    }

    /// Number of distinct pairs.
    pub fn n_edges(&self) -> usize {
        self.user_items.len()
    }

    /// The items of a user, ascending.
    pub fn items_of(&self, user: u32) -> &[u32] {
        &self.user_items[self.user_ptr[user as usize]..self.user_ptr[user as usize + 1]]
    }

    /// The users of an item, ascending.
    pub fn users_of(&self, item: u32) -> &[u32] {
        &self.item_users[self.item_ptr[item as usize]..self.item_ptr[item as usize + 1]]
    }

    pub fn contains(&self, user: u32, item: u32) -> bool {
        self.items_of(user).binary_search(&item).is_ok()
    }

    /// The diagonal of `D^{-1/2}` for users and for items; 0 for isolated nodes. The entry of the symmetrically
    /// normalised adjacency `D^{-1/2} A D^{-1/2}` at a pair is the product of its two ends (LightGCN, SIGIR 2020, eq. 3).
    pub fn inv_sqrt_degrees(&self) -> (Vec<f32>, Vec<f32>) {
        let of = |ptr: &[usize]| {
            ptr.windows(2)
                .map(|ends| match ends[1] - ends[0] {
                    0 => 0.0,
                    degree => (1.0 / (degree as f64).sqrt()) as f32,
                })
                .collect()
        };
        (of(&self.user_ptr), of(&self.item_ptr))
    }
}

/// Counting sort: offsets of `n` groups and `values` grouped by `keys`, in the order given within each group.
fn group(n: usize, keys: &[u32], values: &[u32]) -> (Vec<usize>, Vec<u32>) {
    let mut ptr = vec![0usize; n + 1];
    for &key in keys {
        ptr[key as usize + 1] += 1;
    }
    for index in 0..n {
        ptr[index + 1] += ptr[index];
    }
    let mut next = ptr.clone();
    let mut grouped = vec![0u32; values.len()];
    for (&key, &value) in keys.iter().zip(values) {
        let slot = &mut next[key as usize];
        grouped[*slot] = value;
        *slot += 1;
    }
    (ptr, grouped)
}

fn rows_mut<'a>(ptr: &[usize], mut values: &'a mut [u32]) -> Vec<&'a mut [u32]> {
    let mut rows = Vec::with_capacity(ptr.len() - 1);
    for ends in ptr.windows(2) {
        let (row, rest) = values.split_at_mut(ends[1] - ends[0]);
        rows.push(row);
        values = rest;
    }
    rows
}

/// Sorts a row, moves its distinct values to the front and returns how many there are.
fn sort_distinct(row: &mut [u32]) -> usize {
    row.sort_unstable();
    let mut kept = 0;
    for index in 0..row.len() {
        if kept == 0 || row[index] != row[kept - 1] {
            row[kept] = row[index];
            kept += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(pairs: &[(u32, u32)]) -> Graph {
        Graph::from_interactions(&Interactions {
            user: pairs.iter().map(|pair| pair.0).collect(),
            item: pairs.iter().map(|pair| pair.1).collect(),
            ..Interactions::default()
        })
    }

    #[test]
    fn rows_are_sorted_and_distinct_from_both_sides() {
        let graph = graph(&[(1, 2), (0, 1), (1, 0), (0, 1), (1, 2), (1, 1)]);
        assert_eq!((graph.n_users, graph.n_items, graph.n_edges()), (2, 3, 4));
        assert_eq!((graph.items_of(0), graph.items_of(1)), (&[1][..], &[0, 1, 2][..]));
        assert_eq!((graph.users_of(0), graph.users_of(1), graph.users_of(2)), (&[1][..], &[0, 1][..], &[1][..]));
        assert!(graph.contains(1, 2) && !graph.contains(0, 2));
    }

    #[test]
    fn normalised_adjacency_and_propagation_of_methods_2_2() {
        let graph = graph(&[(0, 0), (0, 1), (1, 1)]);
        let (users, items) = graph.inv_sqrt_degrees();
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        close(users[0] * items[0], std::f32::consts::FRAC_1_SQRT_2);
        close(users[0] * items[1], 0.5);
        close(users[1] * items[1], std::f32::consts::FRAC_1_SQRT_2);

        let propagate = |x: [f32; 4]| {
            let mut y = [0.0; 4];
            for user in 0..2u32 {
                for &item in graph.items_of(user) {
                    let weight = users[user as usize] * items[item as usize];
                    y[user as usize] += weight * x[2 + item as usize];
                    y[2 + item as usize] += weight * x[user as usize];
                }
            }
            y
        };
        let first = propagate([1.0, 2.0, 3.0, 4.0]);
        let second = propagate(first);
        for (found, expected) in
            first.into_iter().zip([4.121_320_3, 2.828_427, std::f32::consts::FRAC_1_SQRT_2, 1.914_213_6])
        {
            close(found, expected);
        }
        for (found, expected) in second.into_iter().zip([1.457_106_8, 1.353_553_4, 2.914_213_6, 4.060_660_2]) {
            close(found, expected);
        }
    }

    #[test]
    fn isolated_nodes_have_no_neighbours_and_no_weight() {
        let graph = Graph::with_size(3, 2, &Interactions { user: vec![1], item: vec![1], ..Interactions::default() });
        assert!(graph.items_of(0).is_empty() && graph.users_of(0).is_empty());
        assert_eq!(graph.inv_sqrt_degrees(), (vec![0.0, 1.0, 0.0], vec![0.0, 1.0]));
        assert_eq!(Graph::from_interactions(&Interactions::default()).n_edges(), 0);
    }
}
