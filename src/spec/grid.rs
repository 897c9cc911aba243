//! Sets of axes and the combinations of their labels; both are plain numbers.

/// How many combinations one stage may have.
pub(super) const LARGEST: usize = 1_000_000;

/// A set of axes by their numbers, which are below [`AxisSet::MOST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AxisSet(u64);

impl AxisSet {
    pub const MOST: usize = 64;

    pub fn one(axis: usize) -> Self {
        Self(1 << axis)
    }

    pub fn contains(self, axis: usize) -> bool {
        self.0 >> axis & 1 == 1
    }

    pub fn insert(&mut self, axis: usize) {
        self.0 |= 1 << axis;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MOST).filter(move |&axis| self.contains(axis))
    }
}

/// All combinations of labels of some axes, numbered with the last axis running fastest.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Number, size and stride of each axis.
    axes: Vec<(usize, usize, usize)>,
    pub size: usize,
}

impl Grid {
    /// Nothing when there are more than [`LARGEST`] combinations. `sizes` has the number of labels of every axis.
    pub fn new(set: AxisSet, sizes: &[usize]) -> Option<Self> {
        let mut axes: Vec<_> = set.iter().map(|axis| (axis, sizes[axis], 1)).collect();
        let mut size = 1usize;
        for (_, count, stride) in axes.iter_mut().rev() {
            *stride = size;
            size = size.checked_mul(*count).filter(|&size| size <= LARGEST)?;
        }
        Some(Self { axes, size })
    }

    /// Writes the labels of combination `index` into `point`, which has a place for every axis.
    pub fn point(&self, index: usize, point: &mut [usize]) {
        for &(axis, count, stride) in &self.axes {
            point[axis] = index / stride % count;
        }
    }

    /// The combination that agrees with `point`.
    pub fn index(&self, point: &[usize]) -> usize {
        self.axes.iter().map(|&(axis, _, stride)| point[axis] * stride).sum()
    }

    pub fn axes(&self) -> impl Iterator<Item = usize> {
        self.axes.iter().map(|&(axis, ..)| axis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_combinations_with_the_last_axis_fastest() {
        let set = AxisSet::one(0).union(AxisSet::one(2));
        let grid = Grid::new(set, &[2, 7, 3]).expect("six combinations");
        let mut point = [0; 3];
        let all: Vec<_> = (0..grid.size)
            .map(|index| {
                grid.point(index, &mut point);
                assert_eq!(grid.index(&point), index);
                (point[0], point[2])
            })
            .collect();
        assert_eq!(all, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
        assert!(Grid::new(set, &[2000, 7, 2000]).is_none());
    }
}
