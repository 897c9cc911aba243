//! Guards the hot loops: how many instructions each takes on a small fixed input, counted by valgrind on one thread,
//! must not exceed `benches/instructions.tsv` by more than 30%. Instructions, unlike time, are the same on a busy
//! machine and on another one; what they do not see are memory and instructions that valgrind lacks (AVX-512).
//!
//! `make guard`, and `make guard UPDATE=1` to store the present counts.

#[path = "shared/pipelines.rs"]
mod pipelines;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use cnsdiff_pipe::data::synthetic::{Synthetic, World};
use cnsdiff_pipe::data::{Format, Graph, Interactions};
use cnsdiff_pipe::engine::{self, Options};
use cnsdiff_pipe::kernel::Aligned;
use cnsdiff_pipe::method::backbone::{Backbones, start_backbone};
use cnsdiff_pipe::method::loss::{LossRows, Losses, start_loss};
use cnsdiff_pipe::method::optim::{Rule, Update, apply};
use cnsdiff_pipe::method::sampler::{Negatives, Samplers, StepGradient, UniformDraws, start_sampler};
use cnsdiff_pipe::method::{
    Batch, Choice, Device, Gathered, Nodes, RowGradient, Setup, Step, Summands, TrainingData, Vectors, xavier_tables,
};
use cnsdiff_pipe::stages::registry;
use cnsdiff_pipe::store::Store;
use cnsdiff_pipe::store::raw::RawFiles;
use cnsdiff_pipe::train::{Candidates, Ranking, Scorer, recommend};
use pipelines::{planned, written_out};
use serde_json::{Value, json};

/// Counts may grow by this factor.
const GROWTH: f64 = 1.3;
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv");
/// The argument that valgrind is given with this program.
const COUNT: &str = "--count";

const USERS: u32 = 1000;
const ITEMS: u32 = 800;
const INTERACTIONS: u32 = 20_000;
const DIM: usize = 64;
const BATCH: usize = 512;
const TOP: usize = 20;
const STAGES: usize = 100;
/// Bytes of the raw file.
const RAW: usize = 1 << 20;
const SEED: u64 = 1;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Name, and what prepares it and then passes the part that counts to [`counted`], once.
type Loop = (&'static str, fn(&Sample) -> Result<()>);

const LOOPS: [Loop; 13] = [
    ("LightGCN product, forward and backward", propagate),
    ("Adam step", adam),
    ("uniform negatives", negatives),
    ("BPR pairs", |sample| step(sample, "uniform", &json!({}))),
    ("CNSDiff chains", |sample| {
        let params = json!({ "variant": "as_released", "cl_weight": 0.0, "diffusion_weight": 0.0 });
        step(sample, "cnsdiff", &params)
    }),
    ("CNSDiff contrastive loss", |sample| step(sample, "cnsdiff", &json!({ "generate": false }))),
    ("CNSDiff denoiser training", |sample| {
        step(sample, "cnsdiff", &json!({ "gen_warmup_epochs": 1, "cl_weight": 0.0 }))
    }),
    ("ranking", ranking),
    ("delimited lines", delimited),
    ("digest of a raw file", digest),
    ("planning", planning),
    ("first run", |_| runs(false)),
    ("no-op run", |_| runs(true)),
];

fn main() -> Result<ExitCode> {
    if std::env::args().any(|argument| argument == COUNT) {
        let sample = Sample::new()?;
        LOOPS.iter().try_for_each(|(_, run)| run(&sample))?;
        return Ok(ExitCode::SUCCESS);
    }
    let counts = count()?;
    if std::env::var_os("UPDATE").is_some() {
        let mut text = "loop\tinstructions\n".to_owned();
        for ((name, _), count) in LOOPS.iter().zip(&counts) {
            writeln!(text, "{name}\t{count}")?;
        }
        fs::write(STORED, text)?;
        println!("{STORED} has the present counts");
        return Ok(ExitCode::SUCCESS);
    }
    compare(&counts, stored()?)
}

/// What valgrind counts is what happens within. Its name is given to valgrind.
#[inline(never)]
fn counted(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // Not the last call, which would be a jump.
    black_box(work())
}

/// Instructions of every loop, by this program run under valgrind.
fn count() -> Result<Vec<u64>> {
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") {
        return Err("the stored counts are those of a processor with AVX2 and FMA, which this one lacks".into());
    }
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("counts");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "-q", "--combine-dumps=yes"])
        .args(["--zero-before=guard::counted", "--dump-after=guard::counted"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .arg(COUNT)
        .env("RAYON_NUM_THREADS", "1")
        .status()
        .map_err(|error| {
            format!("valgrind cannot be run ({error}): install it, on Debian by `apt install valgrind`")
        })?;
    if !status.success() {
        return Err(format!("valgrind: {status}").into());
    }
    // A part for each call of `counted`, and one for what comes after.
    let text = fs::read_to_string(out)?;
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals: "));
    let counts = totals.map(|total| Ok(total.trim().parse()?)).collect::<Result<Vec<u64>>>()?;
    if counts.len() != LOOPS.len() + 1 {
        return Err(format!("valgrind counted {} parts of {} loops", counts.len(), LOOPS.len()).into());
    }
    Ok(counts)
}

fn stored() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(STORED).map_err(|error| format!("{STORED}: {error}"))?;
    let rows = text.lines().skip(1).map(|line| {
        let (name, count) = line.split_once('\t').ok_or_else(|| format!("{STORED}: `{line}` has no tab"))?;
        Ok((name.to_owned(), count.parse()?))
    });
    rows.collect()
}

