//! The encoder against its definition, and trainings over sequences.

use rand::RngExt;
use serde_json::{Value, json};

use super::*;
use crate::data::{Graph, Interactions};
use crate::method::loss::{Losses, start_loss};
use crate::method::optim::{Rule, Update};
use crate::method::sampler::StepGradient;
use crate::method::{Batch, Choice, Gathered, Histories, Nodes, RowGradient, Summands, TrainingData, Vectors};
use crate::rng;
use crate::train::testing::{Keep, fit_with};
use crate::train::{Candidates, Config, Data, TrainError, Trained, memory_bytes};

const DIM: usize = 8;
const ITEMS: usize = 12;

/// Sequences of users 0, 1, ... at the times 0, 1, ...
fn log(sequences: &[&[u32]]) -> Interactions {
    let mut log = Interactions { time: Some(Vec::new()), ..Interactions::default() };
    for (user, sequence) in (0..).zip(sequences) {
        for (time, &item) in (0..).zip(*sequence) {
            log.user.push(user);
            log.item.push(item);
            log.time.as_mut().unwrap().push(time);
        }
    }
    log
}

fn training_data(sequences: &[&[u32]], items: usize) -> TrainingData {
    let log = log(sequences);
    TrainingData::over(Graph::with_size(sequences.len(), items, &log), log)
}

fn setup(data: &TrainingData, dim: usize) -> Setup<'_> {
    Setup { rule: Rule::Sgd { momentum: 0.0, decay: 0.0 }, ..Setup::new(data, 3, dim) }
}

fn small() -> SasRec {
    SasRec { length: 5, heads: 2, dropout: 0.0, ..SasRec::default() }
}

fn on_the_right() -> SasRec {
    SasRec { padding: Padding::Right, ..small() }
}

/// An encoder none of whose parameters is 0 or 1.
fn start<'a>(params: &SasRec, data: &'a TrainingData) -> Box<dyn Backbone + 'a> {
    let mut backbone = params.clone().start(&setup(data, DIM)).unwrap();
    change(&mut *backbone, |name, values| {
        let mut rng = rng::stream(7, name, 0);
        values.iter_mut().for_each(|value| *value += rng.random_range(-0.5..0.5));
    });
    backbone
}

fn change(backbone: &mut dyn Backbone, change: impl Fn(&str, &mut [f32])) {
    let mut values = backbone.parameters().values();
    values.iter_mut().for_each(|tensor| change(&tensor.name, &mut tensor.values));
    assert!(backbone.parameters().restore(&values, false));
}

fn batch<'a>(users: &'a [u32], rows: &'a [u32]) -> Batch<'a> {
    Batch {
        seed: 3,
        epoch: 0,
        epochs: 1,
        step: 0,
        lr: 1.0,
        users: rows,
        queries: rows,
        positives: rows,
        sequences: users,
    }
}

/// The vectors of the positions of these users, and of all items.
fn positions(backbone: &mut dyn Backbone, users: &[u32]) -> Vectors {
    let mut vectors = Vectors::new(0, ITEMS, DIM);
    backbone.forward(&batch(users, &[]), Nodes::All, &mut vectors).unwrap();
    vectors
}

/// The vectors at the ends of the histories.
fn ends(backbone: &mut dyn Backbone, data: &TrainingData) -> Vectors {
    let mut vectors = Vectors::new(0, ITEMS, DIM);
    backbone.encode_all(&Histories { train: data, then: None }, &mut vectors).unwrap();
    vectors
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn later_items_leave_earlier_positions_unchanged() {
    let data = training_data(&[&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 4, 3, 5]], ITEMS);
    for params in [small(), on_the_right()] {
        let rows = positions(&mut *start(&params, &data), &[0, 1]).queries;
        let (one, other) = rows.split_at(5 * DIM);
        assert!(near(&one[..3 * DIM], &other[..3 * DIM]));
        assert!((3..5).all(|row| !near(&one[row * DIM..][..DIM], &other[row * DIM..][..DIM])));
    }
}

