//! A causal generator of interactions: who is shown what, and who likes what, are separate mechanisms with known
//! parameters, so that a shift between log and test is real and the truth is at hand.
//!
//! * **Preferences.** User `u` has a vector `p_u`, item `i` attributes `q_i`, both standard normal in `factors`
//!   dimensions, and each item an appeal `a_i` to everybody. Affinity: `s(u,i) = <p_u, q_i> / sqrt(factors) + 0.3 a_i`.
//! * **Drift.** Over the time of the log, `p_u` and `a_i` turn towards fresh draws by `drift` right angles
//!   (`cos(x) p + sin(x) p'`): their distribution stays, their values do not.
//! * **Exposure.** The log has periods. In each, the platform lines the items up by appeal plus the logarithm of the
//!   clicks of the period before, so that what was shown well goes on being shown. An impression falls with
//!   probability `exposure` on position `k` in proportion to `k^-popularity` (Zipf), else on any item alike.
//! * **Decision.** An impression becomes an interaction with probability `sigmoid(5 (s(u,i) + noise e - 1))`, `e`
//!   standard normal; nobody takes an item twice.
//!
//! The part `log` comes from this policy. The part `uniform` is taken after its end, from the same users with the
//! preferences of that time, under uniform exposure: what a randomised trial would observe.

use std::f64::consts::FRAC_PI_2;

use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Interactions, Parts};
use crate::rng;

/// What is generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// How many users.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub users: u32,
    /// How many items.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub items: u32,
    /// Rows of the log wanted; a few less come when users have seen all that they like.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub interactions: u32,
    /// Rows of the part under uniform exposure, as a share of those of the log.
    #[schemars(range(min = 0, max = 100))]
    pub uniform: f64,
    /// Dimension of preferences and attributes.
    #[schemars(range(min = 1, max = 1_024))]
    pub factors: u32,
    /// Zipf exponent of attention by position.
    #[schemars(range(min = 0, max = 100))]
    pub popularity: f64,
    /// Share of impressions that the logging policy decides; 0 is uniform exposure.
    #[schemars(range(min = 0, max = 1))]
    pub exposure: f64,
    /// How far preferences and popularity turn over the log, in right angles.
    #[schemars(range(min = 0, max = 1))]
    pub drift: f64,
    /// Standard deviation of chance in a decision; that of preferences is 1.
    #[schemars(range(min = 0, max = 100))]
    pub noise: f64,
    /// Everything random follows from it.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            users: 1000,
            items: 1500,
            interactions: 50_000,
            uniform: 0.2,
            factors: 5,
            popularity: 1.0,
            exposure: 0.8,
            drift: 0.2,
            noise: 0.2,
            seed: 0,
        }
    }
}

/// Numbers in the vectors of all users and items: each side takes up to eight bytes for one.
const MOST_VALUES: u64 = 1 << 28;
const PERIODS: u32 = 10;
/// Seconds of a period: 30 days.
const SECONDS: i64 = 30 * 24 * 3600;
/// Start of the log: 2020-01-01, 00:00 UTC.
const START: i64 = 1_577_836_800;
const APPEAL: f32 = 0.3;
const SHARPNESS: f32 = 5.0;
const THRESHOLD: f32 = 1.0;
/// Impressions per wanted interaction before a user is given up.
const PATIENCE: usize = 400;
/// Users' activity is log-normal with this deviation.
const ACTIVITY: f64 = 0.7;

impl Synthetic {
    /// A mistake in the parameters that their types cannot express.
    pub fn mistake(&self) -> Option<String> {
        let shares = [("exposure", self.exposure), ("drift", self.drift)];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Some(format!("`{name}` lies between 0 and 1, not at {share}"));
        }
        let positive = [("uniform", self.uniform), ("popularity", self.popularity), ("noise", self.noise)];
        if let Some((name, value)) = positive.iter().find(|(_, value)| !(0.0..=100.0).contains(value)) {
            return Some(format!("`{name}` lies between 0 and 100, not at {value}"));
        }
        if self.users == 0 || self.items == 0 || self.factors == 0 {
            return Some("`users`, `items` and `factors` are at least 1".to_owned());
        }
        let values = (u64::from(self.users) + u64::from(self.items)).saturating_mul(self.factors.into());
        if values > MOST_VALUES {
            return Some(format!(
                "the vectors of users and items have {values} numbers; at most {MOST_VALUES} are made"
            ));
        }
        let pairs = u64::from(self.users) * u64::from(self.items);
        (u64::from(self.interactions) > pairs / 10).then(|| {
            format!("{} interactions are more than a tenth of the {pairs} pairs of users and items", self.interactions)
        })
    }
}

