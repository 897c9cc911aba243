//! What can be said about a training.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::candidates::CandidateRule;
pub use super::select::{Criterion, Select};
use crate::method::backbone::Backbones;
use crate::method::loss::{Losses, Need};
use crate::method::recommender::Recommenders;
use crate::method::sampler::Samplers;
use crate::method::{self, Choice, Mistake, Optimizer, Regularisation, Schedule};

/// A training, completely described: with gradients, or by a recommender that needs none. Parameterised choices are
/// written `name: {parameters}`; the name alone is short for all defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Config {
    pub model: Model,
    /// Everything random follows from it.
    pub seed: u64,
    /// Recommendations per user.
    pub top_k: usize,
    pub candidates: CandidateRule,
    pub mask: Mask,
}

/// What is trained or fitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    Gradient(Box<Gradient>),
    Recommender {
        method: Choice<Recommenders>,
        /// Parameters that are given and mean nothing for it.
        misplaced: Vec<&'static str>,
    },
    /// Neither is given.
    Missing,
}

/// A training with gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    pub backbone: Choice<Backbones>,
    /// Width of the trained vectors.
    pub dim: usize,
    /// None where the loss takes no negatives.
    pub sampler: Option<Choice<Samplers>>,
    /// Negatives per positive.
    pub negatives: usize,
    pub loss: Choice<Losses>,
    pub score: ScoreForm,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    /// Rows, or sequences, per step.
    pub batch_size: usize,
    /// Epochs at most.
    pub epochs: usize,
    pub reg: Regularisation,
    pub select: Select,
    pub device: Device,
    /// Leave the short last batch of an epoch out.
    pub drop_last: bool,
}

/// A training as pipelines spell it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Config")]
struct Written {
    /// What makes the vectors: `mf`, `lightgcn: {layers: 2}`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backbone: Option<Choice<Backbones>>,
    /// A method that needs no gradient, in place of a backbone: `popularity`, `item_knn: {neighbours: 100}`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recommender: Option<Choice<Recommenders>>,
    /// Width of the trained vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_096), extend("default" = 64))]
    dim: Option<usize>,
    /// Where negatives come from: `uniform`, `cnsdiff: {...}`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sampler: Option<Choice<Samplers>>,
    /// Negatives per positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000), extend("default" = 1))]
    negatives: Option<usize>,
    /// What a step minimises besides the regularisation and what sampler and backbone add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss: Option<Choice<Losses>>,
    /// What a score is, in the loss, for the sampler and in the ranking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "inner_product"))]
    score: Option<ScoreForm>,
    /// How trained values follow their gradient: Adam unless another rule is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    optimizer: Option<Optimizer>,
    /// How the learning rate goes over the epochs.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_schedule")]
    #[schemars(schema_with = "method::choice_schema::<Schedule>")]
    schedule: Option<Schedule>,
    /// Training pairs per step, or sequences for backbones of sequences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576), extend("default" = 2_048))]
    batch_size: Option<usize>,
    /// Epochs at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 100))]
    epochs: Option<usize>,
    /// Penalty on the table rows of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reg: Option<Regularisation>,
    /// Everything random follows from it.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    seed: u64,
    /// Which epoch's model is used: `valid_iid: {...}`, `last`, or `test_oracle: {...}`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_select")]
    #[schemars(schema_with = "method::choice_schema::<Select>")]
    select: Option<Select>,
    /// Recommendations per user: the largest cut-off that will be asked for.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 10_000))]
    top_k: usize,
    /// Which items are ranked: `auto` (the target domain's where there are two domains, else all), `all`,
    /// `items_of: [ood]`, `only: {source: FILE}`, `except: {source: FILE}`, or items that differ from user to user:
    /// `sampled: {of: [ood], negatives: 99}`, `per_user: {source: FILE}`.
    #[serde(default, deserialize_with = "method::read_choice")]
    #[schemars(schema_with = "method::choice_schema::<CandidateRule>")]
    candidates: CandidateRule,
    #[serde(default)]
    mask: Mask,
    /// Where training runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "auto"))]
    device: Option<Device>,
    /// Leave the short last batch of an epoch out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    drop_last: Option<bool>,
}