/// Prints all loops, and fails when one has grown or has no count to compare with.
fn compare(counts: &[u64], mut stored: BTreeMap<String, u64>) -> Result<ExitCode> {
    println!("{:<40} {:>14} {:>14} {:>7}", "instructions of", "before", "now", "ratio");
    let mut failures = Vec::new();
    for (&(name, _), &now) in LOOPS.iter().zip(counts) {
        let Some(before) = stored.remove(name) else {
            println!("{name:<40} {:>14} {now:>14} {:>7}", "-", "-");
            failures.push(format!("`{name}` has no stored count"));
            continue;
        };
        let ratio = now as f64 / before as f64;
        println!("{name:<40} {before:>14} {now:>14} {ratio:>7.3}");
        if ratio > GROWTH {
            failures.push(format!("`{name}` takes {ratio:.2} times its instructions; {GROWTH} is allowed"));
        }
        if ratio < 1.0 / GROWTH {
            println!("  much less than before: store the new counts, so that they are kept");
        }
    }
    failures.extend(stored.keys().map(|name| format!("`{name}` is stored, but there is no such loop")));
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    failures.iter().for_each(|failure| eprintln!("error: {failure}"));
    eprintln!("if it must be so, `make guard UPDATE=1` stores the present counts in benches/instructions.tsv");
    Ok(ExitCode::FAILURE)
}

/// A generated data set, tables for it, and one batch.
struct Sample {
    rows: Interactions,
    data: TrainingData,
    tables: Vec<f32>,
    users: Vec<u32>,
    positives: Vec<u32>,
    negatives: Vec<u32>,
}

impl Sample {
    fn new() -> Result<Self> {
        let params = Synthetic {
            users: USERS,
            items: ITEMS,
            interactions: INTERACTIONS,
            uniform: 0.0,
            seed: SEED,
            ..Synthetic::default()
        };
        let rows = World::new(&params).generate().rows;
        let graph = Graph::with_size(USERS as usize, ITEMS as usize, &rows);
        // Distant rows, so that they are of many users.
        let some = || (0..rows.user.len()).step_by(rows.user.len() / BATCH).take(BATCH);
        let users: Vec<u32> = some().map(|row| rows.user[row]).collect();
        let positives = some().map(|row| rows.item[row]).collect();
        let mut negatives = Vec::new();
        UniformDraws::new(&graph)?.draw(&batch(&users, &users, 0), 1, &mut negatives);
        let tables = xavier_tables(SEED, graph.n_users, graph.n_items, DIM);
        let data = TrainingData::over(graph, rows.clone());
        Ok(Self { rows, data, tables, users, positives, negatives })
    }
}

/// A batch of these rows.
fn batch<'a>(users: &'a [u32], positives: &'a [u32], step: u64) -> Batch<'a> {
    Batch { epochs: 10, ..Batch::of_pairs(SEED, step, users, positives) }
}

fn setup(data: &TrainingData) -> Setup<'_> {
    Setup::new(data, SEED, DIM)
}

/// The vectors of the tables as they are.
fn vectors(sample: &Sample) -> Vectors {
    let (users, items) = sample.tables.split_at(sample.data.graph.n_users * DIM);
    Vectors { width: DIM, queries: Aligned::from(users), items: Aligned::from(items) }
}

/// Both directions of a step with two layers.
fn propagate(sample: &Sample) -> Result<()> {
    let Sample { data, tables, users, positives, negatives, .. } = sample;
    let mut marks = vec![false; data.graph.n_users + data.graph.n_items];
    users.iter().for_each(|&user| marks[user as usize] = true);
    positives.iter().chain(negatives).for_each(|&item| marks[data.graph.n_users + item as usize] = true);
    let rows = |ids| Summands { ids, values: &tables[..BATCH * DIM] };
    let of_items = [rows(positives), rows(negatives)];
    let gradient = RowGradient { queries: rows(users), items: &of_items };
    let choice: Choice<Backbones> = Choice::new("lightgcn", &json!({ "layers": 2 }))?;
    let mut backbone = start_backbone(&choice, &setup(data))?;
    let mut vectors = vectors(sample);
    let batch = batch(users, positives, 0);
    counted(&mut || {
        backbone.forward(&batch, Nodes::Marked(&marks), &mut vectors)?;
        backbone.backward(&gradient, Nodes::Marked(&marks))?;
        Ok(())
    })
}