/// Rows come sequence by sequence, in the order of the batch, one for each item but the last.
#[test]
fn a_position_is_the_end_of_the_history_up_to_it() {
    let sequences: [&[u32]; 3] = [&[9, 1, 4], &[2], &[3, 5, 8, 0, 7, 6, 10, 11]];
    let data = training_data(&sequences, ITEMS);
    // The positions of users 2 and 0, each as the end of a history.
    let histories: [&[u32]; 7] = [&[8], &[8, 0], &[8, 0, 7], &[8, 0, 7, 6], &[8, 0, 7, 6, 10], &[9], &[9, 1]];
    let known = training_data(&histories, ITEMS);
    let found = positions(&mut *start(&on_the_right(), &data), &[2, 1, 0]).queries;
    assert!(near(&found, &ends(&mut *start(&on_the_right(), &known), &known).queries));
    // With padding before it, an earlier position has less of it than the history that ends there.
    let found = positions(&mut *start(&small(), &data), &[2, 1, 0]).queries;
    let expected = ends(&mut *start(&small(), &known), &known).queries;
    for last in [4, 6] {
        assert!(near(&found[last * DIM..][..DIM], &expected[last * DIM..][..DIM]), "{last}");
    }
}

#[test]
fn histories_are_cut_to_their_latest_items() {
    let data = training_data(&[&[9, 1, 4, 2, 3, 5, 8], &[4, 2, 3, 5, 8]], ITEMS);
    for params in [small(), on_the_right()] {
        let rows = ends(&mut *start(&params, &data), &data).queries;
        assert!(near(&rows[..DIM], &rows[DIM..]));
    }
}

/// A state that is no number would not come out as zero.
#[test]
fn a_sequence_of_padding_alone_is_finite_and_counts_as_zero() {
    let data = training_data(&[&[], &[1, 2], &[]], ITEMS);
    for params in [small(), on_the_right(), SasRec::default()] {
        let params = SasRec { heads: 2, ..params };
        let rows = ends(&mut *start(&params, &data), &data).queries;
        assert!(rows.iter().all(|value| value.is_finite()));
        assert!(rows[..DIM].iter().chain(&rows[2 * DIM..]).all(|&value| value == 0.0));
        assert!(rows[DIM..2 * DIM].iter().any(|&value| value != 0.0));
        let nobody = training_data(&[&[]], ITEMS);
        assert_eq!(ends(&mut *start(&params, &nobody), &nobody).queries[..], [0.0; DIM]);
    }
}

/// A block over one item, in `f64` from its definition.
#[test]
fn over_one_item_attention_is_the_projection_of_its_value() {
    let data = training_data(&[&[4]], ITEMS);
    let params = SasRec { length: 1, blocks: 1, ..small() };
    let mut backbone = start(&params, &data);
    let tensors = backbone.parameters().values();
    let get = |name: &str| -> Vec<f64> {
        let found = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        found.values.iter().map(|&value| f64::from(value)).collect()
    };
    let layer = |name: &str, x: &[f64]| -> Vec<f64> {
        let (weight, bias) = (get(&format!("0.{name}.weight")), get(&format!("0.{name}.bias")));
        let rows = weight.chunks_exact(DIM).zip(bias);
        rows.map(|(row, bias)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias).collect()
    };
    let norm = |name: &str, x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / DIM as f64;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / DIM as f64;
        let (scale, shift) = (get(&format!("{name}.scale")), get(&format!("{name}.shift")));
        let unit = x.iter().map(|x| (x - mean) / (variance + EPS).sqrt());
        unit.zip(scale.iter().zip(shift)).map(|(x, (scale, shift))| x * scale + shift).collect()
    };
    let sum = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let table = get("items");
    let scaled: Vec<f64> = table[4 * DIM..5 * DIM].iter().map(|x| x * (DIM as f64).sqrt()).collect();
    let x = sum(&scaled, &get("positions"));
    let attended = sum(&norm("0.attention_norm", &x), &layer("output", &layer("value", &x)));
    let x = norm("0.forward_norm", &attended);
    let hidden: Vec<f64> = layer("hidden", &x).into_iter().map(|x| x.max(0.0)).collect();
    let expected = norm("norm", &sum(&x, &layer("forward", &hidden)));
    let expected: Vec<f32> = expected.into_iter().map(|x| x as f32).collect();
    assert!(near(&ends(&mut *backbone, &data).queries, &expected));
}

