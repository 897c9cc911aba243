//! Stage kind `ingest`: raw files in, interactions with dense ids out.

use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

use super::tables::{COUNTS, INTERACTIONS_BY_PART, KEYS};
use crate::data::format::{Block, Format, Malformed, Scan};
use crate::data::ids::{IdMap, TooManyKeys, keys_to_batch};
use crate::data::open::member_mistake;
use crate::data::parts::{Parts, counts_to_batch};
use crate::data::{Dedup, Interactions};
use crate::engine::stage::{Context, Progress, RawFile, Resources, Stage, StageError, parse};
use crate::spec::{Column, Form, Output, ParamError, Port};
use crate::store::parquet;

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
    pub max_malformed: f64,
    /// Only rows of at least this weight are positive interactions; the others are left out.
    #[serde(default)]
    pub min_weight: Option<f64>,
    /// What becomes of repeated user-item pairs within a part.
    #[serde(default)]
    pub dedup: Dedup,
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
}

fn selfrec() -> Format {
    Format::Selfrec
}

fn one_in_a_thousand() -> f64 {
    0.001
}

/// Malformed lines shown in messages.
const SHOWN: usize = 5;

impl Stage for Ingest {
    type Params = Params;

    const KIND: &'static str = "ingest";
    const VERSION: u32 = 1;
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
                Column { name: "file", dtype: "utf8", doc: "Source of the file." },
                Column { name: "line", dtype: "u64", doc: "Line, from 1; in a Parquet file the row." },
                Column { name: "text", dtype: "utf8", doc: "The line, cut at 200 bytes." },
                Column { name: "reason", dtype: "utf8", doc: "What is wrong with it." },
            ]),
        },
        Output { name: "summary", doc: "Counts of rows, users and items.", form: Form::Table(COUNTS) },
    ];

    fn check(params: &Params) -> Result<(), ParamError> {
        let wrong = |path: Vec<String>, message: String| Err(ParamError { path, message, help: None });
        if params.files.is_empty() {
            return wrong(vec!["files".to_owned()], "at least one file is needed".to_owned());
        }
        if !(0.0..=1.0).contains(&params.max_malformed) {
            let message = format!("a share lies between 0 and 1, not at {}", params.max_malformed);
            return wrong(vec!["max_malformed".to_owned()], message);
        }
        if let Some(message) = params.format.mistake() {
            return wrong(vec!["format".to_owned()], message);
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

    fn files(params: &Params) -> Vec<RawFile> {
        let raw = |file: &PartFile| RawFile { source: file.source.clone(), digest: file.digest.clone() };
        params.files.iter().map(raw).collect()
    }

    fn resources(_params: &Params) -> Resources {
        Resources { memory_mib: 512, ..Resources::default() }
    }
}

/// The rows of a part while files are read.
#[derive(Default)]
struct Growing {
    rows: Interactions,
    time: Vec<i64>,
    weight: Vec<f32>,
}

impl Growing {
    /// Takes over the rows of a block that `keep` wants; keys get their ids with the first row that is kept.
    fn extend(
        &mut self,
        block: &Block,
        keep: impl Fn(usize) -> bool,
        (users, items): (&mut IdMap, &mut IdMap),
    ) -> Result<(), TooManyKeys> {
        let mut user_ids = vec![None; block.users.len()];
        let mut item_ids = vec![None; block.items.len()];
        for row in (0..block.len()).filter(|&row| keep(row)) {
            self.rows.user.push(id_of(&mut user_ids, block.user[row], &block.users, users)?);
            self.rows.item.push(id_of(&mut item_ids, block.item[row], &block.items, items)?);
            self.time.extend(block.time.get(row));
            self.weight.extend(block.weight.get(row));
        }
        Ok(())
    }

    /// Times and weights are known only if every row has them.
    fn finish(self) -> Interactions {
        let n = self.rows.len();
        Interactions {
            time: Some(self.time).filter(|time| time.len() == n),
            weight: Some(self.weight).filter(|weight| weight.len() == n),
            ..self.rows
        }
    }
}

/// The id of a key that a block knows as `own`; `ids` remembers those that were asked for.
fn id_of(ids: &mut [Option<u32>], own: u32, keys: &IdMap, all: &mut IdMap) -> Result<u32, TooManyKeys> {
    let place = &mut ids[own as usize];
    match *place {
        Some(id) => Ok(id),
        None => Ok(*place.insert(all.id(keys.key(own))?)),
    }
}

/// Runs the stage.
pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Ingest>(params)?;
    let (mut users, mut items) = (IdMap::default(), IdMap::default());
    let mut parts: Vec<(String, Growing)> = Vec::new();
    let mut malformed: Vec<(&str, Malformed)> = Vec::new();
    let mut counts: Vec<(String, i64)> = Vec::new();
    if context.job.files.len() != params.files.len() {
        return Err(StageError::new(format!(
            "{} files came for {} declared ones",
            context.job.files.len(),
            params.files.len()
        )));
    }
    for (index, (file, path)) in params.files.iter().zip(&context.job.files).enumerate() {
        let part = match parts.iter().position(|(name, _)| *name == file.part) {
            Some(part) => part,
            None => {
                parts.push((file.part.clone(), Growing::default()));
                parts.len() - 1
            }
        };
        let found = read(&params, file, path, (&mut users, &mut items), &mut parts[part].1)?;
        if let Some(warning) = judge(&file.source, &found.scan, params.max_malformed)? {
            context.log(warning);
        }
        counts.push((format!("{}.valid_lines", file.part), found.scan.rows as i64));
        counts.push((format!("{}.malformed_lines", file.part), found.scan.malformed_lines as i64));
        counts.push((format!("{}.below_min_weight", file.part), found.below as i64));
        malformed.extend(found.scan.malformed.into_iter().map(|line| (&*file.source, line)));
        let (done, total) = (index as u64 + 1, params.files.len() as u64);
        context.progress(Progress { done, total, unit: "file".to_owned(), values: Vec::new() });
    }
    let parts = parts.into_iter().map(|(name, rows)| {
        let all = rows.finish();
        let distinct = all.dedup(params.dedup);
        let ids = |ids: &[u32]| ids.iter().collect::<std::collections::HashSet<_>>().len() as i64;
        counts.push((format!("{name}.repeated"), (all.len() - distinct.len()) as i64));
        counts.push((format!("{name}.rows"), distinct.len() as i64));
        counts.push((format!("{name}.users"), ids(&distinct.user)));
        counts.push((format!("{name}.items"), ids(&distinct.item)));
        (name, distinct)
    });
    let parts = Parts::concat(parts.collect());
    counts.push(("users".to_owned(), users.len() as i64));
    counts.push(("items".to_owned(), items.len() as i64));

    let metadata = super::made_by::<Ingest>();
    parquet::write(&context.output("interactions"), &parts.to_batch("part")?, &metadata)?;
    parquet::write(&context.output("users"), &keys_to_batch(users.keys())?, &metadata)?;
    parquet::write(&context.output("items"), &keys_to_batch(items.keys())?, &metadata)?;
    parquet::write(&context.output("malformed"), &malformed_to_batch(&malformed)?, &metadata)?;
    parquet::write(&context.output("summary"), &counts_to_batch(&counts)?, &metadata)?;
    Ok(())
}

