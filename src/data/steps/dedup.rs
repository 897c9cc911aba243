//! One row per user-item pair, within each part: the earliest, the latest, or one with the sum of the weights.
//!
//! Rows are grouped by user by counting, and each user's few rows sorted by item: no table of pairs is held.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::{Dedup, Lack, Parts, StepRule};
use crate::data::groups::Groups;

/// Users that one task takes at least.
const USERS: usize = 64;

impl StepRule for Dedup {
    fn text(&self) -> String {
        match self {
            Self::First => "the earliest row of each pair",
            Self::Last => "the latest row of each pair",
            Self::Sum => "the earliest row of each pair, with the sum of its weights",
            Self::None => "all rows",
        }
        .to_owned()
    }

    fn keep(&self, parts: &mut Parts) -> Result<Vec<bool>, Lack> {
        let Parts { rows, part, .. } = parts;
        if *self == Self::None {
            return Ok(vec![true; rows.len()]);
        }
        if *self == Self::Sum && rows.weight.is_none() {
            return Err(Lack::Weights);
        }
        let users = Groups::new(&rows.user, |_| true)?;
        let keep: Vec<AtomicBool> = rows.user.par_iter().map(|_| AtomicBool::new(true)).collect();
        let moment = |row: u32| rows.time.as_ref().map_or(0, |time| time[row as usize]);
        let weigh = |row: u32| rows.weight.as_ref().map_or(0.0, |weight| f64::from(weight[row as usize]));
        let sums: Vec<(u32, f32)> = (0..users.n_ids())
            .into_par_iter()
            .with_min_len(USERS)
            .map_init(Vec::new, |pairs: &mut Vec<(u32, u32, u32)>, user| {
                pairs.clear();
                pairs.extend(users.of(user).iter().map(|&row| (part[row as usize], rows.item[row as usize], row)));
                pairs.sort_unstable();
                let mut sums = Vec::new();
                for pair in pairs.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|pair| pair.len() > 1) {
                    let all = || pair.iter().map(|&(_, _, row)| row);
                    let chosen = match self {
                        Self::Last => all().max_by_key(|&row| (moment(row), row)),
                        _ => all().min_by_key(|&row| (moment(row), row)),
                    };
                    for row in all().filter(|&row| Some(row) != chosen) {
                        keep[row as usize].store(false, Ordering::Relaxed);
                    }
                    if *self == Self::Sum {
                        sums.extend(chosen.map(|row| (row, all().map(weigh).sum::<f64>() as f32)));
                    }
                }
                sums
            })
            .flatten_iter()
            .collect();
        if let Some(weight) = &mut rows.weight {
            sums.into_iter().for_each(|(row, sum)| weight[row as usize] = sum);
        }
        Ok(keep.into_iter().map(AtomicBool::into_inner).collect())
    }
}
