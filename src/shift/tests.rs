use std::collections::HashSet;

use rand::RngExt;
use serde_json::json;

use super::*;

/// Items with a skewed popularity, times in random order, two parts.
fn log_of(users: u32, items: u32, rows: usize) -> (Interactions, Vec<u32>, Vec<String>) {
    let mut rng = crate::rng::stream(5, "test", 0);
    let mut log = Interactions { time: Some(Vec::new()), ..Interactions::default() };
    let mut part = Vec::new();
    for _ in 0..rows {
        log.user.push(rng.random_range(0..users));
        log.item.push((f64::from(items) * rng.random::<f64>().powi(3)) as u32);
        log.time.get_or_insert_default().push(rng.random_range(0..1_000_000));
        part.push(rng.random_range(0..2));
    }
    (log, part, vec!["a".to_owned(), "b".to_owned()])
}

fn scenario(value: serde_json::Value) -> Scenario {
    serde_json::from_value(value).unwrap()
}

/// A split with its rows.
#[derive(Debug, PartialEq)]
struct Parts {
    split: Split,
    train: Interactions,
    valid: Interactions,
    iid: Interactions,
    ood: Interactions,
}

impl std::ops::Deref for Parts {
    type Target = Split;

    fn deref(&self) -> &Split {
        &self.split
    }
}

fn split(rows: &Interactions, part: &[u32], names: &[String], value: serde_json::Value) -> Result<Parts, ShiftError> {
    let scenario = scenario(value);
    assert_eq!(scenario.mistake(), None);
    let split = scenario.split(&Log::new(rows, part, names)?, 7)?;
    let [train, valid, iid, ood] = Role::USED.map(|role| split.part(rows, role, 0..rows.len()));
    Ok(Parts { split, train, valid, iid, ood })
}

fn by_pairs(users: &[u32], items: &[u32]) -> Interactions {
    Interactions { user: users.to_vec(), item: items.to_vec(), ..Interactions::default() }
}

fn gini(ids: &[u32]) -> f64 {
    let mut counts = vec![0u32; ids.iter().max().map_or(0, |&max| max as usize + 1)];
    ids.iter().for_each(|&id| counts[id as usize] += 1);
    counts.retain(|&count| count > 0);
    counts.sort_unstable();
    let weighted: f64 = counts.iter().zip(1..).map(|(&count, k)| f64::from(count) * f64::from(k)).sum();
    let (n, sum) = (counts.len() as f64, ids.len() as f64);
    2.0 * weighted / (n * sum) - (n + 1.0) / n
}

#[test]
fn every_scenario_gives_disjoint_parts_with_train_ids_and_repeats_exactly() {
    let (rows, part, names) = log_of(200, 300, 6000);
    for value in [
        json!({ "given": { "train": "a", "ood": "b", "carve": { "valid": 0.1, "iid": 0.2 } } }),
        json!({ "random": {} }),
        json!({ "popularity": {} }),
        json!({ "temporal": {} }),
    ] {
        let split = split(&rows, &part, &names, value.clone()).unwrap();
        assert_eq!(split, super::tests::split(&rows, &part, &names, value.clone()).unwrap());

        let mut seen = HashSet::new();
        for part in [&split.train, &split.valid, &split.iid] {
            let own = part.user.iter().zip(&part.item);
            assert!(own.clone().count() > 0, "{value}");
            own.for_each(|pair| assert!(seen.insert((*pair.0, *pair.1)), "{value}: {pair:?} twice"));
        }
        assert!(
            split
                .ood
                .user
                .iter()
                .zip(&split.ood.item)
                .all(|pair| { !split.train.user.iter().zip(&split.train.item).any(|other| other == pair) })
        );
        for (ids, old) in [(&split.train.user, &split.users.old_id), (&split.train.item, &split.items.old_id)] {
            let mut next = 0;
            for &id in ids {
                assert!(id <= next, "{value}: ids do not follow first appearance");
                next = next.max(id + 1);
            }
            assert_eq!(next as usize, old.len());
        }
        let held_out = [&split.valid, &split.iid, &split.ood];
        assert!(held_out.iter().all(|part| part.user.iter().all(|&user| (user as usize) < split.users.old_id.len())));
        assert!(held_out.iter().all(|part| part.item.iter().all(|&item| (item as usize) < split.items.old_id.len())));
    }
}

#[test]
fn former_ids_lead_back_to_the_rows() {
    let rows = by_pairs(&[5, 5, 9, 9, 7], &[3, 1, 3, 8, 8]);
    let part = [1, 1, 1, 0, 0];
    let names = ["held".to_owned(), "train".to_owned()];
    let split = split(&rows, &part, &names, json!({ "given": { "train": "train", "ood": "held" } })).unwrap();
    assert_eq!((&*split.users.old_id, &*split.items.old_id), (&[5, 9][..], &[3, 1][..]));
    assert_eq!((&*split.train.user, &*split.train.item), (&[0, 0, 1][..], &[0, 1, 0][..]));
    assert!(split.ood.is_empty());
}