fn optional_schedule<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Schedule>, D::Error> {
    method::read_choice(deserializer).map(Some)
}

fn optional_select<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Select>, D::Error> {
    method::read_choice(deserializer).map(Some)
}

fn twenty() -> usize {
    20
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        Written::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

/// What a score is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreForm {
    /// The inner product of the two vectors.
    #[default]
    InnerProduct,
    /// The cosine of their angle: vectors are divided by their norm.
    Cosine,
}

/// Items that are never recommended to a user. Validation always ranks with the training items masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// Those of the training part.
    Train,
    /// Those of the training and of the validation part.
    #[default]
    TrainValid,
}

/// Where training runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A GPU where libtorch finds one, else the processor. Which of the two enters the stage key, with the version of
    /// libtorch if that computes.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU; the stage fails where there is none.
    Cuda,
}

impl From<Written> for Config {
    fn from(written: Written) -> Self {
        let model = match (&written.backbone, &written.recommender) {
            (_, Some(method)) => {
                Model::Recommender { method: method.clone(), misplaced: written.given_for_gradients() }
            }
            (Some(backbone), None) => Model::Gradient(Box::new(written.gradient(backbone.clone()))),
            (None, None) => Model::Missing,
        };
        let Written { seed, top_k, candidates, mask, .. } = written;
        Self { model, seed, top_k, candidates, mask }
    }
}

/// A method of a list with all defaults; there is one of this name.
fn by_default<L: method::spec::List>(name: &str) -> Choice<L> {
    match Choice::new(name, &serde_json::json!({})) {
        Ok(choice) => choice,
        Err(error) => panic!("{error}"),
    }
}

impl Written {
    fn gradient(&self, backbone: Choice<Backbones>) -> Gradient {
        let loss = self.loss.clone().unwrap_or_else(|| by_default("bpr"));
        let sampled = loss.traits().negatives == Need::Required;
        let sampler = self.sampler.clone().or_else(|| sampled.then(|| by_default("uniform")));
        Gradient {
            backbone,
            dim: self.dim.unwrap_or(64),
            sampler,
            negatives: self.negatives.unwrap_or(1),
            loss,
            score: self.score.unwrap_or_default(),
            optimizer: self.optimizer.clone().unwrap_or_default(),
            schedule: self.schedule.clone().unwrap_or_default(),
            batch_size: self.batch_size.unwrap_or(2_048),
            epochs: self.epochs.unwrap_or(100),
            reg: self.reg.clone().unwrap_or_default(),
            select: self.select.clone().unwrap_or_default(),
            device: self.device.unwrap_or_default(),
            drop_last: self.drop_last.unwrap_or_default(),
        }
    }

