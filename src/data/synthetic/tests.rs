use std::collections::HashSet;

use super::*;

fn small() -> Synthetic {
    Synthetic { users: 600, items: 500, interactions: 24_000, ..Synthetic::default() }
}

/// Rows of one part as pairs.
fn pairs(parts: &Parts, index: u32) -> Vec<(u32, u32)> {
    let pairs = parts.rows.user.iter().copied().zip(parts.rows.item.iter().copied());
    pairs.zip(&parts.part).filter(|(_, part)| **part == index).map(|(pair, _)| pair).collect()
}

/// How often a held-out pair scores above an item that the user never took (area under the ROC curve).
fn auc(held_out: &[(u32, u32)], taken: &HashSet<(u32, u32)>, items: u32, score: impl Fn(u32, u32) -> f64) -> f64 {
    let mut rng = rng::stream(3, "test", 0);
    let mut wins = 0.0;
    for &(user, item) in held_out {
        let other = loop {
            let other = rng.random_range(0..items);
            if !taken.contains(&(user, other)) {
                break other;
            }
        };
        let (own, other) = (score(user, item), score(user, other));
        wins += if own > other {
            1.0
        } else if own == other {
            0.5
        } else {
            0.0
        };
    }
    wins / held_out.len() as f64
}

#[test]
fn any_number_of_threads_gives_the_same_rows() {
    let generate = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| World::new(&small()).generate())
    };
    assert_eq!(generate(1), generate(3));
    assert_ne!(generate(1), World::new(&Synthetic { seed: 1, ..small() }).generate());
}

#[test]
fn sizes_times_and_parts_are_as_asked() {
    let parts = World::new(&small()).generate();
    let (log, uniform) = (pairs(&parts, 0), pairs(&parts, 1));
    assert!((23_500..=24_000).contains(&log.len()), "{} rows in the log", log.len());
    assert!((4_700..=4_800).contains(&uniform.len()), "{} rows under uniform exposure", uniform.len());
    let distinct: HashSet<_> = log.iter().chain(&uniform).collect();
    assert_eq!(distinct.len(), parts.rows.len(), "no pair comes twice");
    let times = parts.rows.time.unwrap();
    let end = START + i64::from(PERIODS) * SECONDS;
    assert!(times.iter().zip(&parts.part).all(|(time, part)| (*time >= end) == (*part == 1)));
}

#[test]
fn exposure_bias_skews_the_log_and_not_the_trial() {
    let top_share = |pairs: &[(u32, u32)]| {
        let mut counts = vec![0usize; 500];
        pairs.iter().for_each(|pair| counts[pair.1 as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts[..50].iter().sum::<usize>() as f64 / pairs.len() as f64
    };
    let parts = World::new(&small()).generate();
    let (log, uniform) = (top_share(&pairs(&parts, 0)), top_share(&pairs(&parts, 1)));
    assert!(log > 0.4 && uniform < 0.3, "the top tenth of the items has {log} of the log, {uniform} of the trial");
    let parts = World::new(&Synthetic { exposure: 0.0, ..small() }).generate();
    assert!(top_share(&pairs(&parts, 0)) < 0.3);
}

#[test]
fn the_truth_and_a_model_of_co_occurrence_beat_popularity_where_exposure_is_uniform() {
    let world = World::new(&small());
    let parts = world.generate();
    let (log, uniform) = (pairs(&parts, 0), pairs(&parts, 1));
    let taken: HashSet<(u32, u32)> = log.iter().chain(&uniform).copied().collect();
    let n_items = small().items;

    let mut users_of = vec![HashSet::new(); n_items as usize];
    let mut items_of = vec![Vec::new(); small().users as usize];
    for &(user, item) in &log {
        users_of[item as usize].insert(user);
        items_of[user as usize].push(item);
    }
    let popularity = |_, item: u32| users_of[item as usize].len() as f64;
    let cosine = |a: &HashSet<u32>, b: &HashSet<u32>| {
        a.intersection(b).count() as f64 / ((a.len() * b.len()) as f64).sqrt().max(1.0)
    };
    let neighbours = |user: u32, item: u32| {
        items_of[user as usize].iter().map(|&own| cosine(&users_of[own as usize], &users_of[item as usize])).sum()
    };
    let truth = |user, item| f64::from(world.affinity(user, item, 1.0));

    let sample: Vec<(u32, u32)> = uniform.iter().copied().step_by(4).collect();
    let popularity = auc(&sample, &taken, n_items, popularity);
    let neighbours = auc(&sample, &taken, n_items, neighbours);
    let truth = auc(&sample, &taken, n_items, truth);
    assert!(popularity < 0.65, "popularity {popularity}");
    assert!(neighbours > popularity + 0.05, "neighbours {neighbours}, popularity {popularity}");
    assert!(truth > neighbours + 0.1, "truth {truth}, neighbours {neighbours}");
}

#[test]
fn preferences_drift_as_far_as_asked() {
    let correlation = |drift| {
        let world = World::new(&Synthetic { drift, ..small() });
        let pairs: Vec<(f64, f64)> = (0..600)
            .map(|user| {
                (f64::from(world.affinity(user, user % 500, 0.0)), f64::from(world.affinity(user, user % 500, 1.0)))
            })
            .collect();
        let product: f64 = pairs.iter().map(|(a, b)| a * b).sum();
        let square = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(|pair| of(pair).powi(2)).sum::<f64>();
        product / (square(|pair| pair.0) * square(|pair| pair.1)).sqrt()
    };
    assert!((correlation(0.0) - 1.0).abs() < 1e-6);
    assert!((correlation(0.5) - (std::f64::consts::FRAC_PI_4).cos()).abs() < 0.1);
    assert!(correlation(1.0).abs() < 0.15);
}

#[test]
fn impossible_parameters_are_refused() {
    let mistake = |params: Synthetic| params.mistake().unwrap_or_default();
    assert_eq!(Synthetic::default().mistake(), None);
    assert!(mistake(Synthetic { exposure: 1.5, ..small() }).contains("`exposure`"));
    assert!(mistake(Synthetic { popularity: f64::NAN, ..small() }).contains("`popularity`"));
    assert!(mistake(Synthetic { users: 0, ..small() }).contains("at least 1"));
    assert!(mistake(Synthetic { interactions: 100_000, ..small() }).contains("more than a tenth"));
}
