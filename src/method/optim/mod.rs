//! Optimisers: how tensors follow their gradients, and how the learning rate goes over the epochs.

mod schedule;
mod step;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use schedule::Schedule;
pub use step::apply;

use super::spec::Mistake;

/// The optimiser and its learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    pub rule: RuleName,
    /// Learning rate, of the first epoch where a schedule changes it.
    #[schemars(range(min = 0, max = 1_000))]
    pub lr: f64,
    /// Decay of the first and the second moment (`adam`, `adam_w`).
    #[schemars(inner(range(min = 0, max = 1)))]
    pub betas: [f64; 2],
    /// Added to the root of the second moment (`adam`, `adam_w`).
    #[schemars(range(min = 0, max = 1))]
    pub eps: f64,
    /// Share of the last step that is added to each (`sgd`).
    #[schemars(range(min = 0, max = 1))]
    pub momentum: f64,
    /// Pull of all trained values towards 0, as PyTorch does it: part of the gradient (`adam`, `sgd`), or apart from it and
    /// times the learning rate (`adam_w`).
    #[schemars(range(min = 0, max = 1_000))]
    pub weight_decay: f64,
    /// The gradient of a step is shortened to this norm over all trained values where it is longer; 0 leaves it.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub clip_norm: f64,
}

/// Which optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleName {
    /// Adam (Kingma & Ba, ICLR 2015).
    #[default]
    Adam,
    /// Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019).
    AdamW,
    /// Stochastic gradient descent, with momentum as PyTorch has it.
    Sgd,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            rule: RuleName::Adam,
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            momentum: 0.0,
            weight_decay: 0.0,
            clip_norm: 0.0,
        }
    }
}

impl Optimizer {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<(), Mistake> {
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let unless = |holds: bool, key: &str, message: String| Mistake::unless(holds, &["optimizer", key], message);
        unless(self.lr.is_finite() && self.lr > 0.0, "lr", format!("{} is not positive", self.lr))?;
        unless(self.betas.iter().all(|beta| (0.0..1.0).contains(beta)), "betas", "must lie in 0 <= beta < 1".into())?;
        unless(self.eps.is_finite() && self.eps > 0.0, "eps", format!("{} is not positive", self.eps))?;
        unless((0.0..1.0).contains(&self.momentum), "momentum", "must lie in 0 <= momentum < 1".into())?;
        unless(self.momentum == 0.0 || self.rule == RuleName::Sgd, "momentum", "is for `rule: sgd` alone".into())?;
        unless(not_negative(self.weight_decay), "weight_decay", format!("{} must be at least 0", self.weight_decay))?;
        unless(not_negative(self.clip_norm), "clip_norm", format!("{} must be at least 0", self.clip_norm))
    }

    /// The rule without its learning rate.
    pub fn rule(&self) -> Rule {
        match self.rule {
            RuleName::Adam => {
                Rule::Adam { betas: self.betas, eps: self.eps, decay: self.weight_decay, decoupled: false }
            }
            RuleName::AdamW => {
                Rule::Adam { betas: self.betas, eps: self.eps, decay: self.weight_decay, decoupled: true }
            }
            RuleName::Sgd => Rule::Sgd { momentum: self.momentum, decay: self.weight_decay },
        }
    }
}

/// How a tensor follows its gradient.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    Adam { betas: [f64; 2], eps: f64, decay: f64, decoupled: bool },
    Sgd { momentum: f64, decay: f64 },
}

impl Default for Rule {
    fn default() -> Self {
        Optimizer::default().rule()
    }
}

impl Rule {
    /// How many moments it keeps of each value, two at most.
    pub fn moments(&self) -> usize {
        match self {
            Self::Adam { .. } => 2,
            Self::Sgd { momentum, .. } => usize::from(*momentum > 0.0),
        }
    }
}

/// One step of the optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<'a> {
    pub rule: &'a Rule,
    pub lr: f64,
    /// From 1.
    pub step: u64,
    /// Factor on the gradient.
    pub scale: f32,
}
