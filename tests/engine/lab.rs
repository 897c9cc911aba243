//! A laboratory for the engine: pipelines built by hand, a stage kind whose executions can be counted and that
//! fails on demand, and runs as other processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use cnsdiff_pipe::digest::Digest;
use cnsdiff_pipe::engine::stage::{Context, Kind, Resources, Runner, Stage, StageError};
use cnsdiff_pipe::engine::{self, Event, Options, Outcome, Registry, State};
use cnsdiff_pipe::plan::Plan;
use cnsdiff_pipe::spec::{Arity, Form, Instance, Location, Need, Output, Pipeline, Port, Source, StageDef};
use cnsdiff_pipe::store::{Store, parquet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `sum`: the sum of its inputs and its own value, after noting its execution in a journal.
pub struct Sum;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    value: i64,
    /// The output does not tell values apart within this distance.
    #[serde(default = "one")]
    granularity: i64,
    #[serde(default)]
    sleep_ms: u64,
    /// `fail`, `panic`, or `fail_once`.
    #[serde(default)]
    mode: String,
    journal: PathBuf,
}

fn one() -> i64 {
    1
}

impl Stage for Sum {
    type Params = Params;
    const KIND: &'static str = "sum";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Adds.";
    const PORTS: &'static [Port] =
        &[Port { name: "terms", doc: "What to add.", artifacts: &[], arity: Arity::OptionalMany }];
    const OUTPUTS: &'static [Output] = &[Output { name: "table", doc: "The sum.", form: Form::Table(&[]) }];
}

fn run_sum(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = engine::stage::parse::<Sum>(params)?;
    let mut journal = fs::OpenOptions::new().create(true).append(true).open(&params.journal)?;
    journal.write_all(format!("{}\n", context.job.id).as_bytes())?;
    context.log(format!("value {}", params.value));
    std::thread::sleep(Duration::from_millis(params.sleep_ms));
    let marker = context.job.scratch.join("tried");
    match params.mode.as_str() {
        "fail" => return Err(StageError::new("told to fail").with_help("do not")),
        "panic" => panic!("told to panic"),
        "fail_once" if !marker.exists() => {
            fs::create_dir_all(&context.job.scratch)?;
            fs::write(&marker, "")?;
            return Err(StageError::new("told to fail once"));
        }
        _ => {}
    }
    let mut sum = params.value / params.granularity;
    for input in context.inputs("terms") {
        let table = parquet::read(input.artifact("table")?)?;
        sum += table.column(0).as_primitive::<Int64Type>().value(0);
    }
    let batch = RecordBatch::try_from_iter([("sum", Arc::new(Int64Array::from(vec![sum])) as _)])?;
    parquet::write(&context.output("table"), &batch, &[])?;
    Ok(())
}

/// `odd`: answers what it needs when its key is made, and panics when it is asked again, to be started.
struct Odd;

#[derive(Serialize, Deserialize, JsonSchema)]
struct NoParams {}

impl Stage for Odd {
    type Params = NoParams;
    const KIND: &'static str = "odd";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Panics.";
    const PORTS: &'static [Port] = &[];
    const OUTPUTS: &'static [Output] = &[];

    fn resources(_params: &NoParams) -> Resources {
        static ASKED: AtomicBool = AtomicBool::new(false);
        assert!(!ASKED.swap(true, Ordering::SeqCst), "no such resources");
        Resources::default()
    }
}

pub fn registry() -> Registry {
    cnsdiff_pipe::stages::registry().with([
        Kind::of::<Sum>(Runner::InProcess(run_sum)),
        Kind::of::<Odd>(Runner::InProcess(|_, _| Ok(()))),
        crate::raw::kind(),
    ])
}

pub struct Lab {
    pub dir: tempfile::TempDir,
    pub options: Options,
    stages: Vec<StageDef>,
    instances: Vec<Instance>,
}

/// How a run ended.
pub struct Ran {
    pub states: BTreeMap<String, State>,
    pub outcomes: BTreeMap<String, Outcome>,
    pub events: Vec<Event>,
}

impl Ran {
    pub fn outcome(&self, id: &str) -> Outcome {
        self.outcomes[id]
    }

    pub fn executed(&self) -> Vec<&str> {
        let executed = self.outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Executed);
        executed.map(|(id, _)| id.as_str()).collect()
    }

    pub fn digests(&self) -> BTreeMap<&str, Digest> {
        let digest = |state: &State| state.entry().unwrap().outputs[0].digest;
        self.states.iter().map(|(id, state)| (id.as_str(), digest(state))).collect()
    }

    pub fn failure(&self, id: &str) -> &engine::Failure {
        match &self.states[id] {
            State::Failed { failure, .. } => failure,
            other => panic!("{id} did not fail: {other:?}"),
        }
    }
}