/// The truth behind the interactions.
pub struct World {
    params: Synthetic,
    /// `users x factors` at the beginning, and what they turn towards.
    preferences: [Vec<f32>; 2],
    /// `items x factors`.
    attributes: Vec<f32>,
    appeal: [Vec<f32>; 2],
}

/// What a user has taken so far.
#[derive(Default)]
struct UserRows {
    wanted: u32,
    /// Items in ascending order, to look them up.
    items: Vec<u32>,
    /// Time and item, in the order of taking.
    rows: Vec<(i64, u32)>,
}

impl World {
    pub fn new(params: &Synthetic) -> Self {
        let normal = |name: &str, n: u32, width: u32| -> Vec<f32> {
            let row = |index| {
                let mut rng = rng::stream(params.seed, name, u64::from(index));
                (0..width).map(move |_| rng.sample::<f32, _>(StandardNormal))
            };
            (0..n).flat_map(row).collect()
        };
        let Synthetic { users, items, factors, .. } = *params;
        Self {
            params: params.clone(),
            preferences: [normal("preferences", users, factors), normal("later preferences", users, factors)],
            attributes: normal("attributes", items, factors),
            appeal: [normal("appeal", items, 1), normal("later appeal", items, 1)],
        }
    }

    /// The preferences of a user at time `at`, from 0 (start of the log) to 1 (its end), divided by `sqrt(factors)`.
    fn preference(&self, user: u32, at: f64) -> Vec<f32> {
        let factors = self.params.factors as usize;
        let row = user as usize * factors..(user as usize + 1) * factors;
        let scale = 1.0 / (factors as f32).sqrt();
        let [now, later] = &self.preferences;
        let turned = turn(&now[row.clone()], &later[row], self.params.drift * at);
        turned.map(|value| value * scale).collect()
    }

    fn appeal(&self, at: f64) -> Vec<f32> {
        turn(&self.appeal[0], &self.appeal[1], self.params.drift * at).collect()
    }

    /// How much a user likes an item at time `at`, from 0 (start of the log) to 1 (its end).
    pub fn affinity(&self, user: u32, item: u32, at: f64) -> f32 {
        self.affinity_of(&self.preference(user, at), &self.appeal(at), item)
    }

    fn affinity_of(&self, preference: &[f32], appeal: &[f32], item: u32) -> f32 {
        let factors = self.params.factors as usize;
        let attributes = &self.attributes[item as usize * factors..(item as usize + 1) * factors];
        let product: f32 = preference.iter().zip(attributes).map(|(p, q)| p * q).sum();
        product + APPEAL * appeal[item as usize]
    }

    /// The interactions by part, user and time.
    pub fn generate(&self) -> Parts {
        let Synthetic { users, items, interactions, uniform, .. } = self.params;
        let mut log: Vec<UserRows> = self.shares(f64::from(interactions)).into_iter().map(UserRows::wanting).collect();
        let mut clicks = vec![0u32; items as usize];
        for index in 0..PERIODS {
            let appeal = self.appeal(progress(index));
            let period = Period { index, policy: Policy::new(&self.params, &appeal, &clicks), appeal };
            log.par_iter_mut().zip(0..users).for_each(|(taken, user)| {
                let until = u64::from(taken.wanted) * u64::from(index + 1) / u64::from(PERIODS);
                self.take(user, &period, until as usize, taken);
            });
            clicks.fill(0);
            for &(time, item) in log.iter().flat_map(|taken| &taken.rows) {
                clicks[item as usize] += u32::from(time >= period.start());
            }
        }

        let period = Period { index: PERIODS, policy: Policy::uniform(items), appeal: self.appeal(1.0) };
        let trial: Vec<UserRows> = self
            .shares(f64::from(interactions) * uniform)
            .into_par_iter()
            .zip(&log)
            .zip(0..users)
            .map(|((wanted, before), user)| {
                let mut taken = UserRows { items: before.items.clone(), ..UserRows::wanting(wanted) };
                self.take(user, &period, wanted as usize, &mut taken);
                taken
            })
            .collect();

        Parts::concat(vec![("log".to_owned(), rows(&log)), ("uniform".to_owned(), rows(&trial))])
    }

