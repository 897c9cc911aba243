//! How a `train` stage runs: artifacts in, [`fit`] with checkpoints, artifacts out.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    Array, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use serde_json::Value;

use super::Train;
use super::candidates::{Chosen, choose};
use crate::data::{Graph, Interactions};
use crate::engine::stage::{Context, Progress, StageError, parse};
use crate::method::{TrainingData, Vectors};
use crate::stages::made_by;
use crate::store::parquet;
use crate::train::config::{Mask, Select};
use crate::train::{Config, Data, Device, EpochEnd, Trained, Watch, choose as choose_device, fit, name};

/// Time between checkpoints: writing one takes tens of milliseconds.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(5);

pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let config = parse::<Train>(params)?;
    let split = context.input("split")?;
    let train = Interactions::from_batch(&parquet::read(split.artifact("train")?)?)?;
    let valid = Interactions::from_batch(&parquet::read(split.artifact("valid")?)?)?;
    let oracle = oracle(&config, context)?;
    let data = TrainingData::new(train);
    let graph = &data.graph;
    let known = |part: Interactions| {
        let rows: Vec<usize> = (0..part.len())
            .filter(|&row| (part.user[row] as usize) < graph.n_users && (part.item[row] as usize) < graph.n_items)
            .collect();
        part.take(&rows)
    };
    let (valid, oracle) = (known(valid), oracle.map(known));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.job.threads)
        .build()
        .map_err(|error| StageError::new(format!("cannot start {} threads: {error}", context.job.threads)))?;
    let chosen = pool.install(|| choose(&config, context, graph, &valid))?;
    let Chosen { candidates: common, sets, .. } = &chosen;
    let inputs = Data { train: &data, valid: &valid, oracle: oracle.as_ref(), candidates: common, sets: sets.as_ref() };
    context.log(format!("{} users, {} items, {} training pairs", graph.n_users, graph.n_items, graph.n_edges()));
    if common.len() < graph.n_items {
        context.log(format!("{} of the {} items are ranked", common.len(), graph.n_items));
    }

    let mut follow = Follow::new(context, BETWEEN_CHECKPOINTS)?;
    let resume = follow.last();
    let wanted = config.gradient().map_or(Device::Cpu, |gradient| gradient.device);
    let device = choose_device(wanted, &context.job.gpus).map_err(|error| StageError::new(error.to_string()))?;
    context.computes_on(name(device));
    let model = pool
        .install(|| fit(&config, &inputs, device, resume.as_deref(), &mut follow))
        .map_err(|error| follow.failure.take().unwrap_or_else(|| StageError::new(error.to_string())))?;

    let write = |name: &str, batch: Result<RecordBatch, ArrowError>| -> Result<(), StageError> {
        Ok(parquet::write(&context.output(name), &batch?, &made_by::<Train>())?)
    };
    write("recommendations", recommendations(&model))?;
    write("candidates", candidates(&chosen))?;
    write("embeddings", embeddings(model.vectors.as_ref()))?;
    write("curve", curve(&model))?;
    write("summary", summary(&config, &model, graph, &chosen))
}

/// The rows of the test that `select: test_oracle` names.
fn oracle(config: &Config, context: &Context) -> Result<Option<Interactions>, StageError> {
    let select = config.gradient().map(|gradient| &gradient.select);
    match (select, context.inputs("oracle").next()) {
        (Some(Select::TestOracle { set, .. }), Some(input)) => {
            let batch = parquet::read(input.artifact("test")?)?;
            let sets = batch
                .column_by_name("set")
                .and_then(|column| column.as_string_opt::<i32>())
                .ok_or_else(|| StageError::new("the test of port `oracle` has no column `set` of texts"))?;
            let rows: Vec<usize> = (0..sets.len()).filter(|&row| sets.value(row) == set).collect();
            if rows.is_empty() {
                return Err(StageError::new(format!("the test of port `oracle` has no rows of the set `{set}`")));
            }
            Ok(Some(Interactions::from_batch(&batch)?.take(&rows)))
        }
        (Some(Select::TestOracle { .. }), None) => {
            Err(StageError::new("`select: test_oracle` needs a test to select by")
                .with_help("connect port `oracle` to the split, or select by `valid_iid`"))
        }
        (_, Some(_)) => Err(StageError::new("port `oracle` brings a test set that `select` does not ask for")
            .with_help("take the port out, or write `select: test_oracle`")),
        (_, None) => Ok(None),
    }
}

/// Tells the engine of every epoch, and keeps a checkpoint in the scratch directory.
struct Follow<'a> {
    context: &'a Context<'a>,
    path: PathBuf,
    pause: Duration,
    written: Instant,
    /// Why the training was stopped.
    failure: Option<StageError>,
}

impl<'a> Follow<'a> {
    fn new(context: &'a Context<'a>, pause: Duration) -> Result<Self, StageError> {
        fs::create_dir_all(&context.job.scratch)?;
        let path = context.job.scratch.join("training.checkpoint");
        Ok(Self { context, path, pause, written: Instant::now(), failure: None })
    }

