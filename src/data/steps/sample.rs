//! A random sample of users, with all their rows, or of rows. Every user (or row) is as likely as any other.

use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lack, Parts, StepRule};

/// How much, by `share` or by `number`, of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    #[serde(default)]
    pub of: Sampled,
    /// A share from above 0 to 1, rounded to the nearest number.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub share: Option<f64>,
    /// How many; all stay where there are not more.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub number: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub seed: u64,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampled {
    /// Users, over all parts; a user stays with all rows or goes with all.
    #[default]
    Users,
    /// Rows, of all parts together.
    Rows,
}

impl StepRule for Sample {
    fn text(&self) -> String {
        let of = match self.of {
            Sampled::Users => "users",
            Sampled::Rows => "rows",
        };
        match (self.share, self.number) {
            (Some(share), _) => format!("{share} of the {of}, seed {}", self.seed),
            (_, number) => format!("{} {of}, seed {}", number.unwrap_or_default(), self.seed),
        }
    }

    fn mistake(&self) -> Option<String> {
        match (self.share, self.number) {
            (Some(share), None) if share > 0.0 && share <= 1.0 => None,
            (None, Some(1..)) => None,
            (Some(share), None) => Some(format!("`share` lies above 0 and at most at 1, not at {share}")),
            (None, Some(_)) => Some("`number` is at least 1".to_owned()),
            _ => Some("give either `share` or `number`".to_owned()),
        }
    }

    fn keep(&self, parts: &mut Parts) -> Result<Vec<bool>, Lack> {
        match self.of {
            Sampled::Rows => Ok(self.choose(vec![true; parts.rows.len()])),
            Sampled::Users => {
                let users = &parts.rows.user;
                let mut present = vec![false; super::bound(users)];
                users.iter().for_each(|&user| present[user as usize] = true);
                let chosen = self.choose(present);
                Ok(users.iter().map(|&user| chosen[user as usize]).collect())
            }
        }
    }
}

impl Sample {
    /// Keeps the wanted number of the truths: each is drawn with the probability that leaves the right number to
    /// those after it (selection sampling; Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2 S).
    fn choose(&self, mut candidates: Vec<bool>) -> Vec<bool> {
        let mut left = candidates.iter().filter(|&&candidate| candidate).count() as u64;
        let share = |share: f64| (left as f64 * share).round() as u64;
        let mut wanted = self.share.map(share).or(self.number).unwrap_or(left).min(left);
        let mut rng = crate::rng::stream(self.seed, "sample", 0);
        for candidate in candidates.iter_mut().filter(|candidate| **candidate) {
            *candidate = rng.random_range(0..left) < wanted;
            wanted -= u64::from(*candidate);
            left -= 1;
        }
        candidates
    }
}
