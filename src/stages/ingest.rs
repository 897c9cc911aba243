//! Stage kind `ingest`: raw files in, those of their interactions that count with dense ids out.

mod read;
mod sources;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

use super::expect::{self, Expect, grouped};
use super::tables::{COUNTS, INTERACTIONS_BY_PART, KEYS, release};
use super::warnings;
use crate::data::format::{Format, Malformed};
use crate::data::ids::keys_to_batch;
use crate::data::open::member_mistake;
use crate::data::parts::counts_to_batch;
use crate::data::steps::{self, Renumbered, Size, Step, StepCount};
use crate::data::tabulate::bound;
use crate::data::{Dedup, Parts};
use crate::engine::stage::{Context, Progress, RawSource, Resources, Stage, StageError, parse};
use crate::spec::{Column, Form, Output, ParamError, Port};
use crate::store::parquet;
use read::{RawRows, judge};

pub struct Ingest;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// In the order in which ids are given: train first.
    pub files: Vec<PartFile>,
    /// How the files are written.
    #[serde(default = "selfrec")]
    pub format: Format,
    /// The largest share of malformed lines, per file, that is accepted.
    #[serde(default = "one_in_a_thousand")]
    #[schemars(range(min = 0, max = 1))]
    pub max_malformed: f64,
    /// The largest share of rows, per file, whose times lie before 1970-01-02 or after 2099-12-31. Numbers from 0 to 10^8
    /// throughout are an order, and no times.
    #[serde(default = "one_in_a_hundred")]
    #[schemars(range(min = 0, max = 1))]
    pub max_implausible_times: f64,
    /// Which rows stay, step by step; by default the earliest of repeated user-item pairs within a part.
    #[serde(default = "one_row_per_pair")]
    pub steps: Vec<Step>,
    /// What is known of the data that come out: other numbers end the run.
    #[serde(default)]
    pub expect: Expect,
    /// Whom to cite for the data.
    #[serde(default)]
    pub citation: Option<String>,
    /// Under what terms the data are published.
    #[serde(default)]
    pub licence: Option<String>,
}

/// A raw file and the part of the data that it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    /// Such as `train`; several files may hold one part.
    pub part: String,
    /// A path (relative to the pipeline file), or an `http:`, `https:` or `file:` URL.
    pub source: String,
    /// `sha256:<hex>` or `blake3:<hex>` of the bytes; needed for URLs, and to find a copy in a mirror.
    #[serde(default)]
    pub digest: Option<String>,
    /// The file to read within an archive (`.zip`, `.tar`, `.tar.gz`, `.tar.zst`); an archive of one file needs none.
    #[serde(default)]
    pub member: Option<String>,
    /// Where it differs from that of the other files.
    #[serde(default)]
    pub format: Option<Format>,
    /// Where it differs from that of the stage.
    #[serde(default)]
    pub citation: Option<String>,
    /// Where it differs from that of the stage.
    #[serde(default)]
    pub licence: Option<String>,
}

impl PartFile {
    fn licence(&self, params: &Params) -> Option<String> {
        self.licence.as_ref().or(params.licence.as_ref()).cloned()
    }

    fn citation(&self, params: &Params) -> Option<String> {
        self.citation.as_ref().or(params.citation.as_ref()).cloned()
    }
}

fn selfrec() -> Format {
    Format::Selfrec
}

fn one_in_a_thousand() -> f64 {
    0.001
}

fn one_in_a_hundred() -> f64 {
    0.01
}

fn one_row_per_pair() -> Vec<Step> {
    vec![Step::Dedup(Dedup::First)]
}

impl Stage for Ingest {
    type Params = Params;