    /// The checkpoint of an interrupted execution. One that cannot be read is as good as none.
    fn last(&self) -> Option<Vec<u8>> {
        let bytes = crate::store::read(&self.path).ok()?;
        self.context.log("found a checkpoint of an interrupted training");
        Some(bytes)
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

impl Watch for Follow<'_> {
    fn epoch(&mut self, end: &EpochEnd, checkpoint: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()> {
        let values = end.points.iter().map(|point| (point.measure.clone(), point.value)).collect();
        self.context.progress(Progress {
            done: end.done as u64,
            total: end.total as u64,
            unit: "epoch".into(),
            values,
        });
        if self.written.elapsed() >= self.pause && end.done < end.total {
            if let Err(error) = self.write(&checkpoint()) {
                let message = format!("cannot write the checkpoint `{}`: {error}", self.path.display());
                self.failure = Some(StageError::new(message));
                return ControlFlow::Break(());
            }
            self.written = Instant::now();
        }
        ControlFlow::Continue(())
    }
}

fn recommendations(model: &Trained) -> Result<RecordBatch, ArrowError> {
    let rows = || {
        (0u32..)
            .zip(&model.recommendations)
            .flat_map(|(user, list)| (1u32..).zip(list).map(move |(rank, scored)| (user, rank, scored)))
    };
    RecordBatch::try_from_iter([
        ("user", Arc::new(UInt32Array::from_iter_values(rows().map(|row| row.0))) as Arc<dyn Array>),
        ("rank", Arc::new(UInt32Array::from_iter_values(rows().map(|row| row.1)))),
        ("item", Arc::new(UInt32Array::from_iter_values(rows().map(|row| row.2.item)))),
        ("score", Arc::new(Float32Array::from_iter_values(rows().map(|row| row.2.score)))),
        ("tied", Arc::new(BooleanArray::from_iter(rows().map(|row| Some(row.2.tied))))),
    ])
}

fn candidates(chosen: &Chosen) -> Result<RecordBatch, ArrowError> {
    if let Some(sets) = &chosen.sets {
        let of_user = |user: u32| std::iter::repeat_n(user, sets.items_of(user).len());
        let users = (0..sets.n_users as u32).flat_map(of_user);
        return RecordBatch::try_from_iter([
            ("user", Arc::new(UInt32Array::from_iter_values(users)) as Arc<dyn Array>),
            ("item", Arc::new(UInt32Array::from(sets.user_items.clone()))),
        ]);
    }
    let mut items = chosen.candidates.order().to_vec();
    items.sort_unstable();
    RecordBatch::try_from_iter([("item", Arc::new(UInt32Array::from(items)) as Arc<dyn Array>)])
}

/// Without vectors, none: a table of no rows.
fn embeddings(vectors: Option<&Vectors>) -> Result<RecordBatch, ArrowError> {
    let none = Vectors::new(0, 0, 1);
    let Vectors { width, queries, items } = vectors.unwrap_or(&none);
    let rows = |values: &[f32]| values.len() / width;
    let (users, count) = (rows(queries), rows(queries) + rows(items));
    let sides = (0..count).map(|row| if row < users { "user" } else { "item" });
    let ids = (0..count).map(|row| if row < users { row } else { row - users } as u32);
    let field = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Arc::new(Float32Array::from([&queries[..], &items[..]].concat()));
    let width = i32::try_from(*width).map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))?;
    RecordBatch::try_from_iter([
        ("side", Arc::new(StringArray::from_iter_values(sides)) as Arc<dyn Array>),
        ("id", Arc::new(UInt32Array::from_iter_values(ids))),
        ("vector", Arc::new(FixedSizeListArray::try_new(field, width, values, None)?)),
    ])
}

fn curve(model: &Trained) -> Result<RecordBatch, ArrowError> {
    let epochs = model.curve.iter().map(|point| point.epoch as u32);
    RecordBatch::try_from_iter([
        ("epoch", Arc::new(UInt32Array::from_iter_values(epochs)) as Arc<dyn Array>),
        ("measure", Arc::new(StringArray::from_iter_values(model.curve.iter().map(|point| &point.measure)))),
        ("value", Arc::new(Float64Array::from_iter_values(model.curve.iter().map(|point| point.value)))),
    ])
}

fn summary(config: &Config, model: &Trained, graph: &Graph, chosen: &Chosen) -> Result<RecordBatch, ArrowError> {
    let is = |fact: bool| if fact { 1.0 } else { 0.0 };
    let select = config.gradient().map(|gradient| &gradient.select);
    let tied = model.recommendations.iter().filter(|list| list.last().is_some_and(|last| last.tied)).count();
    let mut facts = vec![
        ("best_epoch", model.best_epoch as f64),
        ("epochs", model.epochs as f64),
        ("parameters", model.parameters as f64),
        ("users", graph.n_users as f64),
        ("items", graph.n_items as f64),
        ("train_pairs", graph.n_edges() as f64),
        ("select_valid_iid", is(matches!(select, Some(Select::ValidIid { .. })))),
        ("select_test_oracle", is(matches!(select, Some(Select::TestOracle { .. })))),
        ("select_last", is(matches!(select, Some(Select::Last {})))),
        ("mask_valid", is(config.mask == Mask::TrainValid)),
        ("candidates", chosen.candidates.len() as f64),
        ("tied_lists", tied as f64 / graph.n_users as f64),
    ];
    facts.extend(chosen.facts());
    RecordBatch::try_from_iter([
        ("name", Arc::new(StringArray::from_iter_values(facts.iter().map(|fact| fact.0))) as Arc<dyn Array>),
        ("value", Arc::new(Float64Array::from_iter_values(facts.iter().map(|fact| fact.1)))),
    ])
}
