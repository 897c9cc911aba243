//! Metrics of all users of a test part, and their means.

use rayon::prelude::*;

use super::{List, Metric, Relevance, hits};

/// Values of several metrics for every user who has something relevant.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Ascending user ids.
    pub users: Vec<u32>,
    /// `values[m][n]`: metric `m` of the user `users[n]`.
    pub values: Vec<Vec<f64>>,
    /// `weights[m][n]`: that user's weight in the mean of metric `m`.
    weights: Vec<Vec<f64>>,
}

/// Values `metrics` for all users of `relevance`. `list(user)` is what the user was shown, best first, without the
/// items of the training set. `popularity` tells for each item how many training users it has, none for those beyond its
/// end; only measures that say so look at it ([`super::Measure::needs_popularity`]), and for others it may be empty. Users
/// in parallel, sums in order: the same bits for any number of threads.
pub fn evaluate<'a>(
    metrics: &[Metric],
    relevance: &Relevance,
    popularity: &[u32],
    list: impl Fn(u32) -> &'a [u32] + Sync,
) -> Evaluation {
    let users: Vec<u32> = relevance.users().collect();
    let longest = metrics.iter().map(Metric::k).max().unwrap_or(0);
    let rows: Vec<Vec<(f64, f64)>> = users
        .par_iter()
        .map(|&user| {
            let (items, relevant) = (list(user), relevance.of(user));
            let items = &items[..items.len().min(longest)];
            let hits = hits(items, relevant);
            let popularity: Vec<u32> =
                items.iter().map(|&item| popularity.get(item as usize).copied().unwrap_or(0)).collect();
            let list = List { hits: &hits, popularity: &popularity, relevant: relevant.len() };
            metrics.iter().map(|metric| metric.value_and_weight(&list)).collect()
        })
        .collect();
    let column = |of: fn(&(f64, f64)) -> f64| -> Vec<Vec<f64>> {
        (0..metrics.len()).map(|m| rows.iter().map(|row| of(&row[m])).collect()).collect()
    };
    Evaluation { values: column(|pair| pair.0), weights: column(|pair| pair.1), users }
}

impl Evaluation {
    /// The mean of metric `m` over all users; NaN when there are none that count.
    pub fn mean(&self, m: usize) -> f64 {
        self.mean_where(m, |_| true)
    }

    /// The mean of metric `m` over the users at the positions that `member` accepts; NaN when there are none that
    /// count.
    pub fn mean_where(&self, m: usize, member: impl Fn(usize) -> bool) -> f64 {
        let (mut sum, mut weight) = (0.0, 0.0);
        for n in (0..self.users.len()).filter(|&n| member(n)) {
            sum += self.weights[m][n] * self.values[m][n];
            weight += self.weights[m][n];
        }
        sum / weight
    }

    /// What each user adds to metric `m`, scaled so that the plain mean is the metric: the value itself where users
    /// weigh the same. These are the observations that tests over users compare.
    pub fn contributions(&self, m: usize) -> Vec<f64> {
        let weights = &self.weights[m];
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        self.values[m].iter().zip(weights).map(|(value, weight)| value * (weight / mean)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn metrics(texts: &[&str]) -> Vec<Metric> {
        texts.iter().map(|text| Metric::parse(text).unwrap()).collect()
    }

    #[test]
    fn macro_and_micro_recall() {
        let relevance = Relevance::new(3, [(0, 1), (2, 1), (2, 2), (2, 3)]);
        let lists: [&[u32]; 3] = [&[1], &[1], &[7, 8]];
        let evaluation =
            evaluate(&metrics(&["recall@5", "micro_recall@5"]), &relevance, &[], |user| lists[user as usize]);
        assert_eq!(evaluation.users, [0, 2]);
        assert_eq!(evaluation.mean(0), 0.5);
        assert_eq!(evaluation.mean(1), 0.25);
        assert_eq!(evaluation.contributions(0), [1.0, 0.0]);
        assert_eq!(evaluation.contributions(1), [0.5, 0.0]);
        assert_eq!(evaluation.mean_where(1, |n| n == 1), 0.0);
        assert!(evaluation.mean_where(0, |_| false).is_nan());
    }

    /// Items 0, 1, 2 have 8, 2 and 1 training users, item 7 none; user 1 is shown nothing, user 3 is not asked about.
    #[test]
    fn popularity_of_what_users_are_shown() {
        let relevance = Relevance::new(4, [(0, 1), (1, 1), (2, 0)]);
        let lists: [&[u32]; 4] = [&[0, 1, 2], &[], &[7, 1], &[0]];
        let evaluation = evaluate(&metrics(&["arp@2", "arp@3"]), &relevance, &[8, 2, 1], |user| lists[user as usize]);
        assert_eq!(evaluation.users, [0, 1, 2]);
        assert_eq!(evaluation.values, [[5.0, 0.0, 1.0], [11.0 / 3.0, 0.0, 1.0]]);
        assert_eq!(evaluation.mean(0), 3.0);
        assert_eq!(evaluation.contributions(0), [7.5, 0.0, 1.5]);
        assert_eq!(evaluation.mean_where(0, |n| n > 0), 1.0);
        assert!(evaluation.mean_where(0, |n| n == 1).is_nan());
    }

    /// Against the public evaluator of user683/CNSDiff (commit aca2aa1), whose lines are rounded to 5 decimals and
    /// whose "Hit Ratio" is the micro recall. tests/golden/metrics.json is the part `metrics` of what
    /// `util/evaluation.py:ranking_evaluation` was given and printed.
    #[test]
    fn agrees_with_the_reference_evaluator() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap();
        let scores: Vec<Vec<f64>> = serde_json::from_value(golden["scores"].clone()).unwrap();
        let lists: Vec<Vec<u32>> = scores
            .iter()
            .map(|row| {
                let mut ids: Vec<u32> = (0..row.len() as u32).collect();
                ids.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
                ids
            })
            .collect();
        let test = golden["test"].as_object().unwrap();
        let pairs = test.iter().flat_map(|(user, items)| {
            let items: Vec<u32> = serde_json::from_value(items.clone()).unwrap();
            let user: u32 = user.parse().unwrap();
            items.into_iter().map(move |item| (user, item))
        });
        let relevance = Relevance::new(scores.len(), pairs);
        let mut k = 0;
        for line in golden["result"].as_array().unwrap() {
            let line = line.as_str().unwrap();
            if let Some(top) = line.strip_prefix("Top ") {
                k = top.parse().unwrap();
                continue;
            }
            let (name, value) = line.split_once(':').unwrap();
            let name = match name {
                "Hit Ratio" => "micro_recall",
                "Precision" => "precision",
                "Recall" => "recall",
                "NDCG" => "ndcg",
                other => panic!("{other}"),
            };
            let metric = Metric::new(name, k).unwrap();
            let ours = evaluate(&[metric], &relevance, &[], |user| &lists[user as usize]).mean(0);
            let theirs: f64 = value.parse().unwrap();
            assert!((ours - theirs).abs() <= 5.000_001e-6, "{metric}: {ours} against {theirs}");
        }
        assert_eq!(k, 20);
    }
}
