//! Whole trainings on a small graph: the same bits for any number of threads and after an interruption, and what the
//! parts promise of each other.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::config::{Gradient, Model};
use super::testing::{Keep, fit_with};
use super::{Candidates, Config, Data, TrainError, Trained, fit};
use crate::data::{Graph, Interactions};
use crate::method::backend::torch;
use crate::method::sampler::UniformDraws;
use crate::method::{Batch, Device, TrainingData, xavier_tables};
use crate::rng;

const USERS: usize = 90;
const ITEMS: usize = 60;

/// Interactions with two tastes: users and items of equal parity.
fn parts() -> (TrainingData, Interactions, Interactions) {
    let mut rng = rng::stream(11, "test data", 0);
    let mut parts = [const { Vec::new() }; 3];
    for user in 0..USERS as u32 {
        for item in (0..ITEMS as u32).filter(|item| item % 2 == user % 2) {
            let draw = rng.random::<f64>();
            let part = if draw < 0.5 || item == user % 2 { 0 } else { 1 + (draw < 0.75) as usize };
            parts[part].push((user, item));
        }
    }
    let [train, valid, test] = parts.map(|pairs| Interactions {
        user: pairs.iter().map(|pair| pair.0).collect(),
        item: pairs.iter().map(|pair| pair.1).collect(),
        ..Interactions::default()
    });
    (TrainingData::over(Graph::with_size(USERS, ITEMS, &train), train), valid, test)
}

/// All items, equal scores by ascending item.
fn everything() -> Candidates {
    Candidates::in_order((0..ITEMS as u32).collect(), ITEMS)
}

