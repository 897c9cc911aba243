//! Parameters of CNSDiff. Defaults are those of the released code unless a field says otherwise.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of the denoiser is trained, and how it is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// As the public code does: the denoiser keeps its random start, dropout is on while sampling, and the chain
    /// always takes all steps.
    AsReleased,
    /// The denoiser learns the diffusion loss of detached positives with its own optimiser; sampling without dropout,
    /// from the start step down.
    #[default]
    Trained,
    /// As `trained`, but the weighted diffusion loss is part of the main loss: it also reaches the tables, and the
    /// denoiser follows the main optimiser.
    TrainedJoint,
}

/// The space that the diffusion lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// Encoded item vectors as they are.
    #[default]
    Raw,
    /// Divided by the root mean square of all encoded item vectors; generated negatives are multiplied back.
    RmsNormalised,
}

/// What the denoiser sees besides the noised item and the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    #[default]
    None,
    /// The encoded user vector, detached.
    User,
}

/// How noise grows with the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The variance of the noised state grows linearly.
    #[default]
    LinearVar,
    /// The variance added per step grows linearly.
    Linear,
}

/// Which of the candidates of the start steps becomes the negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The one that the user scores highest.
    #[default]
    Hardest,
    /// Any, uniformly (the ablation without hardness).
    Random,
}

/// Noise levels of the diffusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleParams {
    pub kind: ScheduleKind,
    /// Number of steps `T`.
    #[schemars(range(min = 2, max = 1_000))]
    pub steps: usize,
    /// Factor on `min` and `max`.
    #[schemars(range(min = 0, max = 1_000))]
    pub scale: f64,
    /// Variance at the first step.
    #[schemars(range(min = 0, max = 1))]
    pub min: f64,
    /// Variance at the last step.
    #[schemars(range(min = 0, max = 1))]
    pub max: f64,
}

impl Default for ScheduleParams {
    fn default() -> Self {
        Self { kind: ScheduleKind::LinearVar, steps: 20, scale: 0.1, min: 1e-4, max: 0.02 }
    }
}

/// Shape of the denoiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DenoiserParams {
    /// Width of the hidden layer.
    #[schemars(range(min = 1, max = 8_192))]
    pub hidden: usize,
    /// Width of the time embedding.
    #[schemars(range(min = 2, max = 8_192))]
    pub time: usize,
    /// Divide input rows by their norm.
    pub norm: bool,
    /// Dropout on the input, in training and, for `as_released`, in sampling.
    #[schemars(range(min = 0, max = 1))]
    pub dropout: f64,
    /// Learning rate of the denoiser (`trained` only; not from the released code, which never updates it).
    #[schemars(range(min = 0, max = 1_000))]
    pub lr: f64,
}

impl Default for DenoiserParams {
    fn default() -> Self {
        Self { hidden: 64, time: 64, norm: true, dropout: 0.5, lr: 1e-3 }
    }
}

/// Start steps of the sampling chains: `first, first + stride, ...` up to and including `last`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartParams {
    /// The first start step, counted from 1.
    #[schemars(range(min = 1, max = 1_000))]
    pub first: usize,
    /// No start step comes after this one.
    #[schemars(range(min = 1, max = 1_000))]
    pub last: usize,
    /// Steps from one start to the next.
    #[schemars(range(min = 1, max = 1_000))]
    pub stride: usize,
    pub pick: Pick,
}

impl Default for StartParams {
    fn default() -> Self {
        Self { first: 10, last: 20, stride: 4, pick: Pick::Hardest }
    }
}

/// The share of the generated vector in the mixed negative: per row from `Beta(a, b)`, whose parameters go linearly
/// from `from` to `to` over the epochs (the end is never reached), then `clamp((1 - min) share + min, 0, 1)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixParams {
    /// `[a, b]` in the first epoch.
    #[schemars(inner(range(min = 0, max = 1_000_000)))]
    pub from: [f64; 2],
    /// `[a, b]` that the last epoch comes near to.
    #[schemars(inner(range(min = 0, max = 1_000_000)))]
    pub to: [f64; 2],
    /// 1 uses the generated vector alone.
    #[schemars(range(min = 0, max = 1))]
    pub min: f64,
}

impl Default for MixParams {
    fn default() -> Self {
        Self { from: [1.0, 9.0], to: [9.0, 1.0], min: 0.0 }
    }
}