    const KIND: &'static str = "ingest";
    const VERSION: u32 = 3;
    const DOC: &'static str = "Reads raw files of interactions and gives users and items dense ids.";
    const PORTS: &'static [Port] = &[];
    const OUTPUTS: &'static [Output] = &[
        Output { name: "interactions", doc: "Interactions in file order.", form: Form::Table(INTERACTIONS_BY_PART) },
        Output { name: "users", doc: "Ids of users, by first appearance.", form: Form::Table(KEYS) },
        Output { name: "items", doc: "Ids of items, by first appearance.", form: Form::Table(KEYS) },
        Output {
            name: "malformed",
            doc: "Lines that hold no interaction, the first 10000 of each file.",
            form: Form::Table(&[
                Column { name: "file", dtype: "utf8", doc: "Place of the file in the parameters, such as `files[0]`." },
                Column { name: "line", dtype: "u64", doc: "Line, from 1; in a Parquet file the row." },
                Column { name: "text", dtype: "utf8", doc: "The line, cut at 200 bytes." },
                Column { name: "reason", dtype: "utf8", doc: "What is wrong with it." },
            ]),
        },
        Output {
            name: "steps",
            doc: "What each step left.",
            form: Form::Table(&[
                Column { name: "step", dtype: "utf8", doc: "Name of the step." },
                Column { name: "rule", dtype: "utf8", doc: "What stays." },
                Column { name: "rows_before", dtype: "u64", doc: "Rows before the step." },
                Column { name: "rows", dtype: "u64", doc: "Rows after it." },
                Column { name: "users_before", dtype: "u64", doc: "Users before the step." },
                Column { name: "users", dtype: "u64", doc: "Users after it." },
                Column { name: "items_before", dtype: "u64", doc: "Items before the step." },
                Column { name: "items", dtype: "u64", doc: "Items after it." },
            ]),
        },
        Output { name: "sources", doc: "Where the data came from.", form: Form::Table(sources::COLUMNS) },
        Output { name: "summary", doc: "Counts of rows, users and items.", form: Form::Table(COUNTS) },
        warnings::OUTPUT,
    ];

    fn check(params: &Params) -> Result<(), ParamError> {
        let wrong = |path: Vec<String>, message: String| Err(ParamError { path, message, help: None });
        if params.files.is_empty() {
            return wrong(vec!["files".to_owned()], "at least one file is needed".to_owned());
        }
        for (name, share) in
            [("max_malformed", params.max_malformed), ("max_implausible_times", params.max_implausible_times)]
        {
            if !(0.0..=1.0).contains(&share) {
                return wrong(vec![name.to_owned()], format!("a share lies between 0 and 1, not at {share}"));
            }
        }
        if let Some(message) = params.format.mistake() {
            return wrong(vec!["format".to_owned()], message);
        }
        for (index, step) in params.steps.iter().enumerate() {
            if let Some(message) = step.mistake() {
                return wrong(vec!["steps".to_owned(), index.to_string()], message);
            }
        }
        for (index, file) in params.files.iter().enumerate() {
            let at = |field: &str| vec!["files".to_owned(), index.to_string(), field.to_owned()];
            if file.part.is_empty() {
                return wrong(at("part"), "the part needs a name".to_owned());
            }
            if let Some(message) = file.member.as_deref().and_then(member_mistake) {
                return wrong(at("member"), message);
            }
            if let Some(message) = file.format.as_ref().and_then(Format::mistake) {
                return wrong(at("format"), message);
            }
        }
        Ok(())
    }

    fn files(params: &Params) -> Vec<RawSource> {
        let source = |file: &PartFile| RawSource {
            source: file.source.clone(),
            digest: file.digest.clone(),
            licence: file.licence(params),
            citation: file.citation(params),
        };
        params.files.iter().map(source).collect()
    }

    fn sources(params: &mut Params) -> Vec<&mut String> {
        params.files.iter_mut().map(|file| &mut file.source).collect()
    }

    fn resources(_params: &Params) -> Resources {
        Resources { cores: 4, memory_mib: 1024, gpus: 0 }
    }
}

/// The share of rows that may repeat pairs without a warning.
const MANY_REPEATS: f64 = 0.2;