fn config(changes: Value) -> Config {
    let mut value = json!({
        "backbone": "lightgcn", "dim": 16, "batch_size": 600, "epochs": 4, "seed": 5, "top_k": 10,
        "optimizer": { "lr": 0.01 },
    });
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// A training with gradients, changed.
fn changed(mut config: Config, change: impl FnOnce(&mut Gradient)) -> Config {
    let Model::Gradient(gradient) = &mut config.model else { panic!("{config:?}") };
    change(gradient);
    config
}

fn train_with(config: &Config, threads: usize, resume: Option<&[u8]>, keep: &mut Keep) -> Result<Trained, TrainError> {
    let (train, valid, test) = parts();
    let data = Data { train: &train, valid: &valid, oracle: Some(&test), candidates: &everything(), sets: None };
    fit_with(config, &data, threads, resume, keep)
}

fn train(config: &Config) -> Trained {
    train_with(config, 2, None, &mut Keep::default()).unwrap()
}

/// The values of a measure over the epochs.
fn curve(model: &Trained, measure: &str) -> Vec<f64> {
    model.curve.iter().filter(|point| point.measure == measure).map(|point| point.value).collect()
}

/// Backbones of graphs that are there with libtorch alone.
const GRAPHS_BY_LIBTORCH: &[&str] = if cfg!(feature = "torch") { &["ngcf", "simgcl", "xsimgcl"] } else { &[] };

fn all_kinds() -> Vec<Config> {
    let mut kinds = vec![
        json!({ "backbone": "mf" }),
        json!({}),
        json!({ "sampler": "dns", "negatives": 2 }),
        json!({ "sampler": { "mixgcf": { "candidates": 8 } } }),
        json!({ "backbone": "mf", "sampler": { "mixgcf": { "candidates": 8 } }, "negatives": 2, "loss": "softmax" }),
        json!({ "sampler": "popularity", "negatives": 3, "loss": { "softmax": { "log_q": true } } }),
        json!({ "sampler": { "cnsdiff": { "variant": "as_released" } } }),
        json!({ "sampler": { "cnsdiff": { "variant": "trained", "gen_warmup_epochs": 1, "condition": "user" } } }),
        json!({ "sampler": { "cnsdiff": {
            "variant": "trained_joint", "gen_warmup_epochs": 1, "space": "rms_normalised", "start": { "pick": "random" },
        } } }),
    ];
    kinds.extend(GRAPHS_BY_LIBTORCH.iter().map(|backbone| json!({ "backbone": backbone })));
    let there = |config: &Config| !config.needs_libtorch() || !torch::version().is_empty();
    kinds.into_iter().map(config).filter(there).collect()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for config in all_kinds() {
        let [one, four] = [1, 4].map(|threads| train_with(&config, threads, None, &mut Keep::default()).unwrap());
        assert_eq!(one, four, "{config:?}");
    }
}

#[test]
fn an_interrupted_training_ends_the_same() {
    for config in all_kinds() {
        let whole = train(&config);
        let mut keep = Keep { stop_after: Some(2), ..Keep::default() };
        assert_eq!(train_with(&config, 2, None, &mut keep), Err(TrainError::Stopped { epoch: 2 }));
        let resumed = train_with(&config, 1, Some(&keep.checkpoint), &mut Keep::default()).unwrap();
        assert_eq!(resumed, whole, "{config:?}");
    }
}

#[test]
fn a_checkpoint_of_something_else_is_not_used() {
    let mut keep = Keep { stop_after: Some(1), ..Keep::default() };
    let _ = train_with(&config(json!({ "dim": 8 })), 1, None, &mut keep);
    let fresh = train(&config(json!({})));
    for resume in [&keep.checkpoint[..], b"torn"] {
        assert_eq!(train_with(&config(json!({})), 1, Some(resume), &mut Keep::default()).unwrap(), fresh);
    }
}

#[test]
fn cnsdiff_with_everything_off_is_the_uniform_sampler() {
    let plain = train(&config(json!({})));
    let off = train(&config(json!({ "sampler": { "cnsdiff": { "generate": false, "cl_weight": 0.0 } } })));
    assert_eq!(off, plain);
}

#[test]
fn it_learns_and_recommends_what_is_new() {
    let (data, valid, _) = parts();
    let mut backbones = vec![json!("mf"), json!("lightgcn")];
    // A contrast keeps users of one taste apart, the more so the shorter the vectors are: it takes longer.
    let none = json!({ "contrast_weight": 0.0 });
    let params = |&name: &&str| json!({ name: if name == "ngcf" { json!({}) } else { none.clone() } });
    backbones.extend(GRAPHS_BY_LIBTORCH.iter().map(params));
    for backbone in backbones {
        let model = train(&config(json!({
            "backbone": &backbone, "epochs": 30, "select": { "valid_iid": { "patience": 0 } },
        })));
        let loss = curve(&model, "bpr");
        assert!(loss[29] < 0.5 * loss[0], "{backbone}: {loss:?}");
        // Half of the items are of the user's taste.
        assert!(curve(&model, "valid_recall@20")[29] > 0.8);
        let valid = Graph::with_size(USERS, ITEMS, &valid);
        for (user, list) in (0u32..).zip(&model.recommendations) {
            assert!(list.iter().all(|one| !data.graph.contains(user, one.item) && !valid.contains(user, one.item)));
        }
    }
}

#[test]
fn harder_negatives_learn_the_tastes_too() {
    for sampler in
        [json!({ "dns": { "candidates": 3 } }), json!({ "mixgcf": { "candidates": 3 } }), json!("popularity")]
    {
        let model = train(&config(json!({
            "backbone": "mf", "epochs": 30, "select": { "valid_iid": { "patience": 0 } }, "sampler": sampler,
        })));
        let recall = curve(&model, "valid_recall@20")[29];
        assert!(recall > 0.8, "{sampler}: {recall}");
    }
}

#[test]
fn the_best_epoch_is_kept_and_patience_ends() {
    // A rate so large that later epochs are worse.
    let config = config(json!({
        "backbone": "mf", "epochs": 60, "optimizer": { "lr": 0.3 },
        "select": { "valid_iid": { "measure": "ndcg@20", "patience": 3 } },
    }));
    let model = train(&config);
    let values = curve(&model, "valid_ndcg@20");
    let best = values.iter().copied().fold(f64::MIN, f64::max);
    assert_eq!(values[model.best_epoch - 1], best);
    assert_eq!(model.epochs, model.best_epoch + 3);
    let stopped = changed(config, |gradient| gradient.epochs = model.best_epoch);
    assert_eq!(train(&stopped).recommendations, model.recommendations);
}

#[test]
fn the_oracle_is_used_only_when_asked_for() {
    let model = train(&config(json!({ "select": "test_oracle" })));
    assert_eq!(curve(&model, "oracle_ndcg@20").len(), 4);
    assert!(curve(&model, "valid_ndcg@20").is_empty());
    let (train, valid, _) = parts();
    let data = Data { train: &train, valid: &valid, oracle: None, candidates: &everything(), sets: None };
    let error =
        fit(&config(json!({ "select": "test_oracle" })), &data, Device::Cpu, None, &mut Keep::default()).unwrap_err();
    assert_eq!(error, TrainError::NothingToSelectBy { rule: "test_oracle" });
}

#[test]
fn generated_negatives_are_described_once_they_are_used() {
    let trained = json!({ "sampler": { "cnsdiff": { "gen_warmup_epochs": 3 } } });
    let model = train(&config(trained));
    for measure in ["generated_cosine_positive", "generated_cosine_across", "generated_norm_ratio"] {
        assert_eq!(curve(&model, measure).len(), 1, "{measure}");
    }
    assert_eq!(curve(&model, "diffusion").len(), 4);
    // In the released form the denoiser's random start decides: one vector for all items, far from the positives.
    let released = train(&config(json!({ "sampler": { "cnsdiff": { "variant": "as_released" } } })));
    assert!(curve(&released, "generated_cosine_across")[0] > 0.9);
    assert!(curve(&released, "generated_cosine_positive")[0].abs() < 0.2);
}

/// Epochs may be chosen by what is to be small.
#[test]
fn the_best_epoch_is_that_of_the_smallest_value_where_lower_is_better() {
    let config = config(json!({ "epochs": 6, "select": { "valid_iid": { "measure": "arp@10" } } }));
    assert_eq!(config.check(), Ok(()));
    let model = train(&config);
    let values = curve(&model, "valid_arp@10");
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(values.iter().any(|value| *value > least) && least > 0.0, "{values:?}");
    assert_eq!(values[model.best_epoch - 1], least);
}

#[test]
fn a_batch_larger_than_the_data_needs_the_short_batch() {
    let whole = json!({ "batch_size": 100_000, "epochs": 1 });
    assert_eq!(train(&config(whole.clone())).epochs, 1);
    let dropped = changed(config(whole), |gradient| gradient.drop_last = true);
    let error = train_with(&dropped, 1, None, &mut Keep::default()).unwrap_err();
    assert!(matches!(error, TrainError::NoBatch { batch_size: 100_000, .. }));
}

#[test]
fn divergence_is_told() {
    let config = config(json!({ "backbone": "mf", "optimizer": { "lr": 1e30 } }));
    let error = train_with(&config, 1, None, &mut Keep::default()).unwrap_err().to_string();
    assert!(error.contains("diverged"), "{error}");
}

/// Two epochs of LightGCN with uniform negatives, from their definition: dense f64 arithmetic on the same draws.
struct Dense<'a> {
    seed: u64,
    config: &'a Gradient,
    graph: &'a Graph,
    /// The tables, and Adam's moments of them.
    tables: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Dense<'_> {
    /// The mean of the tables after 0 to 2 propagations.
    fn encode(&self, x: &[f64]) -> Vec<f64> {
        let dim = self.config.dim;
        let (users, items) = self.graph.inv_sqrt_degrees();
        let (mut sum, mut power) = (x.to_vec(), x.to_vec());
        for _ in 0..2 {
            let mut next = vec![0.0; x.len()];
            for user in 0..self.graph.n_users {
                for &item in self.graph.items_of(user as u32) {
                    let weight = f64::from(users[user]) * f64::from(items[item as usize]);
                    let node = self.graph.n_users + item as usize;
                    for k in 0..dim {
                        next[user * dim + k] += weight * power[node * dim + k];
                        next[node * dim + k] += weight * power[user * dim + k];
                    }
                }
            }
            sum.iter_mut().zip(&next).for_each(|(sum, next)| *sum += next);
            power = next;
        }
        sum.into_iter().map(|value| value / 3.0).collect()
    }

    fn step(&mut self, pairs: &[(u32, u32)], index: u64) {
        let Gradient { dim, batch_size, ref optimizer, ref reg, .. } = *self.config;
        let users: Vec<u32> = pairs.iter().map(|pair| pair.0).collect();
        let mut negatives = Vec::new();
        let batch = Batch::of_pairs(self.seed, index, &users, &users);
        UniformDraws::new(self.graph).unwrap().draw(&batch, 1, &mut negatives);
        let rows: Vec<[usize; 3]> = pairs
            .iter()
            .zip(negatives)
            .map(|(pair, negative)| {
                [pair.0, USERS as u32 + pair.1, USERS as u32 + negative].map(|node| node as usize * dim)
            })
            .collect();
        let encoded = self.encode(&self.tables);
        let mut gradient = vec![0.0; encoded.len()];
        for &[u, i, j] in &rows {
            let margin: f64 = (0..dim).map(|k| encoded[u + k] * (encoded[i + k] - encoded[j + k])).sum();
            let slope = -1.0 / (1.0 + margin.exp()) / pairs.len() as f64;
            for k in 0..dim {
                gradient[u + k] += slope * (encoded[i + k] - encoded[j + k]);
                gradient[i + k] += slope * encoded[u + k];
                gradient[j + k] -= slope * encoded[u + k];
            }
        }
        // The operator is symmetric.
        let mut gradient = self.encode(&gradient);
        for part in 0..3 {
            let square: f64 = rows.iter().flat_map(|row| &self.tables[row[part]..row[part] + dim]).map(|x| x * x).sum();
            let slope = reg.weight / pairs.len() as f64 / batch_size as f64 / square.sqrt();
            for row in &rows {
                (row[part]..row[part] + dim).for_each(|at| gradient[at] += slope * self.tables[at]);
            }
        }
        self.steps += 1;
        for (at, g) in gradient.into_iter().enumerate() {
            self.first[at] = 0.9 * self.first[at] + 0.1 * g;
            self.second[at] = 0.999 * self.second[at] + 0.001 * g * g;
            let (first, second) =
                (self.first[at] / (1.0 - 0.9f64.powi(self.steps)), self.second[at] / (1.0 - 0.999f64.powi(self.steps)));
            self.tables[at] -= optimizer.lr * first / (second.sqrt() + optimizer.eps);
        }
    }
}

