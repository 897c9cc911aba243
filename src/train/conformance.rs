//! What every training keeps to, whatever it is put together from: made from the lists of methods, so that a new one is
//! trained with all that it goes with by standing in one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Mutex;

use rayon::ThreadPool;
use serde_json::{Value, json};

use super::{Candidates, Config, Data, EpochEnd, Trained, Watch, fit};
use crate::data::Interactions;
use crate::method::backbone::Backbones;
use crate::method::conformance::{ITEMS, THREADS, USERS, parts, pool, variants};
use crate::method::loss::Losses;
use crate::method::recommender::Recommenders;
use crate::method::sampler::Samplers;
use crate::method::spec::List;
use crate::method::{BACKBONES, Device, LOSSES, SAMPLERS, TrainingData};

const TOP_K: usize = 5;

/// Keeps the checkpoint of every epoch.
#[derive(Default)]
struct Checkpoints(Vec<Vec<u8>>);

impl Watch for Checkpoints {
    fn epoch(&mut self, _: &EpochEnd, checkpoint: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()> {
        self.0.push(checkpoint());
        ControlFlow::Continue(())
    }
}

/// Small data, and pools of threads.
struct Bench {
    train: TrainingData,
    valid: Interactions,
    candidates: Candidates,
    pools: [ThreadPool; 3],
}

impl Bench {
    fn new() -> Self {
        let (train, valid) = parts();
        let candidates = Candidates::in_order((0..ITEMS as u32).collect(), ITEMS);
        Self { train, valid, candidates, pools: THREADS.map(pool) }
    }

    fn fit(&self, config: &Config, pool: &ThreadPool, resume: Option<&[u8]>) -> (Trained, Vec<Vec<u8>>) {
        let Self { train, valid, candidates, .. } = self;
        let data = Data { train, valid, oracle: None, candidates, sets: None };
        let kept = Mutex::new(Checkpoints::default());
        let trained = pool.install(|| fit(config, &data, Device::Cpu, resume, &mut *kept.lock().unwrap()));
        (trained.unwrap_or_else(|error| panic!("{config:?}: {error}")), kept.into_inner().unwrap().0)
    }