/// Parameters of CNSDiff.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cnsdiff {
    pub variant: Variant,
    /// Epochs with uniform negatives alone, in which a trained denoiser learns. Default: 0 for `as_released`, else 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub gen_warmup_epochs: Option<usize>,
    pub space: Space,
    pub condition: Condition,
    pub schedule: ScheduleParams,
    pub denoiser: DenoiserParams,
    pub start: StartParams,
    pub mix: MixParams,
    /// False: no generated negatives and no diffusion loss (the ablation without diffusion).
    pub generate: bool,
    /// Weight of the contrastive loss; 0 leaves it out.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub cl_weight: f64,
    /// Temperature of the contrastive loss.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub temperature: f64,
    /// Standard deviation of the noise on the contrastive positive.
    #[schemars(range(min = 0, max = 1_000))]
    pub positive_noise: f64,
    /// Weight of the diffusion loss in the main loss (`as_released`, `trained_joint`).
    #[schemars(range(min = 0, max = 1_000_000))]
    pub diffusion_weight: f64,
    /// Weight of the causal regulariser within the diffusion loss.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub causal_weight: f64,
    /// Weight the reconstruction error by the fall of the signal-to-noise ratio.
    pub reweight: bool,
}

impl Default for Cnsdiff {
    fn default() -> Self {
        Self {
            variant: Variant::Trained,
            gen_warmup_epochs: None,
            space: Space::Raw,
            condition: Condition::None,
            schedule: ScheduleParams::default(),
            denoiser: DenoiserParams::default(),
            start: StartParams::default(),
            mix: MixParams::default(),
            generate: true,
            cl_weight: 0.3,
            temperature: 2.0,
            positive_noise: 0.01,
            diffusion_weight: 1e-6,
            causal_weight: 0.1,
            reweight: true,
        }
    }
}

impl Cnsdiff {
    /// The warm-up that applies.
    pub fn warmup(&self) -> usize {
        self.gen_warmup_epochs.unwrap_or(match self.variant {
            Variant::AsReleased => 0,
            Variant::Trained | Variant::TrainedJoint => 10,
        })
    }

    /// The dropout of the sampling chains.
    pub fn chain_dropout(&self) -> f64 {
        if self.variant == Variant::AsReleased { self.denoiser.dropout } else { 0.0 }
    }

    /// The start steps in ascending order.
    pub fn starts(&self) -> Vec<usize> {
        (self.start.first..=self.start.last).step_by(self.start.stride.max(1)).collect()
    }

    /// The first parameter that is out of range.
    pub fn mistake(&self) -> Option<(&'static [&'static str], String)> {
        let ScheduleParams { steps, scale, min, max, .. } = self.schedule;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let weight = |value: f64| value.is_finite() && value >= 0.0;
        let checks: [(bool, &'static [&'static str], String); 15] = [
            ((2..=1000).contains(&steps), &["schedule", "steps"], format!("{steps} is not in 2..1000")),
            (positive(scale), &["schedule", "scale"], format!("{scale} must be positive")),
            (positive(min) && min <= max, &["schedule", "min"], format!("{min} must be positive and at most `max`")),
            (scale * max < 1.0, &["schedule", "max"], format!("scale x max = {} must be below 1", scale * max)),
            (self.denoiser.hidden > 0, &["denoiser", "hidden"], "must be at least 1".into()),
            (self.denoiser.time > 1, &["denoiser", "time"], "must be at least 2".into()),
            (
                (0.0..1.0).contains(&self.denoiser.dropout),
                &["denoiser", "dropout"],
                format!("{} is not in 0 <= p < 1", self.denoiser.dropout),
            ),
            (positive(self.denoiser.lr), &["denoiser", "lr"], "must be positive".into()),
            (
                self.start.first >= 1 && self.start.first <= self.start.last && self.start.last <= steps,
                &["start"],
                format!(
                    "{}..{} is not within 1..{steps}, the steps of the schedule",
                    self.start.first, self.start.last
                ),
            ),
            (self.start.stride > 0, &["start", "stride"], "must be at least 1".into()),
            (
                self.mix.from.iter().chain(&self.mix.to).all(|&value| positive(value)),
                &["mix"],
                "the parameters of the Beta distribution must be positive".into(),
            ),
            ((0.0..=1.0).contains(&self.mix.min), &["mix", "min"], format!("{} is not in 0..1", self.mix.min)),
            (positive(self.temperature), &["temperature"], "must be positive".into()),
            (weight(self.cl_weight) && weight(self.positive_noise), &["cl_weight"], "must be at least 0".into()),
            (
                weight(self.diffusion_weight) && weight(self.causal_weight),
                &["diffusion_weight"],
                "must be at least 0".into(),
            ),
        ];
        checks.into_iter().find(|(fine, ..)| !fine).map(|(_, path, message)| (path, message))
    }
}
