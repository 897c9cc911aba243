//! Groups of users of about equal size by how active they were in training.

/// Users whose count lies in `low..=high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub low: u32,
    pub high: u32,
}

impl Group {
    pub fn contains(&self, count: u32) -> bool {
        (self.low..=self.high).contains(&count)
    }
}

/// Splits at the quantiles of `counts` into at most `bins` groups, ascending. Equal counts are never separated, so that
/// groups may differ in size, and there are fewer where one count fills several bins.
pub fn quantile_groups(counts: &[u32], bins: usize) -> Vec<Group> {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let mut groups: Vec<Group> = Vec::new();
    let mut from = 0;
    for bin in 1..=bins {
        let nominal = sorted.len() * bin / bins;
        let to = sorted.partition_point(|&count| nominal > 0 && count <= sorted[nominal - 1]);
        if to > from {
            groups.push(Group { low: sorted[from], high: sorted[to - 1] });
            from = to;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_keep_equal_counts_together() {
        let group = |low, high| Group { low, high };
        assert_eq!(quantile_groups(&[4, 1, 3, 2], 2), [group(1, 2), group(3, 4)]);
        assert_eq!(quantile_groups(&[1, 1, 1, 2, 9], 2), [group(1, 1), group(2, 9)]);
        assert_eq!(quantile_groups(&[5, 5, 5], 4), [group(5, 5)]);
        assert_eq!(quantile_groups(&[7], 4), [group(7, 7)]);
        assert_eq!(quantile_groups(&[], 4), []);
    }
}
