//! What the engine costs: pipelines of many trivial stages, run for the first time and again when nothing is to be
//! done, in process and in warm workers; starting the program; digesting a raw file. Peers are ninja on a graph of the
//! same size where it is installed, and b3sum, which cargo installs into the user's cache folder if it is not there.
//!
//! `cargo bench --bench engine [-- SIZE...]`; sizes are numbers of stages, 1000 and 10000 unless named.

#[path = "shared/child.rs"]
mod child;
#[path = "shared/peers.rs"]
mod peers;
#[path = "shared/pipelines.rs"]
mod pipelines;
#[path = "shared/table.rs"]
mod table;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use child::{Measured, measured};
use cnsdiff_pipe::engine::{self, Options};
use cnsdiff_pipe::store::Store;
use cnsdiff_pipe::store::raw::RawFiles;
use peers::works;
use pipelines::{planned, written_out};
use rand::Rng;
use rayon::prelude::*;
use table::row;

const THREADS: usize = 2;
/// What is short is done several times, and the best counts.
const REPEATS: usize = 7;
const GIBIBYTE: usize = 1 << 30;
/// The release of b3sum that is installed where there is none.
const B3SUM: &str = "1.8.2";
/// Trainings that share a worker.
const TRAININGS: usize = 100;

const OWN: &str = env!("CARGO_BIN_EXE_cnsdiff-pipe");
const WORKER: &str = env!("CARGO_BIN_EXE_cnsdiff-pipe-worker");

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1000, 10000] } else { sizes };
    let ninja = works(Command::new("ninja").arg("--version").stderr(Stdio::null()));
    // Nothing is removed before the end: some file systems make new files slowly where many have just been removed.
    let dir = tempfile::tempdir()?;
    let folder = |name: String| -> Result<PathBuf> {
        let folder = dir.path().join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    };
    table::header();
    for &size in &sizes {
        commands(size, ninja, &folder(format!("{size} by command"))?)?;
    }
    for &size in &sizes {
        let runs = engine_alone(size, &folder(format!("{size} alone"))?, Options::default())?;
        row(&format!("no-op run of {size} stages, engine alone (ms)"), runs.noop_seconds * 1e3, None, None);
        row("  first run, per stage (ms)", runs.first_per_stage(size), None, None);
    }
    in_workers(sizes[0], dir.path())?;
    trainings(&folder("trainings".to_owned())?)?;
    starts(dir.path())?;
    digest(dir.path())
}

/// The first run, and the best of several later ones, in which nothing is to be done.
struct Runs {
    first_seconds: f64,
    noop_seconds: f64,
    noop_peak_mib: f64,
}

impl Runs {
    fn of(mut run: impl FnMut() -> Result<Measured>) -> Result<Self> {
        let first_seconds = run()?.seconds;
        let noop = best(&mut run)?;
        Ok(Self { first_seconds, noop_seconds: noop.seconds, noop_peak_mib: noop.peak_mib })
    }

    /// Milliseconds.
    fn first_per_stage(&self, size: usize) -> f64 {
        self.first_seconds / size as f64 * 1e3
    }
}

/// The shortest of several.
fn best(mut run: impl FnMut() -> Result<Measured>) -> Result<Measured> {
    let mut best = run()?;
    for _ in 1..REPEATS {
        let next = run()?;
        if next.seconds < best.seconds {
            best = next;
        }
    }
    Ok(best)
}

/// `run` of a pipeline in its directory.
fn run_in(base: &Path, options: &[&str]) -> Result<Measured> {
    let mut command = Command::new(OWN);
    measured(command.args(["run", "pipeline.yaml", "--quiet"]).args(options).current_dir(base))
}