#[test]
fn a_training_is_what_its_definition_says() {
    let config = config(json!({ "epochs": 2, "batch_size": 250, "select": "last", "sampler": "uniform" }));
    let (TrainingData { graph, .. }, ..) = parts();
    let (seed, gradient) = (config.seed, config.gradient().unwrap());
    let tables: Vec<f64> = xavier_tables(seed, USERS, ITEMS, gradient.dim).into_iter().map(f64::from).collect();
    let zeros = vec![0.0; tables.len()];
    let mut dense =
        Dense { seed, config: gradient, graph: &graph, tables, first: zeros.clone(), second: zeros, steps: 0 };
    let mut index = 0;
    for epoch in 0..2 {
        let mut pairs: Vec<(u32, u32)> =
            (0..USERS as u32).flat_map(|user| graph.items_of(user).iter().map(move |&item| (user, item))).collect();
        pairs.shuffle(&mut rng::stream(seed, "batch order", epoch));
        for batch in pairs.chunks(gradient.batch_size) {
            dense.step(batch, index);
            index += 1;
        }
    }
    assert!(index > 8, "{index} steps");
    let vectors = train(&config).vectors.unwrap();
    let (found, expected) = ([&vectors.queries[..], &vectors.items].concat(), dense.encode(&dense.tables));
    let scale = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    let gap = found.iter().zip(&expected).fold(0.0f64, |max, (&a, b)| max.max((f64::from(a) - b).abs()));
    assert!(found.len() == expected.len() && gap < 1e-4 * scale, "off by {gap}, of {scale}");
}
