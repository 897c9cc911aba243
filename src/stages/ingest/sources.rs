//! The artifact `sources` of an `ingest` stage: where each raw file came from, and under what terms.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::error::ArrowError;

use super::{Params, PartFile};
use crate::spec::Column;
use crate::store::raw::is_path;

pub const COLUMNS: &[Column] = &[
    Column { name: "part", dtype: "utf8", doc: "Part of the data that the file holds." },
    Column { name: "source", dtype: "utf8?", doc: "URL of the file, where it has one: a path is no part of the data." },
    Column { name: "member", dtype: "utf8?", doc: "The file within an archive, where one was named." },
    Column { name: "digest", dtype: "utf8", doc: "Digest of the raw file, such as `sha256:<hex>`." },
    Column { name: "licence", dtype: "utf8?", doc: "Terms under which it is published, where told." },
    Column { name: "citation", dtype: "utf8?", doc: "Whom to cite for it, where told." },
    Column { name: "rows", dtype: "u64", doc: "Rows read from it, before any step." },
];

/// One row per file, in the order of the parameters; `digests` and `rows` go with them.
pub fn to_batch(params: &Params, digests: &[String], rows: &[u64]) -> Result<RecordBatch, ArrowError> {
    let text = |of: fn(&PartFile) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(params.files.iter().map(of)))
    };
    let told = |of: &dyn Fn(&PartFile) -> Option<String>| -> ArrayRef {
        Arc::new(params.files.iter().map(of).collect::<StringArray>())
    };
    RecordBatch::try_from_iter_with_nullable([
        ("part", text(|file| &file.part), false),
        ("source", told(&|file| Some(file.source.clone()).filter(|source| !is_path(source))), true),
        ("member", told(&|file| file.member.clone()), true),
        ("digest", Arc::new(StringArray::from_iter_values(digests)) as ArrayRef, false),
        ("licence", told(&|file| file.licence(params)), true),
        ("citation", told(&|file| file.citation(params)), true),
        ("rows", Arc::new(UInt64Array::from(rows.to_vec())) as ArrayRef, false),
    ])
}
