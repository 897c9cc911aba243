//! What can be said about a training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidates::CandidateRule;
use super::regularisation::Regularisation;
pub use super::select::{Criterion, Select};
use super::spelling;
use crate::model::{AdamParams, Backbone};
use crate::sampler::SamplerParams;

/// A training, completely described. Parameterised choices are written `name: {parameters}`; the name alone is short
/// for all defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `mf` or `lightgcn: {layers: 2}`.
    #[serde(deserialize_with = "spelling::deserialize")]
    #[schemars(schema_with = "spelling::schema::<Backbone>")]
    pub backbone: Backbone,
    /// Width of the vectors.
    #[serde(default = "defaults::dim")]
    #[schemars(range(min = 1, max = 4_096))]
    pub dim: usize,
    /// `uniform` or `cnsdiff: {...}`.
    #[serde(default = "defaults::sampler", deserialize_with = "spelling::deserialize")]
    #[schemars(schema_with = "spelling::schema::<SamplerParams>")]
    pub sampler: SamplerParams,
    #[serde(default)]
    pub loss: Loss,
    /// Adam.
    #[serde(default)]
    pub optimizer: AdamParams,
    /// Training pairs per step.
    #[serde(default = "defaults::batch_size")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_size: usize,
    /// Epochs at most.
    #[serde(default = "defaults::epochs")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: usize,
    #[serde(default)]
    pub reg: Regularisation,
    /// Everything random follows from it.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub seed: u64,
    /// Which epoch's tables are used: `valid_iid: {...}`, `last`, or `test_oracle: {...}`.
    #[serde(default = "defaults::select", deserialize_with = "spelling::deserialize")]
    #[schemars(schema_with = "spelling::schema::<Select>")]
    pub select: Select,
    /// Recommendations per user: the largest cut-off that will be asked for.
    #[serde(default = "defaults::top_k")]
    #[schemars(range(min = 1, max = 10_000))]
    pub top_k: usize,
    /// Which items are ranked: `auto` (the target domain's where there are two domains, else all), `all`,
    /// `items_of: [ood]`, `only: {source: FILE}` or `except: {source: FILE}`.
    #[serde(default = "defaults::candidates", deserialize_with = "spelling::deserialize")]
    #[schemars(schema_with = "spelling::schema::<CandidateRule>")]
    pub candidates: CandidateRule,
    #[serde(default)]
    pub mask: Mask,
    #[serde(default)]
    pub device: Device,
    /// Leave the short last batch of an epoch out.
    #[serde(default)]
    pub drop_last: bool,
}

/// What a step minimises besides the regularisation and what the sampler adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Bayesian personalised ranking.
    #[default]
    Bpr,
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
    /// libtorch if it is a GPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU; the stage fails where there is none.
    Cuda,
}

mod defaults {
    use super::{CandidateRule, SamplerParams, Select};

    pub fn dim() -> usize {
        64
    }

    pub fn sampler() -> SamplerParams {
        SamplerParams::Uniform {}
    }

    pub fn batch_size() -> usize {
        2048
    }

    pub fn epochs() -> usize {
        100
    }

    pub fn select() -> Select {
        Select::default()
    }

    pub fn top_k() -> usize {
        20
    }

    pub fn candidates() -> CandidateRule {
        CandidateRule::Auto {}
    }
}

/// A parameter that makes no sense: the keys that lead to it, and what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    pub path: Vec<&'static str>,
    pub message: String,
}