#[test]
fn left_and_right_padding_give_the_same_vectors() {
    // A history that fills the length, and the latest items of a longer one.
    let full = training_data(&[&[3, 1, 4, 0, 5], &[7, 9, 2, 6, 8, 11]], ITEMS);
    let [left, right] = [small(), on_the_right()].map(|params| ends(&mut *start(&params, &full), &full).queries);
    assert!(near(&left, &right));
    // Shorter ones differ by the rows of their places and by the attention that padding takes, and by nothing else.
    let short = training_data(&[&[3], &[7, 9, 2], &[1, 6]], ITEMS);
    let [mut left, mut right] = [small(), on_the_right()].map(|params| start(&params, &short));
    let both = |left: &mut dyn Backbone, right: &mut dyn Backbone| {
        let users = [2, 1, 0];
        let same_positions = near(&positions(left, &users).queries, &positions(right, &users).queries);
        (near(&ends(left, &short).queries, &ends(right, &short).queries), same_positions)
    };
    assert_eq!(both(&mut *left, &mut *right), (false, false));
    for backbone in [&mut left, &mut right] {
        change(&mut **backbone, |name, values| {
            if name == "positions" || name.contains("output") {
                values.fill(0.25);
            }
            if name.contains("output.weight") {
                values.fill(0.0);
            }
        });
    }
    assert_eq!(both(&mut *left, &mut *right), (true, true));
}

#[test]
fn dropout_is_for_training_alone() {
    let data = training_data(&[&[3, 1, 4, 0, 5]], ITEMS);
    let with = |dropout: f64| start(&SasRec { dropout, ..small() }, &data);
    let (mut without, mut half) = (with(0.0), with(0.5));
    assert_eq!(ends(&mut *half, &data), ends(&mut *without, &data));
    let plain = positions(&mut *without, &[0]);
    let dropped = positions(&mut *half, &[0]);
    assert!(!near(&plain.queries, &dropped.queries) && plain.items == dropped.items);
    assert_eq!(positions(&mut *half, &[0]), dropped, "the draws of a step are its own");
}

