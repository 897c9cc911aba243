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
    let split = scenario.split(&Log::new(rows, part, names)?, HeldOut::default(), 7)?;
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
        json!({ "random": { "by": "global" } }),
        json!({ "k_fold": { "fold": 2 } }),
        json!({ "k_fold": { "k": 3, "fold": 3, "by": "global" } }),
        json!({ "popularity": {} }),
        json!({ "tail": {} }),
        json!({ "temporal": {} }),
        json!({ "temporal_per_user": {} }),
        json!({ "leave_one_out": {} }),
        json!({ "exposure": { "log": ["a"], "exposed": ["b"] } }),
        json!({ "mixed": {} }),
    ] {
        let on_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| split(&rows, &part, &names, value.clone()).unwrap())
        };
        let split = on_threads(1);
        assert_eq!(split, on_threads(3), "{value}");

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
        let Assigned { roles, by_user, .. } = per_user::hold_out(&log, log.distinct(), By::User, 0.1, 0.1, 1);
        assert_eq!(by_user, Some(log.roles_by_user(&roles)));
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
fn the_test_of_each_user_is_last_in_time() {
    let (rows, part, names) = log_of(200, 300, 6000);
    let split = split(&rows, &part, &names, json!({ "temporal_per_user": {} })).unwrap();
    let last = |part: &Interactions| -> std::collections::HashMap<u32, i64> {
        let mut last = std::collections::HashMap::new();
        for (&user, &time) in part.user.iter().zip(part.time.as_deref().unwrap()) {
            let own = last.entry(user).or_insert(time);
            *own = time.max(*own);
        }
        last
    };
    let before = [&split.train, &split.valid, &split.iid].map(last);
    for (user, &time) in split.ood.user.iter().zip(split.ood.time.as_deref().unwrap()) {
        assert!(before.iter().all(|last| last.get(user).is_none_or(|&last| last <= time)));
    }
    let audit = super::Audit::new(&Log::new(&rows, &part, &names).unwrap(), &split);
    assert_eq!(audit.value(Role::Ood, "time_travel"), Some(0.0));
    assert!(audit.value(Role::Iid, "time_travel").unwrap() > 0.5, "shuffled with train");
    assert!(audit.value(Role::Ood, "time_travel_global").unwrap() > 0.5, "other users go on");
    assert_eq!(audit.breaches(&[Check::TimeTravel]).count(), 0);
    assert_eq!(audit.breaches(&[Check::TimeTravelGlobal]).next().unwrap().rows.len(), 3);
}

#[test]
fn the_last_interaction_is_left_out_and_short_histories_are_kept() {
    let rows = Interactions {
        time: Some(vec![9, 5, 7, 1, 2, 3, 4, 4]),
        ..by_pairs(&[0, 0, 0, 1, 1, 2, 2, 2], &[0, 1, 2, 1, 2, 0, 1, 2])
    };
    let (part, names) = (vec![0; 8], ["log".to_owned()]);
    let log = Log::new(&rows, &part, &names).unwrap();
    let roles = |order| LeaveOneOut { order }.assign(&log, 0).unwrap().roles;
    use Role::{Iid, Train, Valid};
    // Of equal times, the later row is the last.
    assert_eq!(roles(Order::Time), [Iid, Train, Valid, Train, Train, Train, Valid, Iid]);
    assert_eq!(roles(Order::Rows), [Train, Valid, Iid, Train, Train, Train, Valid, Iid]);
}

#[test]
fn folds_test_each_interaction_once() {
    let (rows, part, names) = log_of(100, 200, 3000);
    let log = Log::new(&rows, &part, &names).unwrap();
    for by in ["user", "global"] {
        let mut tested = vec![0; rows.len()];
        for fold in 1..=4 {
            let rule: KFold = serde_json::from_value(json!({ "k": 4, "fold": fold, "by": by })).unwrap();
            let roles = rule.assign(&log, 3).unwrap().roles;
            let own: Vec<usize> = (0..rows.len()).filter(|&row| roles[row] == Role::Iid).collect();
            let share = own.len() as f64 / log.distinct().iter().filter(|&&role| role == Role::Train).count() as f64;
            assert!((share - 0.25).abs() < 0.02, "fold {fold} has {share}");
            own.into_iter().for_each(|row| tested[row] += 1);
        }
        let distinct = log.distinct();
        assert!(tested.iter().zip(&distinct).all(|(&tested, &role)| tested == usize::from(role == Role::Train)));
    }
}

