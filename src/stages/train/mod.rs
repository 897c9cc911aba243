//! Stage kind `train`: a model trained on a split. What the language and the scheduler must know of it; how it runs is
//! in `run`, which only the worker binary holds.

#[cfg(feature = "torch")]
mod candidates;
#[cfg(feature = "torch")]
mod run;

use crate::engine::stage::{Facet, RawSource, Resources, Stage};
use crate::spec::{Arity, Column, Form, Output, ParamError, Port};
use crate::train::{CandidateRule, Config, Device};

#[cfg(feature = "torch")]
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
                Column { name: "score", dtype: "f32", doc: "Inner product of the vectors." },
                Column { name: "tied", dtype: "bool", doc: "The next item, listed or not, has the same score." },
            ]),
        },
        Output {
            name: "candidates",
            doc: "The items that were ranked.",
            form: Form::Table(&[Column { name: "item", dtype: "u32", doc: "Dense id, ascending." }]),
        },
        Output {
            name: "embeddings",
            doc: "The vectors that are scored, users before items.",
            form: Form::Table(&[
                Column { name: "side", dtype: "utf8", doc: "`user` or `item`." },
                Column { name: "id", dtype: "u32", doc: "Dense id." },
                Column { name: "vector", dtype: "fixed_size_list<f32>", doc: "Of length `dim`." },
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
        config.check().map_err(|mistake| ParamError {
            path: mistake.path.into_iter().map(str::to_owned).collect(),
            message: mistake.message,
            help: None,
        })
    }

    fn files(config: &Config) -> Vec<RawSource> {
        match &config.candidates {
            CandidateRule::Only(list) | CandidateRule::Except(list) => {
                vec![RawSource { source: list.source.clone(), digest: list.digest.clone(), ..RawSource::default() }]
            }
            CandidateRule::Auto {} | CandidateRule::All {} | CandidateRule::ItemsOf(_) => Vec::new(),
        }
    }

    /// On the processor nothing is computed with libtorch.
    fn facets(config: &Config) -> Vec<Facet> {
        match config.device {
            Device::Auto | Device::Cuda => vec![Facet::Device],
            Device::Cpu => Vec::new(),
        }
    }

    fn resources(config: &Config) -> Resources {
        // Blocks of 256 rows are the unit of parallel work. The tables' size is not known here: an allowance for
        // 100,000 users and items with moments, gradients and the best tables, and for a batch against its negatives.
        let (dim, batch_size) = (config.dim as u64, config.batch_size as u64);
        let tables = (8 * 100_000 * 4_u64).saturating_mul(dim);
        let batch = (4 * 2 * 4 * batch_size).saturating_mul(batch_size);
        let cores = config.batch_size.div_ceil(256).clamp(1, 16);
        let gpus = if config.device == Device::Cpu { 0 } else { 1 };
        Resources { cores, memory_mib: 512 + (tables.saturating_add(batch) >> 20), gpus }
    }
}
