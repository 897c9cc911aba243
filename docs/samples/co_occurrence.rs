use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Recommender, RecommenderMethod};
use crate::data::Graph;
use crate::method::{Method, MethodError, TrainingData};

/// How many users an item shares with the items of the user.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoOccurrence {}

impl Method for CoOccurrence {
    const NAME: &'static str = "co_occurrence";
    const VERSION: u32 = 1;
    const DOC: &'static str = "How many users an item shares with the items of the user.";
    const SOURCE: &'static str = "A sample for docs/adding-a-method.md, of no paper.";
}

impl RecommenderMethod for CoOccurrence {
    fn fit(self, data: &TrainingData, _seed: u64) -> Result<Box<dyn Recommender>, MethodError> {
        Ok(Box::new(Shared(data.graph.clone())))
    }
}

struct Shared(Graph);

impl Recommender for Shared {
    fn scores(&self, _user: u32, items: &[u32], scores: &mut [f32]) {
        scores.fill(0.0);
        for &user in items.iter().flat_map(|&item| self.0.users_of(item)) {
            for &other in self.0.items_of(user) {
                scores[other as usize] += 1.0;
            }
        }
    }
}
