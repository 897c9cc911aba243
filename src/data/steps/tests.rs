use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::data::Interactions;

/// Rows `(part, user, item, time, weight)`.
type Row = (u32, u32, u32, i64, u8);

fn parts(rows: &[Row]) -> Parts {
    Parts {
        rows: Interactions {
            user: rows.iter().map(|row| row.1).collect(),
            item: rows.iter().map(|row| row.2).collect(),
            time: Some(rows.iter().map(|row| row.3).collect()),
            weight: Some(rows.iter().map(|row| f32::from(row.4)).collect()),
        },
        part: rows.iter().map(|row| row.0).collect(),
        names: vec!["log".to_owned(), "test".to_owned()],
    }
}

fn rows(parts: &Parts) -> Vec<Row> {
    let Interactions { user, item, time, weight } = &parts.rows;
    let (time, weight) = (time.as_ref().unwrap(), weight.as_ref().unwrap());
    (0..user.len()).map(|row| (parts.part[row], user[row], item[row], time[row], weight[row] as u8)).collect()
}

fn apply(steps: &[Step], parts: &mut Parts) -> Result<Vec<StepCount>, StepError> {
    let size = Size::of(parts);
    super::apply(steps, parts, size)
}

fn step(text: &str) -> Step {
    serde_json::from_str(text).unwrap()
}