impl Lab {
    pub fn new() -> Self {
        let worker = PathBuf::from(env!("CARGO_BIN_EXE_cnsdiff-pipe-worker"));
        let options = Options { jobs: 2, worker, ..Options::default() };
        Self { dir: tempfile::tempdir().unwrap(), options, stages: Vec::new(), instances: Vec::new() }
    }

    pub fn stage(mut self, name: &str, kind: &str, params: Value, needs: &[&str]) -> Self {
        let index = self.instances.len();
        let port = if kind == "concat" { "tables" } else { "terms" };
        let source = |id: &&str| Source {
            instance: self.instances.iter().position(|instance| instance.id == **id).unwrap(),
            artifacts: vec!["table".to_owned()],
        };
        let sources: Vec<Source> = needs.iter().map(source).collect();
        let needs = if sources.is_empty() { Vec::new() } else { vec![Need { port: port.to_owned(), sources }] };
        let registry = registry();
        let params = (registry.get(kind).unwrap().spec.canonical)(&params).unwrap();
        self.stages.push(StageDef {
            name: name.to_owned(),
            kind: kind.to_owned(),
            axes: Vec::new(),
            instances: index..index + 1,
            location: Location::default(),
        });
        self.instances.push(Instance {
            stage: index,
            id: name.to_owned(),
            labels: vec![("name".to_owned(), name.to_owned())],
            params,
            needs,
        });
        self
    }

    pub fn sum(self, name: &str, value: i64, needs: &[&str]) -> Self {
        self.sum_with(name, json!({ "value": value }), needs)
    }

    pub fn sum_with(self, name: &str, mut params: Value, needs: &[&str]) -> Self {
        params["journal"] = json!(self.journal_path());
        self.stage(name, "sum", params, needs)
    }

    /// Changes a parameter of a stage.
    pub fn set(&mut self, name: &str, parameter: &str, value: Value) {
        self.instances.iter_mut().find(|instance| instance.id == name).unwrap().params[parameter] = value;
    }

    pub fn rename(&mut self, name: &str, new: &str) {
        self.stages.iter_mut().filter(|stage| stage.name == name).for_each(|stage| stage.name = new.to_owned());
        let renamed = self.instances.iter_mut().filter(|instance| instance.id == name);
        renamed.for_each(|instance| instance.id = new.to_owned());
    }

    pub fn plan(&self) -> Plan {
        let pipeline = Pipeline {
            name: "lab".to_owned(),
            title: None,
            axes: Vec::new(),
            stages: self.stages.clone(),
            instances: self.instances.clone(),
            changes: Vec::new(),
        };
        Plan::new(pipeline).unwrap()
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub fn store(&self) -> Store {
        Store::open(self.cache()).unwrap()
    }

    pub fn run(&self) -> Ran {
        self.run_in(&self.cache())
    }

    pub fn run_in(&self, cache: &Path) -> Ran {
        let plan = self.plan();
        let store = Store::open(cache).unwrap();
        let mut events = Vec::new();
        let mut sink = |event: &Event| events.push(event.clone());
        let states = engine::run(&plan, &registry(), &store, &self.options, &mut sink).unwrap();
        let ids = plan.pipeline.instances.iter().map(|instance| instance.id.clone());
        let outcome = |event: &Event| match event {
            Event::StageFinished(finished) => Some((finished.id.clone(), finished.outcome)),
            _ => None,
        };
        Ran { states: ids.zip(states).collect(), outcomes: events.iter().filter_map(outcome).collect(), events }
    }

    /// A worker that is this shell script.
    pub fn fake_worker(&mut self, script: &str) {
        use std::os::unix::fs::PermissionsExt;

        let path = self.dir.path().join("worker.sh");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.options.worker = path;
        self.options.isolate = true;
    }

    fn journal_path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// One line per execution that was begun.
    pub fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.journal_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Starts the same run in another process.
    pub fn spawn(&self) -> Child {
        let lab: Vec<(&str, &Value, Vec<&str>)> = self
            .instances
            .iter()
            .map(|instance| {
                let sources = instance.needs.iter().flat_map(|need| &need.sources);
                let needs = sources.map(|source| self.instances[source.instance].id.as_str()).collect();
                (instance.id.as_str(), &instance.params, needs)
            })
            .collect();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lab::runs_in_another_process", "--ignored"])
            .env("LAB", serde_json::to_string(&lab).unwrap())
            .env("LAB_CACHE", self.cache())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// Not a test: what [`Lab::spawn`] starts.
#[test]
#[ignore = "started by other tests as a process of its own"]
fn runs_in_another_process() {
    let Ok(text) = std::env::var("LAB") else { return };
    let stages: Vec<(String, Value, Vec<String>)> = serde_json::from_str(&text).unwrap();
    let lab = stages.into_iter().fold(Lab::new(), |lab, (name, params, needs)| {
        lab.stage(&name, "sum", params, &needs.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let ran = lab.run_in(&PathBuf::from(std::env::var("LAB_CACHE").unwrap()));
    assert!(ran.states.values().all(|state| state.entry().is_some()));
}
