//! Published data sets whose files are delimited text or JSON lines: which column is what.

use super::delimited::{ColumnRef, Delimited, TextColumns};
use super::json::JsonLines;
use super::parquet::TableColumns;
use crate::data::time::TimeUnit;

/// GroupLens, MovieLens 100K: `u.data`.
pub fn movielens_100k() -> Delimited {
    Delimited { separator: "\t".to_owned(), quoted: false, ..numbered() }
}

/// GroupLens, MovieLens 1M and 10M: `ratings.dat`.
pub fn movielens_dat() -> Delimited {
    Delimited { separator: "::".to_owned(), quoted: false, ..numbered() }
}

/// GroupLens, MovieLens 20M, 25M, 32M and `latest`: `ratings.csv`.
pub fn movielens_csv() -> Delimited {
    named("userId", "movieId", "timestamp", "rating")
}

/// KuaiRec: `big_matrix.csv`. The weight is the watch ratio; times have fractions, which are cut off.
pub fn kuairec_big() -> Delimited {
    named("user_id", "video_id", "timestamp", "watch_ratio")
}

/// KuaiRec: `small_matrix.csv`. As the big one, but the times of many rows are missing, and so none is read.
pub fn kuairec_small() -> Delimited {
    Delimited { columns: TextColumns { time: None, ..kuairec_big().columns }, ..kuairec_big() }
}

/// Food.com on Kaggle: `RAW_interactions.csv`. Its reviews hold quotes and line ends.
pub fn food_com() -> Delimited {
    Delimited { time_unit: TimeUnit::Iso, ..named("user_id", "recipe_id", "date", "rating") }
}

/// Amazon reviews of 2014: `ratings_*.csv`, without a header.
pub fn amazon_ratings_2014() -> Delimited {
    numbered()
}

/// Amazon reviews of 2018: `*.csv`, without a header; the item stands before the user.
pub fn amazon_ratings_2018() -> Delimited {
    let TextColumns { user, item, .. } = numbered().columns;
    Delimited { columns: TextColumns { user: item, item: user, ..numbered().columns }, ..numbered() }
}

/// Amazon reviews of 2014 and 2018: `reviews_*.json`, `*_5.json`.
pub fn amazon_reviews_2018() -> JsonLines {
    objects("reviewerID", "asin", "unixReviewTime", "overall", TimeUnit::Seconds)
}

/// Amazon reviews of 2023: `*.jsonl`. The item is the product, not its variant.
pub fn amazon_reviews_2023() -> JsonLines {
    objects("user_id", "parent_asin", "timestamp", "rating", TimeUnit::Milliseconds)
}

/// The Yelp open data set: `yelp_academic_dataset_review.json`.
pub fn yelp() -> JsonLines {
    objects("user_id", "business_id", "date", "stars", TimeUnit::Iso)
}

/// Columns `user, item, rating, seconds` without a header, separated by commas.
fn numbered() -> Delimited {
    let columns = TextColumns {
        user: ColumnRef::Number(1),
        item: ColumnRef::Number(2),
        weight: Some(ColumnRef::Number(3)),
        time: Some(ColumnRef::Number(4)),
    };
    Delimited {
        separator: ",".to_owned(),
        header: false,
        quoted: true,
        comment: None,
        columns,
        time_unit: TimeUnit::Seconds,
    }
}

/// CSV with a header.
fn named(user: &str, item: &str, time: &str, weight: &str) -> Delimited {
    let name = |name: &str| ColumnRef::Name(name.to_owned());
    let columns =
        TextColumns { user: name(user), item: name(item), time: Some(name(time)), weight: Some(name(weight)) };
    Delimited { header: true, columns, ..numbered() }
}

fn objects(user: &str, item: &str, time: &str, weight: &str, time_unit: TimeUnit) -> JsonLines {
    let columns = TableColumns {
        user: user.to_owned(),
        item: item.to_owned(),
        time: Some(time.to_owned()),
        weight: Some(weight.to_owned()),
    };
    JsonLines { columns, time_unit }
}
