use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Recommender, RecommenderMethod};
use crate::method::{Method, MethodError, TrainingData};

/// The items that most users have interacted with, for everyone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Popularity {}

impl Method for Popularity {
    const NAME: &'static str = "popularity";
    const VERSION: u32 = 1;
    const DOC: &'static str = "The items that most users have interacted with in training, for everyone.";
    const SOURCE: &'static str = "Counts of distinct training pairs.";
}

impl RecommenderMethod for Popularity {
    fn fit(self, data: &TrainingData, _: u64) -> Result<Box<dyn Recommender>, MethodError> {
        Ok(Box::new(Counts(data.popularity().iter().map(|&count| count as f32).collect())))
    }
}

struct Counts(Vec<f32>);

impl Recommender for Counts {
    fn scores(&self, _: u32, _: &[u32], scores: &mut [f32]) {
        scores.copy_from_slice(&self.0);
    }
}