    /// What is trained is finite, full, and the same for any number of threads and after any interruption.
    fn assert_sound(&self, config: &Config) {
        let (whole, checkpoints) = self.fit(config, &self.pools[0], None);
        assert!(whole.curve.iter().all(|point| point.value.is_finite()), "{config:?}: {:?}", whole.curve);
        assert_eq!(whole.recommendations.len(), USERS, "{config:?}");
        for (user, list) in (0u32..).zip(&whole.recommendations) {
            assert!(list.len() == TOP_K && list.iter().all(|one| one.score.is_finite()), "{config:?}: {list:?}");
            assert!(list.iter().all(|one| !self.train.graph.contains(user, one.item)), "{config:?}");
        }
        for pool in &self.pools[1..] {
            let (other, _) = self.fit(config, pool, None);
            assert!(other == whole, "{config:?}: {} threads make a difference", pool.current_num_threads());
        }
        for (epoch, checkpoint) in (1..).zip(&checkpoints) {
            let (resumed, rest) = self.fit(config, &self.pools[1], Some(checkpoint));
            assert_eq!(
                rest.len(),
                checkpoints.len() - epoch,
                "{config:?} starts over from the checkpoint of epoch {epoch}"
            );
            assert!(resumed == whole, "{config:?}: going on after epoch {epoch} makes a difference");
        }
    }
}

/// The methods of a list as pipelines spell them: the defaults of all, and the other variants of all.
fn spelt<L: List>() -> [Vec<Value>; 2] {
    let mut spelt = [const { Vec::new() }; 2];
    for entry in L::entries() {
        for (number, choice) in variants::<L>(entry).iter().enumerate() {
            spelt[number.min(1)].push(json!({ L::KEY: choice }));
        }
    }
    spelt
}

/// A training of these parts of a pipeline, if it is legal.
fn training(parts: &[&Value]) -> Option<Config> {
    let mut written = json!({ "seed": 5, "top_k": TOP_K });
    for part in parts {
        written.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    let config: Config = serde_json::from_value(written).unwrap();
    config.check().is_ok().then_some(config)
}

/// All legal trainings of these backbones, samplers, or none, and losses, in two epochs.
fn trainings(backbones: &[Value], samplers: &[Value], losses: &[Value]) -> Vec<Config> {
    let short = json!({ "dim": 8, "batch_size": 100, "epochs": 2, "optimizer": { "lr": 0.01 } });
    let ways = [json!({}), json!({ "score": "cosine" }), json!({ "negatives": 3 })];
    let none = json!({});
    let mut trainings = Vec::new();
    for backbone in backbones {
        for sampler in samplers.iter().chain([&none]) {
            for loss in losses {
                let legal = ways.iter().filter_map(|way| training(&[&short, backbone, sampler, loss, way]));
                // Where the loss needs negatives and nothing is said, uniform ones are understood.
                let sampled = |config: &Config| config.gradient().is_some_and(|gradient| gradient.sampler.is_some());
                trainings.extend(legal.filter(|config| sampled(config) == (*sampler != none)));
            }
        }
    }
    trainings
}

/// Backbones, samplers and losses: the defaults of all with those of all others, and each variant of one with the first defaults
/// that it goes with.
fn combinations() -> Vec<Config> {
    let [backbones, other_backbones] = spelt::<Backbones>();
    let [samplers, other_samplers] = spelt::<Samplers>();
    let [losses, other_losses] = spelt::<Losses>();
    let mut combinations = trainings(&backbones, &samplers, &losses);
    let mut first = |trainings: Vec<Config>| combinations.extend(trainings.into_iter().next());
    other_backbones.into_iter().for_each(|backbone| first(trainings(&[backbone], &samplers, &losses)));
    other_samplers.into_iter().for_each(|sampler| first(trainings(&backbones, &[sampler], &losses)));
    other_losses.into_iter().for_each(|loss| first(trainings(&backbones, &samplers, &[loss])));
    combinations
}

#[test]
fn every_combination_trains_the_same_for_any_threads_and_after_any_interruption() {
    let bench = Bench::new();
    for config in combinations() {
        bench.assert_sound(&config);
    }
}

#[test]
fn every_method_is_in_some_combination() {
    let used: BTreeSet<String> =
        combinations().iter().flat_map(|config| config.components()).map(|one| one.0).collect();
    let names = |key: &str, names: Vec<&str>| names.into_iter().map(|name| format!("{key}.{name}")).collect::<Vec<_>>();
    let listed = [
        names(Backbones::KEY, BACKBONES.iter().map(|entry| entry.name).collect()),
        names(Samplers::KEY, SAMPLERS.iter().map(|entry| entry.name).collect()),
        names(Losses::KEY, LOSSES.iter().map(|entry| entry.name).collect()),
    ];
    assert_eq!(used, listed.into_iter().flatten().collect());
}

#[test]
fn every_recommender_fills_the_lists_the_same_for_any_threads() {
    let bench = Bench::new();
    let [defaults, others] = spelt::<Recommenders>();
    for recommender in defaults.iter().chain(&others) {
        bench.assert_sound(&training(&[recommender]).unwrap());
    }
}

/// The model of the best epoch, when later ones are worse, is that of a training that ends there.
#[test]
fn every_backbone_goes_back_to_its_best_epoch() {
    let bench = Bench::new();
    let pool = &bench.pools[1];
    let [defaults, others] = spelt::<Backbones>();
    for backbone in defaults.iter().chain(&others) {
        let ends = |epochs: usize, lr: f64, select: Value| {
            let way = json!({
                "dim": 8, "batch_size": 100, "epochs": epochs, "optimizer": { "lr": lr }, "select": select,
            });
            bench.fit(&training(&[backbone, &way]).unwrap(), pool, None).0
        };
        let best = |&lr: &f64| Some((lr, ends(6, lr, json!({ "valid_iid": { "every": 1, "patience": 0 } }))));
        let found = [0.01, 0.03, 0.1, 0.3].iter().find_map(|lr| best(lr).filter(|(_, model)| model.best_epoch < 6));
        let (lr, model) = found.unwrap_or_else(|| panic!("{backbone}: no later epoch is worse"));
        let ended = ends(model.best_epoch, lr, json!("last"));
        assert!(ended.vectors == model.vectors && ended.recommendations == model.recommendations, "{backbone}");
    }
}