#[test]
fn the_tail_is_tested_and_the_rest_divided_over_all() {
    let (rows, part, names) = log_of(500, 300, 20_000);
    let log = Log::new(&rows, &part, &names).unwrap();
    let rule: Tail = serde_json::from_value(json!({ "max_count": 50 })).unwrap();
    let roles = rule.assign(&log, 3).unwrap().roles;
    let mut counts = [0; 300];
    let first = log.distinct();
    let distinct: Vec<usize> = (0..rows.len()).filter(|&row| first[row] == Role::Train).collect();
    distinct.iter().for_each(|&row| counts[rows.item[row] as usize] += 1);
    let tail = distinct.iter().filter(|&&row| counts[rows.item[row] as usize] <= 50).count();
    let n = |role| roles.iter().filter(|&&own| own == role).count();
    assert!((0..rows.len()).all(|row| roles[row] != Role::Ood || counts[rows.item[row] as usize] <= 50));
    let rest = distinct.len() - tail / 5;
    assert_eq!((n(Role::Ood), n(Role::Train)), (tail / 5, rest * 5 / 8));
    assert_eq!(n(Role::Valid), rest * 3 / 4 - rest * 5 / 8);
}

#[test]
fn the_mixed_test_is_late_and_less_skewed() {
    let (rows, part, names) = log_of(500, 300, 20_000);
    let of = |value| split(&rows, &part, &names, value).unwrap();
    let (mixed, temporal) = (of(json!({ "mixed": {} })), of(json!({ "temporal": {} })));
    assert_eq!(mixed.train, temporal.train);
    assert_eq!(mixed.count("ood.rows_before").unwrap(), temporal.count("ood.rows_before").unwrap() / 2);
    assert!(gini(&mixed.ood.item) < 0.8 * gini(&temporal.ood.item));
    let earliest = |part: &Interactions| part.time.as_ref().unwrap().iter().min().copied();
    assert!(earliest(&mixed.ood) >= earliest(&temporal.ood));
}

/// Toys are items 0 to 3, games 4 to 7; the common order stands in the part `both`.
fn two_domains(user: &[u32], item: &[u32]) -> (Interactions, Vec<u32>, Vec<String>) {
    let mut rows = by_pairs(&[9; 8], &[0, 1, 2, 3, 4, 5, 6, 7]);
    rows.user.extend(user);
    rows.item.extend(item);
    let part = [vec![0; 4], vec![1; 4], vec![2; user.len()]].concat();
    (rows, part, ["toy", "game", "both"].map(str::to_owned).to_vec())
}

#[test]
fn across_domains_the_target_is_left_out_and_the_source_ends_with_the_test() {
    // User 0: target 0 1 0 2 3, source in between and after; user 1 has too short a target history; user 2 no source.
    let user = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
    let item = [4, 0, 1, 5, 0, 2, 6, 3, 7, 0, 4, 1, 2, 0, 1, 2, 3];
    let (rows, part, names) = two_domains(&user, &item);
    let cross = json!({ "target": "toy", "source": "game", "mixed": "both", "order": "rows" });
    let split = split(&rows, &part, &names, json!({ "cross_domain": cross })).unwrap();
    let old = |part: &Interactions| part.item.iter().map(|&item| split.items.old_id[item as usize]).collect::<Vec<_>>();
    // A sequence keeps what occurs again.
    assert_eq!((old(&split.train), split.users.old_id.clone()), (vec![4, 0, 1, 5, 0, 6], vec![0]));
    use Domain::{Source, Target};
    assert_eq!(split.domains, Some([Source, Target, Target, Source, Source].map(Some).to_vec()));
    // What is in one domain's part tells of the other's, too.
    for one in [json!({ "target": "toy" }), json!({ "source": "game" })] {
        let mut cross = one;
        cross["mixed"] = json!("both");
        cross["order"] = json!("rows");
        assert_eq!(super::tests::split(&rows, &part, &names, json!({ "cross_domain": cross })).unwrap(), split);
    }
    assert_eq!((split.count("valid.rows_before"), split.count("iid.rows_before")), (Some(1), Some(1)));
}