    /// How many of `total` rows each user wants: log-normal, cut from a running sum so that they add up.
    fn shares(&self, total: f64) -> Vec<u32> {
        let draw = |user| {
            let normal: f64 = rng::stream(self.params.seed, "activity", u64::from(user)).sample(StandardNormal);
            (ACTIVITY * normal).exp()
        };
        let activity: Vec<f64> = (0..self.params.users).map(draw).collect();
        let sum: f64 = activity.iter().sum();
        let mut running = 0.0;
        let cut = |share: f64| (total * share / sum).round();
        activity
            .into_iter()
            .map(|own| {
                let before = cut(running);
                running += own;
                (cut(running) - before) as u32
            })
            .collect()
    }

    /// Shows a user items until `until` rows are taken, at times within the period.
    fn take(&self, user: u32, period: &Period, until: usize, taken: &mut UserRows) {
        let index = u64::from(period.index) << 32 | u64::from(user);
        let mut rng = rng::stream(self.params.seed, "impressions", index);
        let preference = self.preference(user, period.at());
        let first = taken.rows.len();
        for _ in 0..PATIENCE * until.saturating_sub(first) {
            if taken.rows.len() == until {
                break;
            }
            let item = period.policy.draw(&mut rng);
            let Err(place) = taken.items.binary_search(&item) else { continue };
            let chance: f32 = rng.sample(StandardNormal);
            let affinity = self.affinity_of(&preference, &period.appeal, item) + self.params.noise as f32 * chance;
            let like = 1.0 / (1.0 + (-SHARPNESS * (affinity - THRESHOLD)).exp());
            if rng.random::<f32>() < like {
                taken.items.insert(place, item);
                taken.rows.push((period.start() + rng.random_range(0..SECONDS), item));
            }
        }
        taken.rows[first..].sort_unstable();
    }
}

impl UserRows {
    fn wanting(wanted: u32) -> Self {
        Self { wanted, ..Self::default() }
    }
}

/// The rows of all users, user by user.
fn rows(users: &[UserRows]) -> Interactions {
    let taken = || users.iter().zip(0u32..).flat_map(|(taken, user)| taken.rows.iter().map(move |row| (user, row)));
    Interactions {
        user: taken().map(|(user, _)| user).collect(),
        item: taken().map(|(_, &(_, item))| item).collect(),
        time: Some(taken().map(|(_, &(time, _))| time).collect()),
        weight: None,
    }
}

/// `cos(x) now + sin(x) later`, `x` in right angles.
fn turn(now: &[f32], later: &[f32], x: f64) -> impl Iterator<Item = f32> {
    let (sin, cos) = (FRAC_PI_2 * x).sin_cos();
    now.iter().zip(later).map(move |(now, later)| cos as f32 * now + sin as f32 * later)
}

/// The time of a period's start: 0 at the start of the log, 1 at its end.
fn progress(index: u32) -> f64 {
    f64::from(index) / f64::from(PERIODS)
}

/// What holds for all users during a period.
struct Period {
    index: u32,
    appeal: Vec<f32>,
    policy: Policy,
}

impl Period {
    fn at(&self) -> f64 {
        progress(self.index)
    }

    /// In seconds since 1970.
    fn start(&self) -> i64 {
        START + i64::from(self.index) * SECONDS
    }
}

/// Which item an impression shows.
struct Policy {
    /// Items by position, best first.
    order: Vec<u32>,
    /// Running sums of attention by position.
    attention: Vec<f64>,
    biased: f64,
}

impl Policy {
    fn new(params: &Synthetic, appeal: &[f32], clicks: &[u32]) -> Self {
        let score = |item: u32| appeal[item as usize] + (clicks[item as usize] as f32).ln_1p();
        let mut order: Vec<u32> = (0..params.items).collect();
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        let mut sum = 0.0;
        let attention = (1..=params.items).map(|position| {
            sum += f64::from(position).powf(-params.popularity);
            sum
        });
        Self { attention: attention.collect(), order, biased: params.exposure }
    }

    fn uniform(items: u32) -> Self {
        Self { order: (0..items).collect(), attention: Vec::new(), biased: 0.0 }
    }

    fn draw(&self, rng: &mut impl rand::Rng) -> u32 {
        if self.biased > 0.0 && rng.random::<f64>() < self.biased {
            let point = rng.random::<f64>() * self.attention.last().copied().unwrap_or_default();
            let position = self.attention.partition_point(|&sum| sum <= point);
            return self.order[position.min(self.order.len() - 1)];
        }
        self.order[rng.random_range(0..self.order.len())]
    }
}

#[cfg(test)]
mod tests;