/// `<G, queries> + <H, items>`, and its gradient by the optimiser's step.
#[test]
fn gradients_are_those_of_finite_differences() {
    let data = training_data(&[&[3, 1, 4, 0], &[2, 2, 9], &[5, 6, 7, 8, 1, 2, 3]], ITEMS);
    for params in [small(), on_the_right()] {
        let mut backbone = start(&params, &data);
        let users = [2, 0, 1];
        let rows: Vec<u32> = (0..10).collect();
        let ids: Vec<u32> = (0..ITEMS as u32).collect();
        let draw = |name: &str, count: usize| -> Vec<f32> {
            let mut rng = rng::stream(5, name, 0);
            (0..count * DIM).map(|_| rng.random_range(-1.0..1.0)).collect()
        };
        let (to_queries, to_items) = (draw("queries", rows.len()), draw("items", ITEMS));
        let value = |backbone: &mut dyn Backbone| -> f64 {
            let vectors = positions(backbone, &users);
            assert_eq!(vectors.queries.len(), to_queries.len());
            let pairs = vectors.queries.iter().zip(&to_queries).chain(vectors.items.iter().zip(&to_items));
            pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let before = backbone.parameters().values();
        value(&mut *backbone);
        let gradient = RowGradient {
            queries: Summands { ids: &rows, values: &to_queries },
            items: &[Summands { ids: &ids, values: &to_items }],
        };
        backbone.backward(&gradient, Nodes::All).unwrap();
        let rule = Rule::Sgd { momentum: 0.0, decay: 0.0 };
        backbone.parameters().update(&Update { rule: &rule, lr: 1.0, step: 1, scale: 1.0 });
        let after = backbone.parameters().values();
        let mut compared = 0;
        for (number, tensor) in before.iter().enumerate() {
            for place in [0, tensor.values.len() / 2, tensor.values.len() - 1] {
                let mut moved = before.clone();
                let mut at = |step: f32| {
                    moved[number].values[place] = tensor.values[place] + step;
                    assert!(backbone.parameters().restore(&moved, false));
                    value(&mut *backbone)
                };
                let step = 1e-3;
                let expected = (at(step) - at(-step)) / f64::from(2.0 * step);
                let found = f64::from(tensor.values[place] - after[number].values[place]);
                assert!(
                    (found - expected).abs() < 5e-3 * (1.0 + expected.abs()),
                    "{} at {place}: {found}, not {expected}",
                    tensor.name
                );
                compared += usize::from(expected.abs() > 0.02);
            }
        }
        assert!(compared > before.len(), "most of them are not 0: {compared}");
    }
}

/// Padding reads the row of item 0, which must not learn of it.
#[test]
fn padding_trains_no_row() {
    let data = training_data(&[&[3, 1, 4]], ITEMS);
    let mut backbone = start(&small(), &data);
    let before = backbone.parameters().values();
    let rows = positions(&mut *backbone, &[0]).queries;
    let gradient = RowGradient { queries: Summands { ids: &[0, 1], values: &rows }, items: &[] };
    backbone.backward(&gradient, Nodes::All).unwrap();
    let rule = Rule::Sgd { momentum: 0.0, decay: 0.0 };
    backbone.parameters().update(&Update { rule: &rule, lr: 1.0, step: 1, scale: 1.0 });
    let [before, after] = [before, backbone.parameters().values()].map(|values| values[0].values.clone());
    for item in 0..ITEMS {
        let same = before[item * DIM..][..DIM] == after[item * DIM..][..DIM];
        assert_eq!(same, ![1, 3].contains(&item), "{item}");
    }
}

#[test]
fn scores_of_zero_cost_two_logarithms_of_two() {
    let data = training_data(&[&[3, 1, 4], &[2, 5]], ITEMS);
    let setup = setup(&data, DIM);
    let mut backbone = start(&small(), &data);
    change(&mut *backbone, |name, values| {
        if name == "items" {
            values.fill(0.0);
        }
    });
    let vectors = positions(&mut *backbone, &[0, 1]);
    let mut loss = start_loss(&Choice::<Losses>::new("bce", &json!({})).unwrap(), &setup).unwrap();
    let (positives, negatives) = ([1, 4, 5], [7, 8, 9]);
    let rows = crate::method::loss::LossRows {
        width: DIM,
        per_row: 1,
        queries: Gathered::all(&vectors.queries, DIM),
        positives: Gathered { matrix: &vectors.items, width: DIM, ids: Some(&positives) },
        negatives: Gathered { matrix: &vectors.items, width: DIM, ids: Some(&negatives) },
        log_q: None,
        users: &[0, 0, 1],
        items: &positives,
    };
    let values = loss.evaluate(&rows, &mut StepGradient::default()).unwrap();
    assert!((values[0].1 - 1.386_294_361).abs() < 1e-9, "{values:?}");
}

fn config(changes: Value) -> Config {
    let mut value = json!({
        "backbone": { "sasrec": { "length": 8, "blocks": 1 } }, "dim": DIM, "loss": "bce", "batch_size": 16, "epochs": 3,
        "seed": 5, "top_k": 5, "optimizer": { "lr": 0.01 }, "reg": { "weight": 0.0 }, "select": "last",
    });
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn train_with(
    config: &Config,
    train: &TrainingData,
    valid: &Interactions,
    threads: usize,
    resume: Option<&[u8]>,
    keep: &mut Keep,
) -> Result<Trained, TrainError> {
    let items = train.graph.n_items;
    let candidates = Candidates::in_order((0..items as u32).collect(), items);
    let data = Data { train, valid, oracle: None, candidates: &candidates, sets: None };
    fit_with(config, &data, threads, resume, keep)
}

fn train(config: &Config, train: &TrainingData, valid: &Interactions) -> Result<Trained, TrainError> {
    train_with(config, train, valid, 2, None, &mut Keep::default())
}

/// Walks of 3 to 14 steps through a cycle over all items, and the step that follows each.
fn walks(users: usize, items: u32) -> (TrainingData, Interactions) {
    let mut rng = rng::stream(9, "walks", 0);
    // 7 has no divisor with the number of items in common.
    let walks: Vec<Vec<u32>> = (0..users)
        .map(|_| {
            let (first, steps) = (rng.random_range(0..items), rng.random_range(4..=15));
            (0..steps).map(|step| (first + 7 * step) % items).collect()
        })
        .collect();
    let [known, next] = [0, 1].map(|part| -> Vec<&[u32]> {
        let cut = |walk: &Vec<u32>| walk.len() - 1;
        walks.iter().map(|walk| if part == 0 { &walk[..cut(walk)] } else { &walk[cut(walk)..] }).collect()
    });
    let mut next = log(&next);
    next.time = Some(vec![100; next.len()]);
    (training_data(&known, items as usize), next)
}

#[test]
fn it_learns_what_comes_next() {
    let (data, next) = walks(300, 40);
    for (loss, padding) in [("bce", "left"), ("bce", "right"), ("bpr", "left")] {
        let config = config(json!({
            "backbone": { "sasrec": { "length": 10, "padding": padding } }, "dim": 32, "loss": loss, "batch_size": 32,
            "epochs": 20, "optimizer": { "lr": 0.005 }, "select": { "valid_iid": { "measure": "recall@1" } },
        }));
        let model = train(&config, &data, &next).unwrap();
        let recall: Vec<f64> =
            model.curve.iter().filter(|point| point.measure == "valid_recall@1").map(|point| point.value).collect();
        assert!(recall.iter().copied().fold(0.0, f64::max) > 0.9, "{loss}, {padding}: {recall:?}");
    }
}

#[test]
fn neither_threads_nor_an_interruption_show() {
    let (data, next) = walks(40, 30);
    for loss in ["bce", "in_batch_softmax"] {
        let config = config(json!({ "loss": loss, "select": { "valid_iid": {} } }));
        let fit = |threads, resume, keep: &mut Keep| train_with(&config, &data, &next, threads, resume, keep);
        let whole = fit(1, None, &mut Keep::default()).unwrap();
        assert_eq!(fit(4, None, &mut Keep::default()).unwrap(), whole);
        let mut keep = Keep { stop_after: Some(2), ..Keep::default() };
        assert_eq!(fit(2, None, &mut keep), Err(TrainError::Stopped { epoch: 2 }));
        assert_eq!(fit(2, Some(&keep.checkpoint), &mut Keep::default()).unwrap(), whole);
    }
}

#[test]
fn it_goes_with_every_sampler() {
    let (data, next) = walks(40, 30);
    for sampler in ["uniform", "dns", "cnsdiff"] {
        for score in ["inner_product", "cosine"] {
            let config = config(json!({ "sampler": sampler, "score": score, "loss": "bpr", "epochs": 8 }));
            assert_eq!(config.check(), Ok(()));
            let model = train(&config, &data, &next).unwrap();
            let of_loss = model.curve.iter().filter(|point| point.measure == "bpr");
            let loss: Vec<f64> = of_loss.map(|point| point.value).collect();
            assert!(loss[7] < loss[0], "{sampler}, {score}: {loss:?}");
        }
    }
}

/// With all items but one each user has one possible negative, whatever is drawn. The rate is too small to change a value.
#[test]
fn an_epoch_is_the_mean_over_its_positions() {
    let data = training_data(&[&[0, 1, 2, 0, 1, 2, 0], &[1, 3, 2], &[3]], 4);
    let mean = |batch_size: usize, drop_last: bool| {
        let config = config(json!({
            "backbone": { "sasrec": { "length": 4, "dropout": 0.0 } }, "batch_size": batch_size, "drop_last": drop_last,
            "epochs": 1, "optimizer": { "lr": 1e-30 },
        }));
        train(&config, &data, &Interactions::default()).unwrap().curve[0].value
    };
    // Four positions and two in one step, or in two.
    let (together, apart) = (mean(2, true), mean(1, false));
    assert!((together - apart).abs() < 1e-6 && together > 0.5, "{together}, {apart}");
}

#[test]
fn recommendations_follow_what_is_masked() {
    let data = training_data(&[&[0, 1, 2], &[3, 4, 5], &[6, 7]], ITEMS);
    let valid = Interactions { user: vec![0, 2], item: vec![8, 9], time: Some(vec![7, 7]), weight: None };
    let [train_only, both] = ["train", "train_valid"].map(|mask| {
        let model = train(&config(json!({ "mask": mask })), &data, &valid).unwrap();
        model.vectors.unwrap()
    });
    let same: Vec<bool> = (0..3).map(|user| train_only.query(user) == both.query(user)).collect();
    assert_eq!((same, train_only.items == both.items), (vec![false, true, false], true));
    // What is known after validation is what would be known had it been learned from.
    let later = training_data(&[&[0, 1, 2, 8], &[3, 4, 5], &[6, 7, 9]], ITEMS);
    let mut encoder = start(&small(), &data);
    let mut vectors = Vectors::new(0, ITEMS, DIM);
    encoder.encode_all(&Histories { train: &data, then: Some(&valid) }, &mut vectors).unwrap();
    assert_eq!(vectors, ends(&mut *start(&small(), &later), &later));
}

#[test]
fn data_that_no_sequence_can_be_learned_from_are_refused() {
    let nothing = Interactions::default();
    let told = |data: &TrainingData, changes: Value| train(&config(changes), data, &nothing).unwrap_err().to_string();
    let (walks, _) = walks(10, 30);
    let timeless = Interactions { time: None, ..log(&[&[1, 2, 3]]) };
    let error = told(&TrainingData::new(timeless), json!({}));
    assert!(error.contains("no times"), "{error}");
    let error = told(&training_data(&[&[1], &[0]], 2), json!({}));
    assert!(error.contains("no user has two training items"), "{error}");
    let error = told(&walks, json!({ "drop_last": true }));
    assert!(error.starts_with("there are 10 training sequences, not one batch of 16"), "{error}");
}

#[test]
fn a_width_that_heads_cannot_share_is_a_mistake() {
    let check = |changes: Value| config(changes).check();
    assert_eq!(check(json!({})), Ok(()));
    assert_eq!(check(json!({ "dim": 12, "backbone": { "sasrec": { "heads": 4 } } })), Ok(()));
    let mistake = check(json!({ "backbone": { "sasrec": { "heads": 3 } } })).unwrap_err();
    assert_eq!(mistake.path, ["backbone", "sasrec", "heads"]);
    assert_eq!(mistake.message, "`dim: 8` cannot be divided among 3 heads");
    // Also where there is no sampler.
    let mistake = check(json!({ "loss": "in_batch_softmax", "backbone": { "sasrec": { "heads": 3 } } })).unwrap_err();
    assert_eq!(mistake.path, ["backbone", "sasrec", "heads"]);
    for (wrong, key) in [
        (json!({ "length": 0 }), "length"),
        (json!({ "blocks": 0 }), "blocks"),
        (json!({ "heads": 0 }), "heads"),
        (json!({ "dropout": 1.0 }), "dropout"),
    ] {
        assert_eq!(check(json!({ "backbone": { "sasrec": wrong } })).unwrap_err().path[2], key);
    }
}

#[test]
fn memory_is_estimated_by_positions_and_pairs_of_them() {
    let bytes = |length: usize, heads: usize, blocks: usize| {
        let sasrec = json!({ "sasrec": { "length": length, "heads": heads, "blocks": blocks } });
        memory_bytes(&config(json!({ "backbone": sasrec, "batch_size": 128 })), Some(1000))
    };
    let [short, long, heads] = [bytes(100, 1, 2), bytes(200, 1, 2), bytes(200, 2, 2)];
    let weights = |length: u64| 128 * length * length * 8 * 4;
    assert!(short > weights(100) && heads - long == weights(200), "{short} {long} {heads}");
    assert!(long - short > weights(200) - weights(100) && long < 4 * short);
    let largest = json!({ "sasrec": { "length": u64::MAX, "heads": u64::MAX, "blocks": u64::MAX } });
    assert_eq!(memory_bytes(&config(json!({ "backbone": largest, "dim": u64::MAX })), None), u64::MAX);
}