/// Whole commands over pipelines of trivial stages. A run without work can hardly be shorter than reading the entries of
/// the cache.
fn commands(size: usize, ninja: bool, dir: &Path) -> Result<()> {
    let folder = |name: &str, file: &str, text: String| -> Result<PathBuf> {
        let base = dir.join(name);
        fs::create_dir(&base)?;
        fs::write(base.join(file), text)?;
        Ok(base)
    };
    let base = folder("written out", "pipeline.yaml", written_out(size))?;
    let own = Runs::of(|| run_in(&base, &[]))?;
    let limit = reading(&base.join("cache"))? * 1e3;
    let base = folder("axis", "pipeline.yaml", over_an_axis(size))?;
    let axis = Runs::of(|| run_in(&base, &[]))?;
    let peer = if ninja {
        let base = folder("ninja", "build.ninja", ninja_file(size))?;
        Some(Runs::of(|| measured(Command::new("ninja").current_dir(&base)))?)
    } else {
        None
    };
    let noop = peer.as_ref().map(|peer| (peer.noop_seconds * 1e3, "ninja"));
    row(&format!("no-op run of {size} stages (ms)"), own.noop_seconds * 1e3, noop, Some(limit));
    row("  over an axis", axis.noop_seconds * 1e3, noop, Some(limit));
    let memory = peer.as_ref().map(|peer| (peer.noop_peak_mib, "ninja"));
    row("  peak memory (MiB)", own.noop_peak_mib, memory, None);
    let first = peer.as_ref().map(|peer| (peer.first_per_stage(size), "ninja, not durable"));
    row("  first run, per stage (ms)", own.first_per_stage(size), first, None);
    println!("  limit: reading the entries of the cache and looking for its objects");
    Ok(())
}

/// The same stages as those written out, as two arrays over one axis.
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
        // Writing to a string cannot fail.
        let _ = writeln!(text, "build a{index}: literal\n  x = {index}\nbuild b{index}: concat a{index}");
    }
    text
}