impl Config {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<(), Mistake> {
        let mistake = |path: &[&'static str], message: String| Err(Mistake { path: path.to_vec(), message });
        for (name, value) in
            [("dim", self.dim), ("batch_size", self.batch_size), ("epochs", self.epochs), ("top_k", self.top_k)]
        {
            if value == 0 {
                return mistake(&[name], "must be at least 1".into());
            }
        }
        if self.batch_size > 1 << 20 {
            return mistake(&["batch_size"], format!("{} is above 1048576", self.batch_size));
        }
        let AdamParams { lr, betas, eps } = self.optimizer;
        if !(lr.is_finite() && lr > 0.0) {
            return mistake(&["optimizer", "lr"], format!("{lr} is not positive"));
        }
        if betas.iter().any(|beta| !(0.0..1.0).contains(beta)) {
            return mistake(&["optimizer", "betas"], "must lie in 0 <= beta < 1".into());
        }
        if !(eps.is_finite() && eps > 0.0) {
            return mistake(&["optimizer", "eps"], format!("{eps} is not positive"));
        }
        if !(self.reg.weight.is_finite() && self.reg.weight >= 0.0) {
            return mistake(&["reg", "weight"], format!("{} must be at least 0", self.reg.weight));
        }
        if let SamplerParams::Cnsdiff(params) = &self.sampler
            && let Some((path, message)) = params.mistake()
        {
            return mistake(&[&["sampler", "cnsdiff"], path].concat(), message);
        }
        if self.candidates == CandidateRule::ItemsOf(Vec::new()) {
            return mistake(&["candidates", "items_of"], "is empty".into());
        }
        if let Some((name, measure, every)) = self.select.evaluation() {
            if let Err(error) = Criterion::parse(measure) {
                return mistake(&["select", name, "measure"], error.to_string());
            }
            if every == 0 {
                return mistake(&["select", name, "every"], "must be at least 1".into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::cnsdiff::Variant;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<Config, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn a_name_alone_means_its_defaults() {
        let short = read(json!({ "backbone": "lightgcn", "sampler": "cnsdiff", "seed": 1, "select": "last" })).unwrap();
        assert_eq!(short.backbone, Backbone::Lightgcn { layers: 2 });
        assert_eq!(short.sampler, SamplerParams::Cnsdiff(Box::default()));
        let written = serde_json::to_value(&short).unwrap();
        assert_eq!(written["backbone"], json!({ "lightgcn": { "layers": 2 } }));
        assert_eq!(written["select"], json!({ "last": {} }));
        assert_eq!(read(written).unwrap(), short);
    }

    #[test]
    fn parameters_are_read_and_unknown_ones_refused() {
        let long =
            json!({ "backbone": { "mf": {} }, "sampler": { "cnsdiff": { "variant": "as_released" } }, "seed": 1 });
        let SamplerParams::Cnsdiff(params) = read(long).unwrap().sampler else { panic!() };
        assert_eq!((params.variant, params.warmup()), (Variant::AsReleased, 0));
        for (wrong, told) in [
            (json!({ "backbone": "ngfc", "seed": 1 }), "ngfc"),
            (json!({ "backbone": { "lightgcn": { "layer": 2 } }, "seed": 1 }), "layer"),
            (json!({ "backbone": "mf", "seed": 1, "sampler": { "cnsdiff": { "temp": 2 } } }), "temp"),
            (json!({ "backbone": { "mf": {}, "lightgcn": {} }, "seed": 1 }), ""),
        ] {
            let error = read(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        let config = |change: fn(&mut Value)| {
            let mut value = json!({ "backbone": "mf", "seed": 1 });
            change(&mut value);
            read(value).unwrap().check()
        };
        assert_eq!(config(|_| ()), Ok(()));
        assert_eq!(config(|v| v["epochs"] = json!(0)).unwrap_err().path, ["epochs"]);
        assert_eq!(config(|v| v["optimizer"] = json!({ "lr": -1.0 })).unwrap_err().path, ["optimizer", "lr"]);
        let measure = config(|v| v["select"] = json!({ "valid_iid": { "measure": "ndgc@20" } })).unwrap_err();
        assert_eq!(measure.path, ["select", "valid_iid", "measure"]);
        let candidates = config(|v| v["candidates"] = json!({ "items_of": [] })).unwrap_err();
        assert_eq!(candidates.path, ["candidates", "items_of"]);
        let start = config(|v| v["sampler"] = json!({ "cnsdiff": { "start": { "last": 40 } } })).unwrap_err();
        assert_eq!(start.path, ["sampler", "cnsdiff", "start"]);
    }

    #[test]
    fn the_schema_allows_both_spellings() {
        let schema = schemars::schema_for!(Config).to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for fine in [json!("mf"), json!({ "lightgcn": { "layers": 3 } }), json!({ "lightgcn": {} })] {
            assert!(validator.is_valid(&json!({ "backbone": fine, "seed": 1 })), "{fine}");
        }
        for wrong in [json!("ngcf"), json!({ "lightgcn": { "layers": -1 } }), json!(3)] {
            assert!(!validator.is_valid(&json!({ "backbone": wrong, "seed": 1 })), "{wrong}");
        }
        let with = |candidates: &Value| json!({ "backbone": "mf", "seed": 1, "candidates": candidates });
        for fine in [json!("all"), json!({ "items_of": ["iid", "ood"] }), json!({ "except": { "source": "x.txt" } })] {
            assert!(validator.is_valid(&with(&fine)) && read(with(&fine)).is_ok(), "{fine}");
        }
        // A choice that needs parameters has no short spelling.
        for wrong in [json!("items_of"), json!("only"), json!({ "items_of": ["test"] }), json!({ "except": {} })] {
            let refused = read(with(&wrong)).is_err() || read(with(&wrong)).unwrap().check().is_err();
            assert!(!validator.is_valid(&with(&wrong)) && refused, "{wrong}");
        }
    }
}
