//! Raw files that change, move or are no files: what a run takes them for.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{RecordBatch, StringArray};
use cnsdiff_pipe::engine::stage::{Context, Kind, RawSource, Runner, Stage, StageError, parse};
use cnsdiff_pipe::engine::{Outcome, State};
use cnsdiff_pipe::spec::{Form, Output, Port};
use cnsdiff_pipe::store::parquet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lab::{Lab, Ran};

/// `read`: the text of a raw file, which somebody changes while it is read.
struct Read;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    source: String,
    #[serde(default)]
    digest: Option<String>,
    /// `after`: the file is another one when it has been read. `meanwhile`: it is another one while it is read, and is
    /// put back with its times.
    #[serde(default)]
    changed: String,
}

impl Stage for Read {
    type Params = Params;
    const KIND: &'static str = "read";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Reads a file.";
    const PORTS: &'static [Port] = &[];
    const OUTPUTS: &'static [Output] = &[Output { name: "table", doc: "Its text.", form: Form::Table(&[]) }];

    fn files(params: &Params) -> Vec<RawSource> {
        vec![RawSource { source: params.source.clone(), digest: params.digest.clone(), ..RawSource::default() }]
    }

    fn sources(params: &mut Params) -> Vec<&mut String> {
        vec![&mut params.source]
    }
}

fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Read>(params)?;
    let path = &context.job.files[0];
    let (sound, modified) = (fs::read(path)?, fs::metadata(path)?.modified()?);
    if params.changed == "meanwhile" {
        rewrite(path, b"EVIL", modified);
    }
    let text = fs::read_to_string(path)?;
    match params.changed.as_str() {
        "after" => rewrite(path, b"EVIL", modified),
        "meanwhile" => rewrite(path, &sound, modified),
        _ => {}
    }
    let batch = RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(vec![text])) as _)])?;
    parquet::write(&context.output("table"), &batch, &[])?;
    Ok(())
}

pub fn kind() -> Kind {
    Kind::of::<Read>(Runner::InProcess(run))
}

/// In place and with another time of modification, as a later change of the file cannot undo.
fn rewrite(path: &Path, bytes: &[u8], modified: SystemTime) {
    // The next tick of the clock that files are stamped by.
    std::thread::sleep(Duration::from_millis(20));
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

/// A stage `raw` that reads `name`, below the lab's directory.
fn lab(name: &str, params: Value) -> Lab {
    let mut all = json!({ "source": name });
    params.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    let mut lab = Lab::new().stage("raw", "read", all, &[]);
    lab.options.base = lab.dir.path().to_owned();
    lab
}

fn message(ran: &Ran) -> &str {
    &ran.failure("raw").error.message
}

#[test]
fn a_file_that_changes_while_a_stage_reads_it_fails_the_stage_and_nothing_is_kept() {
    for changed in ["after", "meanwhile"] {
        for digest in [None, Some(format!("blake3:{}", blake3::hash(b"GOOD").to_hex()))] {
            let lab = lab("a.txt", json!({ "changed": changed, "digest": digest }));
            fs::write(lab.dir.path().join("a.txt"), "GOOD").unwrap();
            let ran = lab.run();
            assert!(message(&ran).contains("a.txt` changed while the run was going on: run again"), "{changed}");
            assert!(lab.store().keys().unwrap().is_empty(), "{changed}");
        }
    }
}

#[test]
fn a_file_that_changes_between_the_look_at_it_and_the_stage_is_not_kept_under_its_old_key() {
    let mut lab = lab("a.txt", json!({})).sum_with("slow", json!({ "value": 1, "sleep_ms": 600 }), &[]);
    let file = lab.dir.path().join("a.txt");
    fs::write(&file, "GOOD").unwrap();
    lab.options.jobs = 1;
    // `slow` comes first for one of these.
    for seed in 0..20 {
        lab.options.shuffle = Some(seed);
        lab.options.force = vec!["slow".to_owned()];
        fs::write(&file, format!("GOOD {seed}")).unwrap();
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                fs::write(&file, "EVIL").unwrap();
            });
            lab.run()
        });
        if let State::Failed { failure, .. } = &ran.states["raw"] {
            let message = &failure.error.message;
            assert!(message.contains("changed while the run was going on: run again (a.txt)"), "{message}");
            return;
        }
    }
    panic!("`slow` never came first");
}

#[test]
fn a_renamed_file_runs_nothing_and_a_changed_one_does() {
    let mut lab = lab("a.txt", json!({}));
    let at = |lab: &Lab, name: &str| lab.dir.path().join(name);
    fs::write(at(&lab, "a.txt"), "GOOD").unwrap();
    assert_eq!(lab.run().outcome("raw"), Outcome::Executed);
    fs::create_dir(at(&lab, "deep")).unwrap();
    fs::rename(at(&lab, "a.txt"), at(&lab, "deep/b.txt")).unwrap();
    lab.set("raw", "source", json!("deep/b.txt"));
    assert_eq!(lab.run().outcome("raw"), Outcome::Cached);
    lab.set("raw", "source", json!(format!("file://{}", at(&lab, "deep/b.txt").display())));
    assert_eq!(lab.run().outcome("raw"), Outcome::Cached);
    fs::write(at(&lab, "deep/b.txt"), "ELSE").unwrap();
    assert_eq!(lab.run().outcome("raw"), Outcome::Executed);
}

#[test]
fn what_is_no_regular_file_fails_at_once() {
    for declared in [json!({}), json!({ "digest": format!("blake3:{}", blake3::hash(b"").to_hex()) })] {
        for (source, what) in [("/dev/zero", "device"), ("file:///dev/zero", "device"), (".", "directory")] {
            let ran = lab(source, declared.clone()).run();
            assert!(message(&ran).contains(what), "{source}: {}", message(&ran));
        }
    }
}

#[test]
fn an_interrupt_while_files_are_digested_cancels_their_stages() {
    let lab = lab("a.txt", json!({}));
    fs::write(lab.dir.path().join("a.txt"), "GOOD").unwrap();
    lab.options.interrupt.raise();
    assert_eq!(lab.run().outcome("raw"), Outcome::Cancelled);
}
