//! Stage kind `train`: a model trained on a split. What the language and the scheduler must know of it; how it runs is
//! in `run`, which only the worker binary holds.

mod candidates;
mod run;

use crate::engine::stage::{Facet, RawSource, Resources, Stage};
use crate::method::Mistake;
use crate::spec::{Arity, Column, Form, Output, ParamError, Port};
use crate::train::{self, CandidateRule, Config, Device};

pub use run::run;

pub struct Train;

impl Stage for Train {
    type Params = Config;

    const KIND: &'static str = "train";
    const VERSION: u32 = 4;
    const DOC: &'static str = "Trains a model and recommends items to every user.";
    const PORTS: &'static [Port] = &[
        Port {
            name: "split",
            doc: "The training part, the validation part for the choice of the epoch, and the keys of the items.",
            artifacts: &["train", "valid", "items"],
            arity: Arity::One,
        },
        Port {
            name: "oracle",
            doc: "The test that `select: test_oracle` chooses the epoch by; nothing else may use it.",
            artifacts: &["test"],
            arity: Arity::Optional,
        },
        Port {
            name: "catalogue",
            doc: "The split whose parts `candidates: {items_of: ...}` names; nothing else may use it.",
            artifacts: &["catalogue"],
            arity: Arity::Optional,
        },
        Port {
            name: "targets",
            doc: "The split whose users and test items `candidates: {sampled: ...}` ranks, or whose users `{per_user: ...}` \
                  names; nothing else may use it.",
            artifacts: &["test", "users"],
            arity: Arity::Optional,
        },
    ];
    const OUTPUTS: &'static [Output] = &[
        Output {
            name: "recommendations",
            doc: "The best items of every user, by user and rank.",
            form: Form::Table(&[
                Column { name: "user", dtype: "u32", doc: "Dense id." },
                Column {
                    name: "rank",
                    dtype: "u32",
                    doc: "From 1; equal scores by a hash of the seed and the item's key.",
                },
                Column { name: "item", dtype: "u32", doc: "Dense id." },
                Column {
                    name: "score",
                    dtype: "f32",
                    doc: "Inner product of the vectors, or the recommender's score.",
                },
                Column { name: "tied", dtype: "bool", doc: "The next item, listed or not, has the same score." },
            ]),
        },
        Output {
            name: "candidates",
            doc: "The items that were ranked; where they differ from user to user, a column `user` before it, and a row for \
                  each pair.",
            form: Form::Table(&[Column { name: "item", dtype: "u32", doc: "Dense id, ascending." }]),
        },
        Output {
            name: "embeddings",
            doc: "The vectors that are scored, users before items; none where a recommender has no vectors.",
            form: Form::Table(&[
                Column { name: "side", dtype: "utf8", doc: "`user` or `item`." },
                Column { name: "id", dtype: "u32", doc: "Dense id." },
                Column { name: "vector", dtype: "fixed_size_list<f32>", doc: "As wide as the backbone makes them." },
            ]),
        },
        Output {
            name: "curve",
            doc: "What was measured in each epoch.",
            form: Form::Table(&[
                Column { name: "epoch", dtype: "u32", doc: "From 1." },
                Column { name: "measure", dtype: "utf8", doc: "Such as `bpr` or `valid_ndcg@20`." },
                Column { name: "value", dtype: "f64", doc: "Mean over the epoch, or the metric at its end." },
            ]),
        },
        Output {
            name: "summary",
            doc: "Facts of the training; rules that are followed are 1, others 0.",
            form: Form::Table(&[
                Column { name: "name", dtype: "utf8", doc: "Such as `best_epoch` or `select_valid_iid`." },
                Column { name: "value", dtype: "f64", doc: "Its value." },
            ]),
        },
    ];

    fn check(config: &Config) -> Result<(), ParamError> {
        let told = |Mistake { path, message, help }| ParamError { path, message, help };
        config.check().map_err(told)
    }

    fn files(config: &Config) -> Vec<RawSource> {
        match &config.candidates {
            CandidateRule::Only(list) | CandidateRule::Except(list) | CandidateRule::PerUser(list) => {
                vec![RawSource { source: list.source.clone(), digest: list.digest.clone(), ..RawSource::default() }]
            }
            CandidateRule::Auto {} | CandidateRule::All {} | CandidateRule::ItemsOf(_) | CandidateRule::Sampled(_) => {
                Vec::new()
            }
        }
    }

    fn components(config: &Config) -> Vec<(String, u32)> {
        let looped = config.gradient().map(|_| ("loop".to_owned(), train::VERSION));
        config.components().into_iter().chain(looped).collect()
    }

    fn facets(config: &Config) -> Vec<Facet> {
        let mut facets = Vec::new();
        if config.gradient().is_some_and(|gradient| gradient.device != Device::Cpu) {
            facets.push(Facet::Device);
        }
        if config.needs_libtorch() {
            facets.push(Facet::Libtorch);
        }
        facets
    }

    fn resources(config: &Config) -> Resources {
        let memory_mib = 512 + (train::memory_bytes(config, None) >> 20);
        let Some(gradient) = config.gradient() else { return Resources { cores: 16, memory_mib, gpus: 0 } };
        // Kernels take blocks of 256 rows as units of parallel work; libtorch computes on one thread, so that trainings side by
        // side fill a machine better than one on many cores.
        let blocks = gradient.batch_size.div_ceil(256).clamp(1, 16);
        let cores = if config.needs_libtorch() { 1 } else { blocks };
        let gpus = if gradient.device == Device::Cpu { 0 } else { 1 };
        Resources { cores, memory_mib, gpus }
    }
}
