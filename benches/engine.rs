//! What the engine costs: pipelines of many trivial stages, run for the first time and again when nothing is to be
//! done; the engine alone, the whole command, and ninja on a graph of the same size where it is installed.
//!
//! `cargo bench --bench engine [-- SIZE...]`; sizes are numbers of stages, 1000 and 10000 unless named.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use cnsdiff_pipe::engine::{self, Options};
use cnsdiff_pipe::plan::Plan;
use cnsdiff_pipe::spec::{Instance, Location, Need, Pipeline, Source, StageDef};
use cnsdiff_pipe::store::Store;
use serde_json::{Value, json};

/// Runs without work are short, so the best of several counts.
const REPEATS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1000, 10000] } else { sizes };
    let ninja = Command::new("ninja").arg("--version").stdout(Stdio::null()).status().is_ok();
    println!("{:>7} {:<22} {:>10} {:>12} {:>10}", "stages", "what", "first run", "per stage", "no-op");
    for &size in &sizes {
        let dir = tempfile::tempdir()?;
        let own = env!("CARGO_BIN_EXE_cnsdiff-pipe");
        for (what, text) in [("command, written out", written_out(size)), ("command, over an axis", over_an_axis(size))]
        {
            let base = dir.path().join(what);
            fs::create_dir(&base)?;
            fs::write(base.join("pipeline.yaml"), text)?;
            row(size, what, command(&base, own, &["run", "pipeline.yaml", "--quiet"])?);
        }
        if ninja {
            let base = dir.path().join("ninja");
            fs::create_dir(&base)?;
            fs::write(base.join("build.ninja"), ninja_file(size))?;
            row(size, "ninja", command(&base, "ninja", &[])?);
        }
    }
    for &size in &sizes {
        let dir = tempfile::tempdir()?;
        row(size, "engine alone", engine_alone(size, dir.path())?);
    }
    Ok(())
}

struct Measured {
    first_seconds: f64,
    /// The best of several.
    noop_seconds: f64,
}

fn row(size: usize, what: &str, measured: Measured) {
    let Measured { first_seconds, noop_seconds } = measured;
    let (per_stage, noop) = (first_seconds / size as f64 * 1e3, noop_seconds * 1e3);
    println!("{size:>7} {what:<22} {first_seconds:>8.2} s {per_stage:>9.2} ms {noop:>7.1} ms");
}

/// Half the stages are literals, the other half copies of one literal each.
fn written_out(size: usize) -> String {
    let mut text = "pipeline: bench\nstages:\n".to_owned();
    for index in 0..size / 2 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  a{index}: {{ kind: literal, with: {{ rows: [{{ x: {index} }}] }} }}");
        let _ = writeln!(text, "  b{index}: {{ kind: concat, needs: {{ tables: a{index} }} }}");
    }
    text
}

/// The same stages as two arrays over one axis.
fn over_an_axis(size: usize) -> String {
    let labels: Vec<String> = (0..size / 2).map(|index| index.to_string()).collect();
    let labels = labels.join(", ");
    format!(
        "pipeline: bench\naxes:\n  i: [{labels}]\nstages:\n  \
         a: {{ kind: literal, over: [i], with: {{ rows: [{{ x: \"{{{{ i }}}}\" }}] }} }}\n  \
         b: {{ kind: concat, needs: {{ tables: a }} }}\n"
    )
}

fn ninja_file(size: usize) -> String {
    let mut text = "rule literal\n  command = echo $x > $out\nrule concat\n  command = cat $in > $out\n".to_owned();
    for index in 0..size / 2 {
        let _ = writeln!(text, "build a{index}: literal\n  x = {index}\nbuild b{index}: concat a{index}");
    }
    text
}

fn command(base: &Path, program: &str, arguments: &[&str]) -> io::Result<Measured> {
    let first_seconds = timed(base, program, arguments)?;
    let mut noop_seconds = f64::INFINITY;
    for _ in 0..REPEATS {
        noop_seconds = noop_seconds.min(timed(base, program, arguments)?);
    }
    Ok(Measured { first_seconds, noop_seconds })
}

/// Wall time in seconds of one execution.
fn timed(base: &Path, program: &str, arguments: &[&str]) -> io::Result<f64> {
    let started = Instant::now();
    let status = Command::new(program).args(arguments).current_dir(base).stdout(Stdio::null()).status()?;
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        return Err(io::Error::other(format!("`{program} {}` failed", arguments.join(" "))));
    }
    Ok(seconds)
}

fn engine_alone(size: usize, cache: &Path) -> Result<Measured, Box<dyn Error>> {
    let registry = cnsdiff_pipe::stages::registry();
    let plan = Plan::new(pipeline(size))?;
    let options = Options::default();
    let run = || -> Result<f64, Box<dyn Error>> {
        let started = Instant::now();
        let store = Store::open(cache)?;
        let states = engine::run(&plan, &registry, &store, &options, &mut |_| {})?;
        assert!(states.iter().all(|state| state.entry().is_some()));
        Ok(started.elapsed().as_secs_f64())
    };
    let mut measured = Measured { first_seconds: run()?, noop_seconds: f64::INFINITY };
    for _ in 0..REPEATS {
        measured.noop_seconds = measured.noop_seconds.min(run()?);
    }
    Ok(measured)
}

/// What [`written_out`] means.
fn pipeline(size: usize) -> Pipeline {
    let mut pipeline = Pipeline {
        name: "bench".to_owned(),
        title: None,
        axes: Vec::new(),
        stages: Vec::new(),
        instances: Vec::new(),
        changes: Vec::new(),
    };
    let mut add = |id: String, kind: &str, params: Value, needs: Vec<Need>| {
        let index = pipeline.instances.len();
        pipeline.stages.push(StageDef {
            name: id.clone(),
            kind: kind.to_owned(),
            axes: Vec::new(),
            instances: index..index + 1,
            location: Location::default(),
        });
        pipeline.instances.push(Instance { stage: index, id, labels: Vec::new(), params, needs });
    };
    for index in 0..size / 2 {
        add(format!("a{index}"), "literal", json!({ "rows": [{ "x": index }] }), Vec::new());
        let source = Source { instance: 2 * index, artifacts: vec!["table".to_owned()] };
        add(format!("b{index}"), "concat", json!({}), vec![Need { port: "tables".to_owned(), sources: vec![source] }]);
    }
    pipeline
}