fn adam(sample: &Sample) -> Result<()> {
    let mut values = sample.tables.clone();
    let [mut first, mut second] = [(); 2].map(|()| vec![0.0; values.len()]);
    let rule = Rule::default();
    counted(&mut || {
        let update = Update { rule: &rule, lr: 1e-3, step: 1, scale: 1.0 };
        apply(&update, &mut values, &sample.tables, [&mut first, &mut second]);
        Ok(())
    })
}

fn negatives(sample: &Sample) -> Result<()> {
    let uniform = UniformDraws::new(&sample.data.graph)?;
    let mut negatives = vec![0; sample.rows.user.len()];
    counted(&mut || {
        uniform.draw(&batch(&sample.rows.user, &sample.rows.item, 1), 1, &mut negatives);
        Ok(())
    })
}

/// What a sampler with these parameters and BPR do in a step.
fn step(sample: &Sample, name: &str, params: &Value) -> Result<()> {
    let setup = setup(&sample.data);
    let choice: Choice<Samplers> = Choice::new(name, params)?;
    let bpr: Choice<Losses> = Choice::new("bpr", &json!({}))?;
    let (mut sampler, mut loss) = (start_sampler(&choice, &setup)?, start_loss(&bpr, &setup)?);
    let (vectors, mut gradient) = (vectors(sample), StepGradient::default());
    let batch = batch(&sample.users, &sample.positives, 0);
    let step = Step { batch, vectors: &vectors, candidates: &sample.negatives, per_row: 1 };
    let gathered = |matrix, ids| Gathered { matrix, width: DIM, ids: Some(ids) };
    counted(&mut || {
        let negatives = sampler.choose(&step)?;
        let negatives = match &negatives {
            Negatives::Vectors(rows) => Gathered::all(rows, DIM),
            _ => gathered(&vectors.items, &sample.negatives[..]),
        };
        let rows = LossRows {
            width: DIM,
            per_row: 1,
            queries: gathered(&vectors.queries, &sample.users),
            positives: gathered(&vectors.items, &sample.positives),
            negatives,
            log_q: None,
            users: &sample.users,
            items: &sample.positives,
        };
        black_box(loss.evaluate(&rows, &mut gradient)?);
        black_box(sampler.after(&step, &mut gradient)?);
        Ok(())
    })
}

fn ranking(sample: &Sample) -> Result<()> {
    let graph = &sample.data.graph;
    let everyone: Vec<u32> = (0..graph.n_users as u32).collect();
    let candidates = Candidates::in_order((0..graph.n_items as u32).collect(), graph.n_items);
    let asked = Ranking { candidates: &candidates, masks: &[graph], k: TOP };
    let vectors = vectors(sample);
    let scorer = Scorer::Vectors { vectors: &vectors, device: Device::Cpu };
    counted(&mut || {
        black_box(recommend(&scorer, &everyone, &asked)?);
        Ok(())
    })
}

fn delimited(sample: &Sample) -> Result<()> {
    let mut text = "user,item,rating,timestamp\n".to_owned();
    for (row, (user, item)) in sample.rows.user.iter().zip(&sample.rows.item).enumerate() {
        writeln!(text, "{user},{item},{}.5,{}", row % 5, 1_300_000_000 + row)?;
    }
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), text)?;
    let columns = json!({ "user": "user", "item": "item", "weight": "rating", "time": "timestamp" });
    let format: Format = serde_json::from_value(json!({ "delimited": { "columns": columns } }))?;
    counted(&mut || {
        black_box(format.read(file.path(), None, &mut |_| Ok(()))?);
        Ok(())
    })
}

fn digest(_: &Sample) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("raw");
    fs::write(&file, vec![1; RAW])?;
    let files = RawFiles::new(dir.path(), dir.path(), None, Vec::new());
    counted(&mut || {
        black_box(files.read(&file, None)?);
        Ok(())
    })
}

fn planning(_: &Sample) -> Result<()> {
    let text = written_out(STAGES);
    counted(&mut || {
        black_box(planned(&text)?);
        Ok(())
    })
}

/// A run in which everything is to be done, or nothing any more.
fn runs(again: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (plan, registry) = (planned(&written_out(STAGES))?, registry());
    let options = Options { jobs: 1, ..Options::default() };
    let mut run = || {
        let store = Store::open(dir.path())?;
        let states = engine::run(&plan, &registry, &store, &options, &mut |_| {})?;
        if states.iter().any(|state| state.entry().is_none()) {
            return Err("a stage has no result".into());
        }
        Ok(())
    };
    if again {
        run()?;
    }
    counted(&mut run)
}