/// What a file held.
struct Found {
    scan: Scan,
    below: u64,
}

fn read(
    params: &Params,
    file: &PartFile,
    path: &Path,
    (users, items): (&mut IdMap, &mut IdMap),
    rows: &mut Growing,
) -> Result<Found, StageError> {
    let format = file.format.as_ref().unwrap_or(&params.format);
    let (mut below, mut unweighted) = (0, false);
    let scan = format.read(path, file.member.as_deref(), &mut |block| {
        unweighted |= block.weight.len() < block.len();
        let low = |row: usize| params.min_weight.is_some_and(|least| f64::from(block.weight[row]) < least);
        let low = |row: usize| !unweighted && low(row);
        below += (0..block.len()).filter(|&row| low(row)).count() as u64;
        rows.extend(block, |row| !low(row), (users, items))
    });
    let scan = scan.map_err(|error| StageError::new(error.to_string()))?;
    if params.min_weight.is_some() && unweighted {
        let message = format!("`min_weight` needs weights, and `{}` is read without", file.source);
        return Err(StageError::new(message).with_help("name the column: `columns: { weight: ... }`"));
    }
    Ok(Found { scan, below })
}

/// Refuses a file with too many malformed lines or no valid one; words the warning for one with some.
fn judge(source: &str, found: &Scan, max_malformed: f64) -> Result<Option<String>, StageError> {
    let bad = found.malformed_lines;
    let lines = found.rows + bad;
    if lines == 0 {
        return Err(StageError::new(format!("`{source}` is empty")));
    }
    if bad == 0 {
        return Ok(None);
    }
    let shown = found.malformed.iter().take(SHOWN);
    let shown = shown.map(|Malformed { line, text, reason }| format!("\n  line {line}: {reason}: `{text}`"));
    let more = if bad > SHOWN as u64 { format!("\n  and {} more", bad - SHOWN as u64) } else { String::new() };
    let message = format!("`{source}`: {bad} of {lines} lines hold no interaction:{}{more}", shown.collect::<String>());
    if found.rows == 0 || bad as f64 > max_malformed * lines as f64 {
        let help = format!(
            "check `format`; if the file is what it should be, accept more by `max_malformed` (now {max_malformed})"
        );
        return Err(StageError::new(message).with_help(help));
    }
    Ok(Some(message))
}

fn malformed_to_batch(lines: &[(&str, Malformed)]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |of: fn(&(&str, Malformed)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(lines.iter().map(of)))
    };
    RecordBatch::try_from_iter([
        ("file", text(|(file, _)| (*file).to_owned())),
        ("line", Arc::new(UInt64Array::from_iter_values(lines.iter().map(|(_, bad)| bad.line))) as ArrayRef),
        ("text", text(|(_, bad)| bad.text.clone())),
        ("reason", text(|(_, bad)| bad.reason.clone())),
    ])
}

#[cfg(test)]
mod tests;