/// Seconds to read the entries of a cache and to look whether its objects are there, in parallel.
fn reading(cache: &Path) -> Result<f64> {
    let (mut entries, mut objects) = (Vec::new(), Vec::new());
    list(&cache.join("index"), &mut entries)?;
    list(&cache.join("objects"), &mut objects)?;
    let read = || {
        let started = Instant::now();
        entries.par_iter().try_for_each(|path| fs::read(path).map(drop))?;
        objects.par_iter().try_for_each(|path| fs::metadata(path).map(drop))?;
        Ok(within(started))
    };
    Ok(best(read)?.seconds)
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => list(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}

/// What was done within this process since `started`.
fn within(started: Instant) -> Measured {
    Measured { seconds: started.elapsed().as_secs_f64(), peak_mib: 0.0, printed: String::new() }
}

fn engine_alone(size: usize, cache: &Path, options: Options) -> Result<Runs> {
    let registry = cnsdiff_pipe::stages::registry();
    let plan = planned(&written_out(size))?;
    Runs::of(|| {
        let started = Instant::now();
        let store = Store::open(cache)?;
        let states = engine::run(&plan, &registry, &store, &options, &mut |_| {})?;
        assert!(states.iter().all(|state| state.entry().is_some()));
        Ok(within(started))
    })
}

/// Trivial stages, one after the other, in process and in a worker.
fn in_workers(size: usize, dir: &Path) -> Result<()> {
    let one = Options { jobs: 1, worker: WORKER.into(), ..Options::default() };
    let here = engine_alone(size, &dir.join("here"), one.clone())?.first_per_stage(size);
    let isolated = Options { isolate: true, ..one };
    let there = engine_alone(size, &dir.join("there"), isolated)?.first_per_stage(size);
    row("stage in process, one by one (ms)", here, None, None);
    row("stage in a warm worker, one by one (ms)", there, None, Some(here));
    println!("  limit: the same stage in process");
    Ok(())
}

/// Trainings that are over at once: what is left is the engine, the worker, and results on disk.
fn trainings(dir: &Path) -> Result<()> {
    let with_seeds = |seeds: usize| {
        let seeds: Vec<String> = (0..seeds).map(|seed| seed.to_string()).collect();
        let text = format!(
            "pipeline: bench\naxes:\n  seed: [{}]\nstages:\n  \
             data: {{ kind: synthetic, with: {{ users: 50, items: 60, interactions: 250 }} }}\n  \
             split: {{ kind: split, needs: {{ data: data }}, \
             with: {{ parts: [log], scenario: {{ popularity: {{ ood: 0.2, valid: 0.1, iid: 0.1 }} }} }} }}\n  \
             model: {{ kind: train, over: [seed], needs: {{ split: split }}, with: {{ backbone: mf, sampler: uniform, \
             dim: 8, batch_size: 64, epochs: 1, select: last, seed: \"{{{{ seed }}}}\" }} }}\n",
            seeds.join(", ")
        );
        fs::write(dir.join("pipeline.yaml"), text)?;
        run_in(dir, &["--jobs", "1"])
    };
    with_seeds(1)?;
    let seconds = with_seeds(1 + TRAININGS)?.seconds;
    let alone = best(|| measured(Command::new(WORKER).stdin(Stdio::null())))?.seconds;
    let ours = seconds / TRAININGS as f64 * 1e3;
    row("training in a warm worker (ms)", ours, None, None);
    println!("  {TRAININGS} of them one by one, their one worker's start of {:.0} ms included", alone * 1e3);
    Ok(())
}

/// Commands that do not train, beside a program that does nothing.
fn starts(dir: &Path) -> Result<()> {
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/paper.yaml");
    let nothing = best(|| measured(&mut Command::new("true")))?.seconds * 1e3;
    let version = best(|| measured(Command::new(OWN).arg("--version")))?.seconds * 1e3;
    let plan = best(|| measured(Command::new(OWN).arg("plan").arg(&pipeline).current_dir(dir)))?.seconds * 1e3;
    row("--version (ms)", version, None, Some(nothing));
    row("plan of paper.yaml (ms)", plan, None, Some(nothing));
    println!("  limit: starting `true`");
    Ok(())
}

/// A raw file of a gibibyte, as `ingest` digests it, with its pages in memory. The limit hashes a slice.
fn digest(dir: &Path) -> Result<()> {
    let path = dir.join("raw");
    let mut bytes = vec![0; GIBIBYTE];
    cnsdiff_pipe::rng::stream(1, "bench", 0).fill_bytes(&mut bytes);
    BufWriter::new(fs::File::create(&path)?).write_all(&bytes)?;
    let limit = best(|| {
        let started = Instant::now();
        blake3::Hasher::new().update_rayon(&bytes).finalize();
        Ok(within(started))
    })?;
    drop(bytes);
    let files = RawFiles::new(&dir.join("cache"), dir, None, Vec::new());
    let digest = files.read(&path, None)?.to_string();
    let ours = best(|| {
        let started = Instant::now();
        files.read(&path, None)?;
        Ok(within(started))
    })?;
    let peer = match b3sum() {
        Some(b3sum) => {
            let run = || measured(Command::new(&b3sum).args(["--num-threads", &THREADS.to_string()]).arg(&path));
            let best = best(run)?;
            assert!(digest.ends_with(best.printed.split_whitespace().next().unwrap_or("nothing")));
            Some((best.seconds, "b3sum"))
        }
        None => None,
    };
    row("digest of a raw file of 1 GiB (s)", ours.seconds, peer, Some(limit.seconds));
    println!("  limit: the same hash over memory");
    Ok(())
}

fn b3sum() -> Option<PathBuf> {
    let installed = |program: &Path| works(Command::new(program).arg("--version").stderr(Stdio::null()));
    let own = peers::folder()?.join("bench-b3sum");
    let candidates = [PathBuf::from("b3sum"), own.join("bin/b3sum")];
    if let Some(found) = candidates.iter().find(|program| installed(program)) {
        return Some(found.clone());
    }
    let mut cargo = Command::new("cargo");
    works(cargo.args(["install", "b3sum", "--locked", "--quiet", "--version", B3SUM, "--root"]).arg(&own))
        .then(|| candidates[1].clone())
}