#[test]
fn what_a_model_cannot_be_asked_for_is_dropped_and_counted() {
    let rows = by_pairs(&[0, 0, 0, 0, 0, 1, 0, 0], &[0, 0, 1, 0, 1, 0, 2, 1]);
    let part = [0, 0, 0, 1, 2, 1, 1, 2];
    let names = ["train".to_owned(), "iid".to_owned(), "ood".to_owned()];
    let given = json!({ "given": { "train": "train", "iid": "iid", "ood": "ood" } });
    let split = split(&rows, &part, &names, given).unwrap();
    let expected = [
        ("train.rows_before", 3),
        ("train.repeated", 1),
        ("train.rows", 2),
        ("iid.rows_before", 3),
        ("iid.unseen_in_train", 2),
        ("iid.also_in_train", 1),
        ("iid.rows", 0),
        ("ood.repeated", 1),
        ("ood.also_in_train", 1),
        ("users", 1),
        ("users_not_in_train", 1),
        ("items_not_in_train", 1),
    ];
    for (name, value) in expected {
        assert_eq!(split.count(name), Some(value), "{name}");
    }
}

#[test]
fn random_shares_are_cut_per_user_and_everyone_stays_in_train() {
    for (n, expected) in [(1, (1, 0, 0)), (2, (1, 0, 1)), (5, (4, 0, 1)), (10, (8, 1, 1)), (25, (20, 2, 3))] {
        let rows = by_pairs(&vec![0; n], &(0..n as u32).collect::<Vec<_>>());
        let (part, names) = (vec![0; n], ["log".to_owned()]);
        let log = Log::new(&rows, &part, &names).unwrap();
        let mut roles = log.distinct();
        per_user::hold_out(&log, &mut roles, By::User, 0.1, 0.1, 1);
        let count = |role| roles.iter().filter(|&&own| own == role).count();
        assert_eq!((count(Role::Train), count(Role::Valid), count(Role::Iid)), expected, "{n} interactions");
    }
    assert_eq!(floor_share(10, 0.7 + 0.1), 8);
}

#[test]
fn the_item_uniform_test_is_less_skewed_than_train() {
    let (rows, part, names) = log_of(500, 300, 20_000);
    let split = split(&rows, &part, &names, json!({ "popularity": {} })).unwrap();
    let (train, ood) = (gini(&split.train.item), gini(&split.ood.item));
    assert!(ood < 0.6 * train, "Gini of ood {ood}, of train {train}");
    let distinct = split.count("train.rows").unwrap() + split.count("valid.rows_before").unwrap();
    let all = distinct + split.count("iid.rows_before").unwrap() + split.count("ood.rows_before").unwrap();
    assert_eq!(split.count("ood.rows_before"), Some(all / 5));
}

#[test]
fn the_temporal_test_is_later_than_everything_else() {
    let (rows, part, names) = log_of(200, 300, 6000);
    let split = split(&rows, &part, &names, json!({ "temporal": {} })).unwrap();
    let times = |part: &Interactions| part.time.clone().unwrap();
    let latest = [&split.train, &split.valid, &split.iid].map(|part| times(part).into_iter().max().unwrap());
    let first = times(&split.ood).into_iter().min().unwrap();
    assert!(latest.into_iter().all(|time| time + 100_000 < first), "{latest:?} is not well before {first}");
}

#[test]
fn what_the_data_lack_is_said() {
    let rows = by_pairs(&[0], &[0]);
    let (part, names) = (vec![0], vec!["log".to_owned(), "other".to_owned()]);
    let error = |value| split(&rows, &part, &names, value).unwrap_err().to_string();
    assert_eq!(error(json!({ "given": { "train": "x" } })), "there is no part `x` in the data; there are: log, other");
    assert!(error(json!({ "temporal": {} })).contains("needs the times"));
    assert_eq!(error(json!({ "given": { "train": "other" } })), "nothing is left to train on");
}

#[test]
fn mistakes_in_parameters_are_found() {
    let mistake = |value| scenario(value).mistake().unwrap_or_default();
    assert!(mistake(json!({ "random": { "valid": 1.0 } })).contains("`valid` is a share"));
    assert!(mistake(json!({ "random": { "valid": 0.5, "iid": 0.5 } })).contains("leave none to train on"));
    assert!(mistake(json!({ "popularity": { "ood": -0.1 } })).contains("`ood` is a share"));
    assert!(mistake(json!({ "temporal": { "early": 0.9, "ood": 0.2 } })).contains("`early` and `ood`"));
    let twice = json!({ "given": { "train": "a", "ood": "a" } });
    assert!(mistake(twice).contains("cannot be both `train` and `ood`"));
    let carved = json!({ "given": { "train": "a", "valid": "b", "carve": { "valid": 0.1 } } });
    assert!(mistake(carved).contains("cannot be carved"));
}
