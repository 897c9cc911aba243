//! The cache: content-addressed objects, the index from stage keys to outputs, locks, and the Parquet reader and
//! writer. Knows nothing of what artifacts mean.

pub mod parquet;