    /// The keys that are given and that only a training with gradients has.
    fn given_for_gradients(&self) -> Vec<&'static str> {
        let given = [
            ("backbone", self.backbone.is_some()),
            ("dim", self.dim.is_some()),
            ("sampler", self.sampler.is_some()),
            ("negatives", self.negatives.is_some()),
            ("loss", self.loss.is_some()),
            ("score", self.score.is_some()),
            ("optimizer", self.optimizer.is_some()),
            ("schedule", self.schedule.is_some()),
            ("batch_size", self.batch_size.is_some()),
            ("epochs", self.epochs.is_some()),
            ("reg", self.reg.is_some()),
            ("select", self.select.is_some()),
            ("device", self.device.is_some()),
            ("drop_last", self.drop_last.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }
}

impl From<Config> for Written {
    fn from(config: Config) -> Self {
        let Config { model, seed, top_k, candidates, mask } = config;
        let common = Self {
            backbone: None,
            recommender: None,
            dim: None,
            sampler: None,
            negatives: None,
            loss: None,
            score: None,
            optimizer: None,
            schedule: None,
            batch_size: None,
            epochs: None,
            reg: None,
            seed,
            select: None,
            top_k,
            candidates,
            mask,
            device: None,
            drop_last: None,
        };
        match model {
            Model::Missing => common,
            Model::Recommender { method, .. } => Self { recommender: Some(method), ..common },
            Model::Gradient(gradient) => {
                let Gradient { backbone, dim, sampler, negatives, loss, score, optimizer, .. } = *gradient;
                let sampled = sampler.is_some();
                Self {
                    backbone: Some(backbone),
                    dim: Some(dim),
                    sampler,
                    negatives: sampled.then_some(negatives),
                    loss: Some(loss),
                    score: Some(score),
                    optimizer: Some(optimizer),
                    schedule: Some(gradient.schedule),
                    batch_size: Some(gradient.batch_size),
                    epochs: Some(gradient.epochs),
                    reg: Some(gradient.reg),
                    select: Some(gradient.select),
                    device: Some(gradient.device),
                    drop_last: Some(gradient.drop_last),
                    ..common
                }
            }
        }
    }
}

impl Config {
    /// Checks what types cannot: values out of range, and what cannot be combined.
    pub fn check(&self) -> Result<(), Mistake> {
        Mistake::unless(self.top_k > 0, &["top_k"], "must be at least 1")?;
        self.candidates.check()?;
        match &self.model {
            Model::Gradient(gradient) => gradient.check(),
            Model::Recommender { method, misplaced } => {
                if let Some(key) = misplaced.first() {
                    let message =
                        format!("means nothing for `recommender: {}`, which needs no gradient", method.name());
                    let help = match *key {
                        "backbone" => "take `backbone` or `recommender` out".to_owned(),
                        _ => format!("take `{key}` out, or choose a `backbone` in the place of the recommender"),
                    };
                    return Err(Mistake::new(&[key], message).with_help(help));
                }
                method.check()
            }
            Model::Missing => Err(Mistake::new(&[], "neither `backbone` nor `recommender` is given").with_help(
                "write `backbone: mf` for a training, or `recommender: popularity` for one without gradient",
            )),
        }
    }

    /// The training with gradients, if it is one.
    pub fn gradient(&self) -> Option<&Gradient> {
        match &self.model {
            Model::Gradient(gradient) => Some(gradient),
            Model::Recommender { .. } | Model::Missing => None,
        }
    }

    /// The methods that it is made of, as keys call them, and their versions.
    pub fn components(&self) -> Vec<(String, u32)> {
        match &self.model {
            Model::Missing => Vec::new(),
            Model::Recommender { method, .. } => vec![method.component()],
            Model::Gradient(gradient) => {
                let Gradient { backbone, sampler, loss, .. } = &**gradient;
                let pieces =
                    [Some(backbone.component()), sampler.as_ref().map(Choice::component), Some(loss.component())];
                pieces.into_iter().flatten().collect()
            }
        }
    }

    /// Whether it computes with libtorch on the processor too.
    pub fn needs_libtorch(&self) -> bool {
        self.gradient().is_some_and(Gradient::needs_libtorch)
    }
}

impl Gradient {
    /// Whether vectors are those of all hops, one after the other.
    pub fn by_hops(&self) -> bool {
        self.sampler.as_ref().is_some_and(|sampler| sampler.traits().by_hops)
    }

    fn needs_libtorch(&self) -> bool {
        let backbone = self.backbone.traits();
        backbone.libtorch || self.loss.traits().libtorch || self.by_hops() && backbone.hops > 1
    }