#[test]
fn domains_that_share_items_are_refused() {
    let (mut rows, part, names) = two_domains(&[0, 0], &[0, 4]);
    let cross = json!({ "cross_domain": { "target": "toy", "source": "game", "mixed": "both", "order": "rows" } });
    rows.item[4] = 0;
    let error = split(&rows, &part, &names, cross.clone()).unwrap_err().to_string();
    assert!(error.starts_with("the parts of the two domains share items"), "{error}");
    let (mut rows, part, names) = two_domains(&[0, 0], &[0, 8]);
    rows.item[4] = 4;
    let error = split(&rows, &part, &names, cross).unwrap_err().to_string();
    assert!(error.contains("some items of the part `mixed`"), "{error}");
}

#[test]
fn what_the_data_lack_is_said() {
    let rows = by_pairs(&[0], &[0]);
    let (part, names) = (vec![0], vec!["log".to_owned(), "other".to_owned()]);
    let error = |value| split(&rows, &part, &names, value).unwrap_err().to_string();
    assert_eq!(error(json!({ "given": { "train": "x" } })), "there is no part `x` in the data; there are: log, other");
    assert!(error(json!({ "temporal": {} })).contains("needs the times"));
    assert!(error(json!({ "mixed": {} })).contains("name the column of times"));
    assert!(error(json!({ "leave_one_out": {} })).contains("say `order: rows`"));
    assert!(error(json!({ "exposure": { "log": ["log"], "exposed": ["x"] } })).contains("no part `x`"));
    assert_eq!(error(json!({ "given": { "train": "other" } })), "nothing is left to train on");
}

#[test]
fn mistakes_in_parameters_are_found() {
    let mistake = |value| scenario(value).mistake().unwrap_or_default();
    assert!(mistake(json!({ "random": { "valid": 1.0 } })).contains("`valid` is a share"));
    assert!(mistake(json!({ "random": { "valid": 0.5, "iid": 0.5 } })).contains("leave none to train on"));
    assert!(mistake(json!({ "popularity": { "ood": -0.1 } })).contains("`ood` is a share"));
    assert!(mistake(json!({ "temporal": { "early": 0.9, "ood": 0.2 } })).contains("`early` and `ood`"));
    assert!(mistake(json!({ "mixed": { "late": 0.9 } })).contains("`early` and `late`"));
    assert!(mistake(json!({ "k_fold": { "fold": 6 } })).contains("`fold` is one of 1 to 5, not 6"));
    assert!(mistake(json!({ "exposure": { "log": ["a"], "exposed": ["a"] } })).contains("both `log` and `exposed`"));
    let rows = json!({ "target": "a", "source": "b", "order": "rows" });
    assert!(mistake(json!({ "cross_domain": rows })).contains("needs `mixed`"));
    let twice = json!({ "given": { "train": "a", "ood": "a" } });
    assert!(mistake(twice).contains("cannot be both `train` and `ood`"));
    let carved = json!({ "given": { "train": "a", "valid": "b", "carve": { "valid": 0.1 } } });
    assert!(mistake(carved).contains("cannot be carved"));
}

/// The share of tied users and rows of a part, as the audit has them.
fn ties(rows: &Interactions, scenario: serde_json::Value, role: Role) -> (Option<f64>, Option<f64>, usize) {
    let (part, names) = (vec![0; rows.len()], ["log".to_owned()]);
    let split = split(rows, &part, &names, scenario).unwrap();
    let audit = super::Audit::new(&Log::new(rows, &part, &names).unwrap(), &split);
    let breaches = audit.breaches(&[Check::TimeTies]).filter(|breach| breach.part == role).map(|breach| breach.count);
    (audit.value(role, "time_ties"), audit.value(role, "time_ties_rows"), breaches.sum())
}