/// Runs the stage.
pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Ingest>(params)?;
    if context.job.files.len() != params.files.len() {
        return Err(StageError::new(format!(
            "{} files came for {} declared ones",
            context.job.files.len(),
            params.files.len()
        )));
    }
    let mut raw = RawRows::default();
    let mut malformed: Vec<(String, Malformed)> = Vec::new();
    let mut counts: Vec<(String, i64)> = Vec::new();
    let mut rows_read = Vec::with_capacity(params.files.len());
    let mut warnings = Vec::new();
    for (index, (file, path)) in params.files.iter().zip(&context.job.files).enumerate() {
        let scan = raw.read(file, file.format.as_ref().unwrap_or(&params.format), path)?;
        warnings.extend(judge(file, &scan, &params, context)?);
        rows_read.push(scan.rows);
        counts.push((format!("{}.valid_lines", file.part), scan.rows as i64));
        counts.push((format!("{}.malformed_lines", file.part), scan.malformed_lines as i64));
        counts.push((format!("{}.implausible_times", file.part), scan.implausible.count as i64));
        malformed.extend(scan.malformed.into_iter().map(|line| (format!("files[{index}]"), line)));
        let (done, total) = (index as u64 + 1, params.files.len() as u64);
        context.progress(Progress { done, total, unit: "file".to_owned(), values: Vec::new() });
    }
    warnings.extend(raw.partly_known());
    let (mut parts, users, items) = raw.finish();
    let read = Size { rows: parts.rows.len(), users: users.len(), items: items.len() };
    let steps = steps::apply(&params.steps, &mut parts, read).map_err(|error| StageError::new(error.to_string()))?;
    // Ids were given by first appearance: they stay while no row goes.
    let dropped = steps.iter().any(|step| step.after.rows < step.before.rows);
    let kept = match dropped {
        true => steps::renumber(&mut parts.rows),
        false => Renumbered::unchanged(users.len() as u32, items.len() as u32),
    };
    let size = Size { rows: parts.rows.len(), users: kept.users.len(), items: kept.items.len() };
    params.expect.check("the data", [size.users, size.items, size.rows]).map_err(expect::failure)?;
    for step in steps.iter().filter(|step| step.step == "dedup") {
        let (dropped, before) = (step.before.rows - step.after.rows, step.before.rows);
        if dropped as f64 > MANY_REPEATS * before as f64 {
            let (dropped, before) = (grouped(dropped), grouped(before));
            warnings.push(format!("{dropped} of {before} rows repeat a user-item pair and are dropped"));
        }
    }
    warnings::tell::<Ingest>(context, &warnings)?;
    counts.extend(part_counts(&parts, size));
    counts.push(("users".to_owned(), kept.users.len() as i64));
    counts.push(("items".to_owned(), kept.items.len() as i64));

    let metadata = super::made_by::<Ingest>();
    let interactions = parts.into_batch("part")?;
    parquet::write(&context.output("interactions"), &interactions, &metadata)?;
    release(interactions);
    for (name, keys, kept) in [("users", &users, &kept.users), ("items", &items, &kept.items)] {
        let keys = keys_to_batch(kept.iter().map(|&id| keys.key(id)))?;
        parquet::write(&context.output(name), &keys, &metadata)?;
    }
    parquet::write(&context.output("steps"), &steps_to_batch(&steps)?, &metadata)?;
    let sources = sources::to_batch(&params, &context.job.digests, &rows_read)?;
    parquet::write(&context.output("sources"), &sources, &metadata)?;
    parquet::write(&context.output("malformed"), &malformed_to_batch(&malformed)?, &metadata)?;
    parquet::write(&context.output("summary"), &counts_to_batch(&counts)?, &metadata)?;
    Ok(())
}

/// Rows, users and items of each part; `whole` is the size of all together.
fn part_counts(parts: &Parts, whole: Size) -> Vec<(String, i64)> {
    let size = |part: u32| {
        if parts.names.len() == 1 {
            return whole;
        }
        let distinct = |ids: &[u32]| {
            let mut seen = vec![false; bound(ids)];
            let own = ids.iter().zip(&parts.part).filter(|&(_, &own)| own == part);
            own.for_each(|(&id, _)| seen[id as usize] = true);
            seen.into_iter().filter(|&seen| seen).count()
        };
        let rows = parts.part.par_iter().filter(|&&own| own == part).count();
        let (users, items) = rayon::join(|| distinct(&parts.rows.user), || distinct(&parts.rows.item));
        Size { rows, users, items }
    };
    let mut counts = Vec::new();
    for (name, part) in parts.names.iter().zip(0..) {
        let Size { rows, users, items } = size(part);
        for (what, count) in [("rows", rows), ("users", users), ("items", items)] {
            counts.push((format!("{name}.{what}"), count as i64));
        }
    }
    counts
}

fn steps_to_batch(steps: &[StepCount]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text =
        |of: fn(&StepCount) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(steps.iter().map(of))) };
    let count = |of: fn(&StepCount) -> usize| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(steps.iter().map(|step| of(step) as u64)))
    };
    RecordBatch::try_from_iter([
        ("step", text(|step| step.step)),
        ("rule", text(|step| &step.rule)),
        ("rows_before", count(|step| step.before.rows)),
        ("rows", count(|step| step.after.rows)),
        ("users_before", count(|step| step.before.users)),
        ("users", count(|step| step.after.users)),
        ("items_before", count(|step| step.before.items)),
        ("items", count(|step| step.after.items)),
    ])
}

fn malformed_to_batch(lines: &[(String, Malformed)]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |of: fn(&(String, Malformed)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(lines.iter().map(of)))
    };
    RecordBatch::try_from_iter([
        ("file", text(|(file, _)| file.clone())),
        ("line", Arc::new(UInt64Array::from_iter_values(lines.iter().map(|(_, bad)| bad.line))) as ArrayRef),
        ("text", text(|(_, bad)| bad.text.clone())),
        ("reason", text(|(_, bad)| bad.reason.clone())),
    ])
}

#[cfg(test)]
mod tests;