/// What stays of `rows`, nothing included.
fn filtered(text: &str, rows_before: &[Row]) -> Vec<Row> {
    let mut data = parts(rows_before);
    match apply(&[step(text)], &mut data) {
        Ok(_) => rows(&data),
        Err(StepError::NothingLeft { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

const FEW: [Row; 6] =
    [(0, 0, 0, 30, 5), (0, 1, 0, 10, 3), (0, 0, 0, 10, 4), (0, 2, 1, 20, 1), (1, 0, 0, 40, 2), (0, 0, 0, 30, 1)];

fn at(indices: &[usize]) -> Vec<Row> {
    indices.iter().map(|&index| FEW[index]).collect()
}

#[test]
fn weights_and_times_are_bounded() {
    assert_eq!(filtered(r#"{"positive": {"min": 4}}"#, &FEW), at(&[0, 2]));
    assert_eq!(filtered(r#"{"positive": {"above": 4}}"#, &FEW), at(&[0]));
    assert_eq!(filtered(r#"{"window": {"from": 20, "to": 40}}"#, &FEW), at(&[0, 3, 5]));
    assert_eq!(filtered(r#"{"window": {"to": "1970-01-01T00:00:20"}}"#, &FEW), at(&[1, 2]));
}

#[test]
fn a_written_bound_holds_for_the_same_written_weight() {
    let mut data = parts(&FEW[..2]);
    data.rows.weight = Some(vec![0.7, 0.69]);
    apply(&[step(r#"{"positive": {"min": 0.7}}"#)], &mut data).unwrap();
    assert_eq!(data.rows.weight, Some(vec![0.7]));
}

#[test]
fn dedup_goes_by_time_within_a_part_and_by_row_among_equals() {
    assert_eq!(filtered(r#"{"dedup": "first"}"#, &FEW), at(&[1, 2, 3, 4]));
    assert_eq!(filtered(r#"{"dedup": "last"}"#, &FEW), at(&[1, 3, 4, 5]));
    assert_eq!(filtered(r#"{"dedup": "none"}"#, &FEW), FEW);
    let summed = filtered(r#"{"dedup": "sum"}"#, &FEW);
    assert_eq!(summed.iter().map(|row| row.4).collect::<Vec<_>>(), [3, 10, 1, 2]);

    let mut timeless = parts(&FEW);
    timeless.rows.time = None;
    apply(&[step(r#"{"dedup": "first"}"#)], &mut timeless).unwrap();
    assert_eq!(timeless.rows.weight, Some(vec![5.0, 3.0, 1.0, 2.0]));
}

#[test]
fn the_core_of_a_chain_needs_several_rounds() {
    // Users 0 and 1 share items 0 and 1; user 2 has item 1 and a lonely one, user 3 hangs on that.
    let chain: Vec<Row> = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]
        .map(|(user, item)| (0, user, item, 0, 1))
        .to_vec();
    assert_eq!(filtered(r#"{"core": {"user": 2, "item": 2}}"#, &chain), chain[..4]);
    // Once: item 3 alone is short, which leaves user 3 with one row.
    assert_eq!(filtered(r#"{"core": {"user": 2, "item": 2, "once": true}}"#, &chain), chain[..7]);
    // Bounds of one side.
    assert_eq!(filtered(r#"{"core": {"item": 3}}"#, &chain), [chain[1], chain[3], chain[4]]);
}

#[test]
fn a_chain_longer_than_the_rounds_of_counting_is_peeled() {
    // Users 0 and 1 share items 0 and 1. A chain of a hundred hangs on item 1 and loses one row after the other.
    let chain = (2..100).flat_map(|id| [(id, id - 1), (id, id)]);
    let data: Vec<Row> =
        [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().chain(chain).map(|(user, item)| (0, user, item, 0, 1)).collect();
    assert_eq!(filtered(r#"{"core": {"user": 2, "item": 2}}"#, &data), data[..4]);
}

#[test]
fn parts_that_the_core_does_not_name_neither_count_nor_go() {
    let data: Vec<Row> = [(0, 0, 0), (0, 0, 1), (1, 0, 2), (0, 1, 2), (1, 5, 5)]
        .map(|(part, user, item)| (part, user, item, 0, 1))
        .to_vec();
    assert_eq!(filtered(r#"{"core": {"user": 2, "parts": ["log"]}}"#, &data), [data[0], data[1], data[2], data[4]]);
    let error = apply(&[step(r#"{"core": {"user": 2, "parts": ["train"]}}"#)], &mut parts(&data)).unwrap_err();
    assert_eq!(error.to_string(), "step 1 (`core`) names the part `train`, which the data lack; there are: log, test");
}

#[test]
fn a_sample_has_the_wanted_size_and_repeats() {
    let all: Vec<Row> = (0..1000).map(|row| (0, row % 100, row, 0, 1)).collect();
    let users = |rows: &[Row]| rows.iter().map(|row| row.1).collect::<HashSet<_>>().len();
    let tenth = filtered(r#"{"sample": {"share": 0.1, "seed": 7}}"#, &all);
    assert_eq!((users(&tenth), tenth.len()), (10, 100));
    assert_eq!(tenth, filtered(r#"{"sample": {"number": 10, "seed": 7}}"#, &all));
    assert_ne!(tenth, filtered(r#"{"sample": {"share": 0.1, "seed": 8}}"#, &all));
    assert_eq!(filtered(r#"{"sample": {"of": "rows", "number": 321}}"#, &all).len(), 321);
    assert_eq!(filtered(r#"{"sample": {"of": "rows", "number": 5000}}"#, &all), all);
    // Uniform: over 300 seeds, each of 10 rows is drawn in about half of the samples of 5.
    let mut drawn = [0; 10];
    for seed in 0..300 {
        let text = format!(r#"{{"sample": {{"of": "rows", "number": 5, "seed": {seed}}}}}"#);
        filtered(&text, &all[..10]).iter().for_each(|row| drawn[row.2 as usize] += 1);
    }
    assert!(drawn.iter().all(|count| (110..190).contains(count)), "{drawn:?}");
}

#[test]
fn counts_tell_what_each_step_did() {
    let mut data = parts(&FEW);
    let steps = [step(r#"{"dedup": "last"}"#), step(r#"{"positive": {"min": 1.5}}"#)];
    let counts = apply(&steps, &mut data).unwrap();
    let size = |rows, users, items| Size { rows, users, items };
    let told = |step, rule: &str, before, after| StepCount { step, rule: rule.to_owned(), before, after };
    assert_eq!(
        counts,
        [
            told("dedup", "the latest row of each pair", size(6, 3, 2), size(4, 3, 2)),
            told("positive", "weight >= 1.5", size(4, 3, 2), size(2, 2, 1)),
        ]
    );
}

#[test]
fn what_cannot_be_done_says_why() {
    let bare = || {
        let mut data = parts(&FEW);
        (data.rows.time, data.rows.weight) = (None, None);
        data
    };
    let error = |text: &str, mut data: Parts| apply(&[step(text)], &mut data).unwrap_err().to_string();
    for text in [r#"{"positive": {"min": 4}}"#, r#"{"dedup": "sum"}"#] {
        assert!(error(text, bare()).contains("needs weights"));
    }
    assert!(error(r#"{"window": {"to": 4}}"#, bare()).contains("needs the times"));
    assert_eq!(
        error(r#"{"positive": {"min": 40}}"#, parts(&FEW)),
        "step 1 (`positive`: weight >= 40) leaves nothing of 6 rows, 3 users and 2 items: relax it, or look at the \
         steps before it"
    );
}

#[test]
fn mistakes_in_parameters_are_told() {
    for text in [
        r#"{"positive": {}}"#,
        r#"{"window": {}}"#,
        r#"{"window": {"from": "2018-01-02", "to": "2018-01-01"}}"#,
        r#"{"core": {"user": 1}}"#,
        r#"{"sample": {}}"#,
        r#"{"sample": {"share": 0.1, "number": 5}}"#,
        r#"{"sample": {"share": 1.5}}"#,
        r#"{"sample": {"number": 0}}"#,
    ] {
        assert!(step(text).mistake().is_some(), "{text}");
    }
    for text in [r#"{"window": {"from": "last year"}}"#, r#"{"window": {"from": 1514764800000}}"#] {
        let error = serde_json::from_str::<Step>(text).unwrap_err().to_string();
        assert!(error.contains("2018-01-31T12:00:00Z"), "{error}");
    }
}

#[test]
fn moments_are_the_same_however_they_are_written() {
    for text in ["1514764800", r#""2018-01-01""#, r#""2018-01-01T02:00:00+02:00""#, r#""2018-01-01 00:00""#] {
        let moment: Moment = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&moment).unwrap(), "1514764800", "{text}");
    }
    assert_eq!(Moment(1_514_764_800).to_string(), "2018-01-01");
    assert_eq!(Moment(1_514_764_801).to_string(), "2018-01-01T00:00:01Z");
}

#[test]
fn ids_become_dense_by_first_appearance() {
    let mut rows = Interactions { user: vec![7, 2, 7], item: vec![0, 9, 9], ..Interactions::default() };
    let old = renumber(&mut rows);
    assert_eq!((rows.user, rows.item), (vec![0, 1, 0], vec![0, 1, 1]));
    assert_eq!(old, Renumbered { users: vec![7, 2], items: vec![0, 9] });
}

/// Removes users and items below `k` again and again.
fn naive_core(mut rows: Vec<Row>, user: usize, item: usize) -> Vec<Row> {
    loop {
        let count = |id: fn(&Row) -> u32| {
            rows.iter().fold(BTreeMap::<u32, usize>::new(), |mut counts, row| {
                *counts.entry(id(row)).or_default() += 1;
                counts
            })
        };
        let (users, items) = (count(|row| row.1), count(|row| row.2));
        let stays = |row: &&Row| users[&row.1] >= user && items[&row.2] >= item;
        let after: Vec<Row> = rows.iter().filter(stays).copied().collect();
        if after.len() == rows.len() {
            return after;
        }
        rows = after;
    }
}

fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..2_u32, 0..12_u32, 0..9_u32, 0..5_i64, 1..6_u8), 1..120)
}

proptest! {
    #[test]
    fn the_core_is_the_naive_fixed_point_whatever_the_order(
        (before, mixed) in some_rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        user in 0..6_usize,
        item in 0..6_usize,
    ) {
        let text = format!(r#"{{"core": {{"user": {user}, "item": {item}}}}}"#);
        let core = filtered(&text, &before);
        prop_assert_eq!(&core, &naive_core(before, user, item));
        for row in &core {
            prop_assert!(core.iter().filter(|other| other.1 == row.1).count() >= user);
            prop_assert!(core.iter().filter(|other| other.2 == row.2).count() >= item);
        }
        let (mut core, mut other) = (core, filtered(&text, &mixed));
        core.sort_unstable();
        other.sort_unstable();
        prop_assert_eq!(core, other);
    }

    #[test]
    fn dedup_is_the_naive_one(before in some_rows()) {
        let pairs: BTreeMap<(u32, u32, u32), Vec<usize>> =
            before.iter().enumerate().fold(BTreeMap::new(), |mut pairs, (index, row)| {
                pairs.entry((row.0, row.1, row.2)).or_insert_with(Vec::new).push(index);
                pairs
            });
        let naive = |last: bool, sum: bool| {
            let mut kept: Vec<(usize, Row)> = pairs
                .values()
                .map(|rows| {
                    let key = |index: &usize| (before[*index].3, *index);
                    let index = *if last { rows.iter().max_by_key(|i| key(i)) } else { rows.iter().min_by_key(|i| key(i)) }
                        .unwrap();
                    let mut row = before[index];
                    if sum {
                        row.4 = rows.iter().map(|&index| before[index].4).sum();
                    }
                    (index, row)
                })
                .collect();
            kept.sort_unstable();
            kept.into_iter().map(|(_, row)| row).collect::<Vec<_>>()
        };
        // Sums stay below what the test's weights can hold.
        let few = pairs.values().all(|rows| rows.len() <= 50);
        prop_assert_eq!(filtered(r#"{"dedup": "first"}"#, &before), naive(false, false));
        prop_assert_eq!(filtered(r#"{"dedup": "last"}"#, &before), naive(true, false));
        prop_assume!(few);
        prop_assert_eq!(filtered(r#"{"dedup": "sum"}"#, &before), naive(false, true));
    }

    #[test]
    fn threads_change_nothing(before in some_rows()) {
        let steps = [r#"{"dedup": "sum"}"#, r#"{"core": {"user": 2, "item": 2}}"#].map(step);
        let on = |threads: usize| {
            let mut data = parts(&before);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let counts = pool.install(|| apply(&steps, &mut data));
            (counts, data)
        };
        prop_assert_eq!(on(1), on(4));
    }
}