#[test]
fn cuts_between_equal_times_are_measured() {
    // The last two rows of user 0 have one time, the first two of user 1; user 2 is too short to be tested.
    let rows = Interactions {
        time: Some(vec![1, 2, 2, 1, 1, 2, 5, 5]),
        ..by_pairs(&[0, 0, 0, 1, 1, 1, 2, 2], &[0, 1, 2, 0, 1, 2, 0, 1])
    };
    assert_eq!(ties(&rows, json!({ "leave_one_out": {} }), Role::Iid), (Some(0.5), Some(0.5), 1));
    assert_eq!(ties(&rows, json!({ "leave_one_out": {} }), Role::Valid), (Some(0.5), Some(0.5), 1));
    assert_eq!(ties(&rows, json!({ "leave_one_out": { "order": "rows" } }), Role::Iid), (None, None, 0));
    assert_eq!(ties(&rows, json!({ "random": {} }), Role::Iid), (None, None, 0));
    // Of ten rows the last two are the test; the row before them has the time of the first.
    let of = |times: Vec<i64>| Interactions {
        time: Some(times),
        ..by_pairs(&[0, 0, 0, 0, 0, 1, 1, 1, 1, 1], &[0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    };
    let tied = of(vec![0, 1, 2, 3, 4, 5, 6, 7, 7, 9]);
    let apart = of((0..10).collect());
    assert_eq!(ties(&tied, json!({ "temporal": {} }), Role::Ood), (Some(1.0), Some(0.5), 1));
    assert_eq!(ties(&apart, json!({ "temporal": {} }), Role::Ood), (Some(0.0), Some(0.0), 0));
    assert_eq!(ties(&apart, json!({ "temporal_per_user": {} }), Role::Ood), (Some(0.0), Some(0.0), 0));
    let all = of(vec![3; 10]);
    assert_eq!(ties(&all, json!({ "temporal_per_user": {} }), Role::Ood), (Some(1.0), Some(1.0), 2));
    assert_eq!(ties(&all, json!({ "mixed": {} }), Role::Ood), (Some(1.0), Some(1.0), 1));
}

#[test]
fn unseen_items_and_pairs_of_train_stay_where_that_is_asked_for() {
    // Of user 0, item 2 is unseen, item 0 in train; user 1 is unseen.
    let rows = by_pairs(&[0, 0, 0, 0, 1, 0], &[0, 1, 2, 0, 0, 2]);
    let part = [0, 0, 1, 1, 1, 2];
    let names = ["train".to_owned(), "iid".to_owned(), "ood".to_owned()];
    let log = Log::new(&rows, &part, &names).unwrap();
    let given = scenario(json!({ "given": { "train": "train", "iid": "iid", "ood": "ood" } }));
    use Fate::{Drop, Keep};
    for (unseen, in_train, iid, ood, items) in [
        (Drop, Drop, vec![], vec![], vec![0, 1]),
        (Keep, Drop, vec![2], vec![2], vec![0, 1, 2]),
        (Drop, Keep, vec![0], vec![], vec![0, 1]),
        (Keep, Keep, vec![2, 0], vec![2], vec![0, 1, 2]),
    ] {
        let split = given.split(&log, HeldOut { unseen, in_train }, 0).unwrap();
        let kept = |role| split.part(&rows, role, 0..rows.len()).item;
        assert_eq!((kept(Role::Iid), kept(Role::Ood), &split.items.old_id), (iid.clone(), ood.clone(), &items));
        assert_eq!(
            (split.count("iid.rows"), split.count("ood.rows")),
            (Some(iid.len() as i64), Some(ood.len() as i64))
        );
        let counted = ["iid.unseen_in_train", "iid.also_in_train", "items_not_in_train"].map(|name| split.count(name));
        assert_eq!((counted, split.seen_items, &*split.users.old_id), ([Some(2), Some(1), Some(1)], 2, &[0][..]));
        let audit = super::Audit::new(&log, &split);
        assert_eq!(audit.value(Role::Iid, "rows"), Some(iid.len() as f64));
        assert_eq!(audit.counts[Role::Iid.index()].len(), items.len());
    }
}
