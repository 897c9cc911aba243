//! The stage on files: what it writes, and that neither threads nor an interruption show in the bytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::engine::stage::{Input, Job, Notice};

const OUTPUTS: [&str; 4] = ["recommendations", "embeddings", "curve", "summary"];

fn interactions(pairs: impl Iterator<Item = (u32, u32)>) -> Interactions {
    let (user, item) = pairs.unzip();
    Interactions { user, item, ..Interactions::default() }
}

/// A split of 20 users and 15 items in `dir`, with the same rows as `iid` and other ones as `ood` test.
fn split(dir: &Path) -> BTreeMap<String, PathBuf> {
    let train = interactions(
        (0..20).flat_map(|user| (0..15).filter(move |item| (user + item) % 3 == 0).map(move |item| (user, item))),
    );
    let valid = interactions((0..20).map(|user| (user, (user + 1) % 15)));
    let test = valid.clone().into_batch().unwrap();
    let sets = StringArray::from_iter_values((0..20).map(|row| if row % 2 == 0 { "iid" } else { "ood" }));
    let schema = test.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).zip(test.columns().to_vec());
    let test =
        RecordBatch::try_from_iter(columns.chain([("set".to_owned(), Arc::new(sets) as Arc<dyn Array>)])).unwrap();
    [("train", train.into_batch().unwrap()), ("valid", valid.into_batch().unwrap()), ("test", test)]
        .map(|(name, batch)| {
            let path = dir.join(format!("{name}.parquet"));
            parquet::write(&path, &batch, &[]).unwrap();
            (name.to_owned(), path)
        })
        .into()
}

fn job(dir: &Path, ports: &[&str], changes: Value) -> Job {
    let artifacts = split(dir);
    let mut params = json!({ "backbone": "mf", "dim": 4, "epochs": 5, "seed": 3, "top_k": 6, "batch_size": 64 });
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let out_dir = dir.join("out");
    fs::create_dir_all(&out_dir).unwrap();
    Job {
        kind: "train".into(),
        id: "model".into(),
        params,
        inputs: ports
            .iter()
            .map(|port| Input { port: port.to_string(), labels: Vec::new(), artifacts: artifacts.clone() })
            .collect(),
        files: Vec::new(),
        digests: Vec::new(),
        out_dir,
        scratch: dir.join("scratch"),
        threads: 2,
        gpus: Vec::new(),
    }
}

fn run_job(job: &Job) -> Result<Vec<Vec<u8>>, StageError> {
    let notify = |_: Notice| ();
    let context = Context { job, notify: &notify };
    run(&job.params, &context)?;
    Ok(OUTPUTS.map(|name| fs::read(context.output(name)).unwrap()).into())
}

#[test]
fn artifacts_have_the_declared_columns() {
    let dir = TempDir::new().unwrap();
    let job = job(dir.path(), &["split"], json!({}));
    run_job(&job).unwrap();
    for output in <Train as crate::engine::stage::Stage>::OUTPUTS {
        let batch = parquet::read(&job.out_dir.join(format!("{}.parquet", output.name))).unwrap();
        let crate::spec::Form::Table(columns) = output.form else { panic!("{} is a table", output.name) };
        let found: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(found, columns.iter().map(|column| column.name).collect::<Vec<_>>());
        assert!(batch.num_rows() > 0, "{}", output.name);
    }
    let embeddings = parquet::read(&job.out_dir.join("embeddings.parquet")).unwrap();
    assert_eq!(embeddings.num_rows(), 35);
}

#[test]
fn threads_do_not_show_in_the_bytes() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let single = Job { threads: 1, ..job(one.path(), &["split"], json!({})) };
    assert_eq!(run_job(&single).unwrap(), run_job(&job(two.path(), &["split"], json!({}))).unwrap());
}

/// Stops a followed training after its second epoch.
struct Stop<'a>(Follow<'a>);

impl Watch for Stop<'_> {
    fn epoch(&mut self, end: &EpochEnd, checkpoint: &dyn Fn() -> Vec<u8>) -> ControlFlow<()> {
        match self.0.epoch(end, checkpoint) {
            ControlFlow::Continue(()) if end.done < 2 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

#[test]
fn an_interruption_does_not_show_in_the_bytes() {
    let dir = TempDir::new().unwrap();
    let job = job(dir.path(), &["split"], json!({}));
    let whole = run_job(&job).unwrap();

    let context = Context { job: &job, notify: &|_| () };
    let [train, valid] = ["train", "valid"]
        .map(|name| Interactions::from_batch(&parquet::read(&job.inputs[0].artifacts[name]).unwrap()).unwrap());
    let data = Data { train: &Graph::from_interactions(&train), valid: &valid, oracle: None };
    let config = parse::<Train>(&job.params).unwrap();
    let mut stop = Stop(Follow::new(&context, Duration::ZERO).unwrap());
    fit(&config, &data, tch::Device::Cpu, None, &mut stop).unwrap_err();
    assert!(stop.0.path.exists());

    let epochs = std::sync::Mutex::new(Vec::new());
    let notify = |notice: Notice| {
        if let Notice::Progress(progress) = notice {
            epochs.lock().unwrap().push(progress.done);
        }
    };
    run(&job.params, &Context { job: &job, notify: &notify }).unwrap();
    assert_eq!(*epochs.lock().unwrap(), [3, 4, 5]);
    let resumed: Vec<Vec<u8>> = OUTPUTS.map(|name| fs::read(context.output(name)).unwrap()).into();
    assert_eq!(resumed, whole);
}

#[test]
fn the_test_set_is_seen_only_by_the_oracle() {
    let run_with = |ports: &[&str], select: Value| {
        let dir = TempDir::new().unwrap();
        run_job(&job(dir.path(), ports, json!({ "select": select }))).map(|_| ())
    };
    assert!(run_with(&["split", "oracle"], json!("test_oracle")).is_ok());
    let missing = run_with(&["split"], json!("test_oracle")).unwrap_err();
    assert!(missing.message.contains("needs a test"), "{missing}");
    let unasked = run_with(&["split", "oracle"], json!("last")).unwrap_err();
    assert!(unasked.message.contains("does not ask"), "{unasked}");
    let set = run_with(&["split", "oracle"], json!({ "test_oracle": { "set": "tail" } })).unwrap_err();
    assert!(set.message.contains("`tail`"), "{set}");
}