    fn check(&self) -> Result<(), Mistake> {
        let sizes = [
            ("dim", self.dim, 4_096),
            ("batch_size", self.batch_size, 1 << 20),
            ("epochs", self.epochs, 1_000_000),
            ("negatives", self.negatives, 10_000),
        ];
        for (name, value, most) in sizes {
            Mistake::unless(value > 0, &[name], "must be at least 1")?;
            Mistake::unless(value <= most, &[name], format!("{value} is above {most}"))?;
        }
        self.optimizer.check()?;
        self.schedule.check()?;
        let weight = self.reg.weight;
        Mistake::unless(
            weight.is_finite() && weight >= 0.0,
            &["reg", "weight"],
            format!("{weight} must be at least 0"),
        )?;
        self.backbone.check()?;
        self.loss.check()?;
        if let Some(sampler) = &self.sampler {
            sampler.check()?;
        }
        self.check_combination()?;
        if let Some((name, measure, every)) = self.select.evaluation() {
            if let Err(error) = Criterion::parse(measure) {
                return Err(Mistake::new(&["select", name, "measure"], error.to_string()));
            }
            Mistake::unless(every > 0, &["select", name, "every"], "must be at least 1")?;
        }
        Ok(())
    }

    /// What the chosen methods ask of each other.
    fn check_combination(&self) -> Result<(), Mistake> {
        let (backbone, loss) = (self.backbone.traits(), self.loss.traits());
        if backbone.heads > 0 && !self.dim.is_multiple_of(backbone.heads) {
            let message = format!("`dim: {}` cannot be divided among {} heads", self.dim, backbone.heads);
            return Err(Mistake::new(&["backbone", self.backbone.name(), "heads"], message));
        }
        let Some(sampler) = &self.sampler else {
            let message = format!("means nothing for `loss: {}`, which takes no negatives", self.loss.name());
            let mistake =
                || Mistake::new(&["negatives"], message).with_help("take `negatives` out, or choose another loss");
            return if self.negatives == 1 { Ok(()) } else { Err(mistake()) };
        };
        let (traits, name) = (sampler.traits(), sampler.name());
        if loss.negatives == Need::Forbidden {
            let message = format!("`loss: {}` takes no negatives, so there is nothing to sample", self.loss.name());
            return Err(Mistake::new(&["sampler"], message).with_help("take `sampler` out, or choose another loss"));
        }
        if !traits.many && self.negatives > 1 {
            let message = format!("`sampler: {name}` gives one negative per positive, not {}", self.negatives);
            return Err(
                Mistake::new(&["negatives"], message).with_help("write `negatives: 1`, or choose another sampler")
            );
        }
        if traits.by_hops && backbone.hops == 0 {
            let message =
                format!("`{name}` mixes the hops of a graph, and `backbone: {}` has none", self.backbone.name());
            return Err(Mistake::new(&["sampler"], message)
                .with_help("choose `lightgcn`, or `mf`, which is a graph of no hops"));
        }
        if let (true, Some(width)) = (traits.by_hops, backbone.hop_width.filter(|&width| width != self.dim)) {
            let message = format!(
                "`{name}` mixes hops of one width, and those of `backbone: {}` are {width} and `dim: {}`",
                self.backbone.name(),
                self.dim
            );
            return Err(Mistake::new(&["dim"], message).with_help(format!("write `dim: {width}`")));
        }
        if traits.by_hops && self.score == ScoreForm::Cosine {
            let message = format!("`{name}` mixes hops before they are scored, which `cosine` does not go with");
            return Err(Mistake::new(&["score"], message).with_help("write `score: inner_product`"));
        }
        if traits.makes_vectors && loss.log_q {
            let message = format!("the negatives of `{name}` are vectors, which have no probability to correct by");
            return Err(Mistake::new(&["loss", self.loss.name(), "log_q"], message).with_help("write `log_q: false`"));
        }
        if loss.log_q && !traits.log_q {
            let message = format!("with which probability `sampler: {name}` gives its negatives is not known");
            return Err(Mistake::new(&["loss", self.loss.name(), "log_q"], message)
                .with_help("write `log_q: false`, or choose the sampler `uniform` or `popularity`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
