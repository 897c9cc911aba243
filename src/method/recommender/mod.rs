//! Recommenders that need no gradient: fitted once, then asked for the scores of all items.

#[cfg(test)]
#[path = "../../../docs/samples/co_occurrence.rs"]
mod co_occurrence;
mod item_knn;
mod popularity;

use super::Setup;
use super::data::TrainingData;
use super::spec::{Method, MethodError, methods};

/// What is asked of a recommender before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecommenderTraits {
    /// Numbers that it holds per item, for the estimate of memory.
    pub per_item: u64,
}

/// A fitted recommender.
pub trait Recommender: Send + Sync {
    /// Writes the scores of all items for a user of whom `items` are known, ascending.
    fn scores(&self, user: u32, items: &[u32], scores: &mut [f32]);
}

/// What fits a recommender.
pub trait RecommenderMethod: Method {
    fn traits(&self) -> RecommenderTraits {
        RecommenderTraits::default()
    }

    fn fit(self, data: &TrainingData, seed: u64) -> Result<Box<dyn Recommender>, MethodError>;

    fn start(self, setup: &Setup) -> Result<Box<dyn Recommender>, MethodError>
    where
        Self: Sized,
    {
        self.fit(setup.data, setup.seed)
    }
}

methods! {
    /// The list of recommenders.
    Recommenders, "recommender", RecommenderMethod -> Box<dyn Recommender>, traits RecommenderTraits;
    /// All recommenders.
    RECOMMENDERS;
    /// Fits the recommender that is chosen.
    start_recommender;
    popularity::Popularity,
    item_knn::ItemKnn,
    #[cfg(test)]
    co_occurrence::CoOccurrence,
}
