//! What training costs: an epoch of LightGCN with uniform negatives on Yelp2018 beside RecBole and beside autograd of
//! libtorch over sparse products in both its formats, an epoch of CNSDiff on Food and on Yelp2018, negative sampling,
//! ranking on Food, and there an epoch of the other methods beside RecBole's; all on two threads, the first ones beside what
//! the machine could do.
//!
//! `cargo bench --bench train [-- PART...]`; parts are `lightgcn`, `cnsdiff`, `sampling`, `ranking`, `methods` and
//! `threads`, an epoch on as many threads as the machine has cores, 8 at most, in powers of two. The training pairs
//! are read from `yelp2018/train.txt` and `food/train.txt` of the data mirror (`CNSDIFF_MIRROR`, or `../shared/data`);
//! without it, pairs of the same size are generated. RecBole is installed into the user's cache folder by pip; without
//! it, it is not measured.

#[path = "train/autograd.rs"]
mod autograd;
#[path = "train/limits.rs"]
mod limits;
#[path = "train/methods.rs"]
mod methods;
#[path = "shared/python.rs"]
mod python;
#[path = "train/ranking.rs"]
mod ranking;
#[path = "train/recbole.rs"]
mod recbole;
#[path = "shared/table.rs"]
mod table;

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use autograd::autograd;
use cnsdiff_pipe::data::synthetic::{Synthetic, World};
use cnsdiff_pipe::data::{Graph, IdMap, Interactions};
use cnsdiff_pipe::method::sampler::UniformDraws;
use cnsdiff_pipe::method::{Batch, Device as Computes, TrainingData};
use cnsdiff_pipe::rng;
use cnsdiff_pipe::train::{Candidates, Config, Data, EpochEnd, Watch, fit};
use limits::{Bytes, copy_bandwidth, product_rate, row_bandwidth};
use methods::methods;
use rand::RngExt;
use rand::seq::SliceRandom;
use ranking::{ranking, test_set};
use rayon::prelude::*;
use recbole::RecBole;
use serde_json::{Value, json};
use table::row;

const THREADS: usize = 2;
/// The setting of the comparison.
const DIM: usize = 64;
const BATCH: usize = 2048;
const LAYERS: usize = 2;
/// Users, items and training pairs.
const YELP2018: (u32, u32, u32) = (8_093, 13_879, 238_514);
const FOOD: (u32, u32, u32) = (7_732, 6_293, 106_253);
const SEED: u64 = 1;
/// Epochs of ours; the first is not counted.
const EPOCHS: usize = 5;
/// Turns of ours and of the limit where both change from hour to hour.
const TURNS: usize = 5;
/// What can be measured alone.
const PARTS: [&str; 6] = ["lightgcn", "cnsdiff", "sampling", "ranking", "methods", "threads"];

fn main() -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let (yelp2018, food) = (Input::new("yelp2018", YELP2018)?, Input::new("food", FOOD)?);
    for Input { name, graph, .. } in [&yelp2018, &food] {
        println!("{name}: {} users, {} items, {} pairs", graph.n_users, graph.n_items, graph.n_edges());
    }
    println!("dimension {DIM}, batch {BATCH}, {LAYERS} layers, {THREADS} threads");
    let named: Vec<String> = std::env::args().filter(|argument| PARTS.contains(&argument.as_str())).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let recbole = ["lightgcn", "ranking", "methods"].into_iter().any(wanted).then(RecBole::find).flatten();
    let peer = |graph: &Graph| {
        recbole.as_ref().map(|recbole| recbole.measure("LightGCN", graph, &test_set(graph))).transpose()
    };
    table::header();
    if wanted("lightgcn") {
        lightgcn(&yelp2018.graph, peer(&yelp2018.graph)?.map(|peer| peer.epoch))?;
    }
    if wanted("cnsdiff") {
        let flops = product_rate();
        for input in [&food, &yelp2018] {
            cnsdiff(input, flops)?;
        }
        println!("  limit: the matrix products alone, by libtorch at {:.0} GFLOP/s", flops / 1e9);
    }
    if wanted("sampling") {
        sampling(&yelp2018.graph)?;
    }
    if wanted("ranking") {
        ranking(&food.graph, &test_set(&food.graph), peer(&food.graph)?.map(|peer| peer.ranking))?;
    }
    if wanted("methods") {
        methods(&food, recbole.as_ref())?;
    }
    if wanted("threads") {
        threads(&yelp2018.graph)?;
    }
    Ok(())
}

/// A data set to train on.
struct Input {
    name: String,
    graph: Graph,
    /// What epochs are chosen by.
    valid: Interactions,
}

impl Input {
    /// The data set in the folder `name` of the mirror, or generated data of its size.
    fn new(name: &str, (users, items, interactions): (u32, u32, u32)) -> Result<Self, Box<dyn Error>> {
        let mirror = std::env::var_os("CNSDIFF_MIRROR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
        let read = |part: &str| std::fs::read_to_string(mirror.join(name).join(part));
        let (Ok(train), Ok(valid)) = (read("train.txt"), read("valid_iid.txt")) else {
            let generate = |seed: u64, interactions: u32| {
                let size = Synthetic { users, items, interactions, seed, uniform: 0.0, ..Synthetic::default() };
                World::new(&size).generate().rows
            };
            let graph = Graph::with_size(users as usize, items as usize, &generate(SEED, interactions));
            let valid = generate(SEED + 1, interactions / 10);
            return Ok(Self { name: format!("generated like {name}"), graph, valid });
        };
        let (mut users, mut items) = (IdMap::default(), IdMap::default());
        let mut pairs = |text: &str| -> Result<Interactions, Box<dyn Error>> {
            let mut pairs = Interactions::default();
            for line in text.lines() {
                if let [user, item, _] = line.split_whitespace().collect::<Vec<_>>()[..] {
                    pairs.user.push(users.id(user)?);
                    pairs.item.push(items.id(item)?);
                }
            }
            Ok(pairs)
        };
        let (train, valid) = (pairs(&train)?, pairs(&valid)?);
        Ok(Self { name: name.to_owned(), graph: Graph::with_size(users.len(), items.len(), &train), valid })
    }
}

/// The shortest of the runs, in seconds.
fn best(runs: usize, mut run: impl FnMut()) -> f64 {
    let timed = (0..runs).map(|_| {
        let clock = Instant::now();
        run();
        clock.elapsed()
    });
    timed.min().unwrap_or(Duration::MAX).as_secs_f64()
}

/// Seconds of the processor that this process has used.
fn processor_seconds() -> f64 {
    // SAFETY: `rusage` is plain numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// When each epoch ended, by the clock and by the processor.
#[derive(Default)]
struct Clock {
    ends: Vec<(Instant, f64)>,
}

impl Watch for Clock {
    fn epoch(&mut self, _: &EpochEnd, _: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()> {
        self.ends.push((Instant::now(), processor_seconds()));
        ControlFlow::Continue(())
    }
}

/// Trains, and tells when each epoch ended.
fn trained(data: &TrainingData, valid: &Interactions, config: &Value) -> Result<Clock, Box<dyn Error>> {
    let mut config = config.clone();
    config["seed"] = json!(SEED);
    let config: Config = serde_json::from_value(config)?;
    let mut clock = Clock::default();
    let items = data.graph.n_items;
    let candidates = Candidates::in_order((0..items as u32).collect(), items);
    let data = Data { train: data, valid, oracle: None, candidates: &candidates, sets: None };
    fit(&config, &data, Computes::Cpu, None, &mut clock)?;
    Ok(clock)
}

/// Seconds of an epoch after the first, the shortest by the clock and by the processor. The last epoch is the model's unless
/// `config` says otherwise.
fn epoch(data: &TrainingData, valid: &Interactions, config: &Value) -> Result<(f64, f64), Box<dyn Error>> {
    let mut config = config.clone();
    config["epochs"] = json!(EPOCHS);
    if config["select"].is_null() {
        config["select"] = json!("last");
    }
    let clock = trained(data, valid, &config)?;
    let epochs = || clock.ends.windows(2);
    let wall = epochs().map(|ends| (ends[1].0 - ends[0].0).as_secs_f64()).fold(f64::INFINITY, f64::min);
    let processor = epochs().map(|ends| ends[1].1 - ends[0].1).fold(f64::INFINITY, f64::min);
    Ok((wall, processor))
}

/// LightGCN with this sampler.
fn lightgcn_with(sampler: Value) -> Value {
    json!({ "backbone": { "lightgcn": { "layers": LAYERS } }, "dim": DIM, "batch_size": BATCH, "sampler": sampler })
}

/// An epoch of CNSDiff as released, its evaluation included. The limit is the time of its matrix products: 61 calls of
/// the denoiser's two layers, the logits of each anchor with 2 negatives per row of the batch, and their gradient with
/// respect to the anchors and to the uniform half.
fn cnsdiff(input: &Input, flops: f64) -> Result<(), Box<dyn Error>> {
    let mut config = lightgcn_with(json!({ "cnsdiff": { "variant": "as_released" } }));
    config["select"] = json!({ "valid_iid": { "measure": "ndcg@20", "patience": EPOCHS } });
    let data = TrainingData::over(input.graph.clone(), Interactions::default());
    let (ours, processor) = epoch(&data, &input.valid, &config)?;
    let (batch, dim) = (BATCH as f64, DIM as f64);
    let denoiser = 61.0 * 2.0 * batch * 2.0 * dim * dim;
    let contrast = 2.5 * 2.0 * batch * 2.0 * batch * dim;
    let batches = input.graph.n_edges().div_ceil(BATCH) as f64;
    let limit = batches * (denoiser + contrast) / flops;
    row(&format!("CNSDiff epoch, {} (s)", input.name), ours, None, Some(limit));
    println!("  {processor:.3} s of the processor per epoch, {:.2} ms per batch", ours / batches * 1e3);
    Ok(())
}

/// `recbole` are the seconds of RecBole for the same.
fn lightgcn(graph: &Graph, recbole: Option<f64>) -> Result<(), Box<dyn Error>> {
    let batches = graph.n_edges().div_ceil(BATCH) as f64;
    let bytes = Bytes::new(graph)?;
    let (mut ours, mut processor, mut bandwidth, mut rows_at) = (f64::INFINITY, f64::INFINITY, 0.0f64, 0.0f64);
    let data = TrainingData::over(graph.clone(), Interactions::default());
    // In turns, for a virtual machine is not equally fast all the time.
    for _ in 0..TURNS {
        let seconds = epoch(&data, &Interactions::default(), &lightgcn_with(json!("uniform")))?;
        (ours, processor) = (ours.min(seconds.0), processor.min(seconds.1));
        let length = (graph.n_users + graph.n_items) * DIM;
        bandwidth = bandwidth.max(copy_bandwidth(length, batches * (bytes.four + bytes.rest)));
        rows_at = rows_at.max(row_bandwidth(graph, batches * bytes.two));
    }
    tch::set_num_threads(THREADS as i32);
    let (coo, csr) = (autograd(graph, false)? * batches, autograd(graph, true)? * batches);

    let limit = |bytes: f64| batches * bytes / bandwidth;
    let recbole = recbole.map(|seconds| (seconds, "RecBole"));
    let (coo, csr) = ((coo, "libtorch autograd, COO"), (csr, "libtorch autograd, CSR"));
    row("LightGCN epoch (s)", ours, recbole, Some(limit(bytes.four + bytes.rest)));
    row("  two of the products partial (s)", ours, Some(coo), Some(limit(bytes.two + bytes.rest)));
    let as_they_lie = batches * (bytes.two / rows_at + bytes.rest / bandwidth);
    row("  reading rows as they lie (s)", ours, Some(csr), Some(as_they_lie));
    println!("  {processor:.3} s of the processor per epoch, {:.2} ms per batch", ours / batches * 1e3);
    println!(
        "  limit: {:.0} MB of four whole products per batch (second line: {:.0} MB, two of them partial), {:.0} MB of \
         gather, scatter, regularisation and Adam, at {:.1} GB/s of copying tables of this size; third line: the products \
         at {:.1} GB/s of reading the rows of all neighbours, panel by panel",
        bytes.four / 1e6,
        bytes.two / 1e6,
        bytes.rest / 1e6,
        bandwidth / 1e9,
        rows_at / 1e9
    );
    Ok(())
}

/// Epochs of LightGCN and MF on more and more threads.
fn threads(graph: &Graph) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism()?.get();
    let data = TrainingData::over(graph.clone(), Interactions::default());
    let mf = json!({ "backbone": "mf", "dim": DIM, "batch_size": BATCH });
    for (name, config) in [("LightGCN", lightgcn_with(json!("uniform"))), ("MF", mf)] {
        for threads in [1, 2, 4, 8].into_iter().filter(|&threads| threads <= cores) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let timed = || epoch(&data, &Interactions::default(), &config).map_err(|error| error.to_string());
            let (seconds, _) = pool.install(timed)?;
            row(&format!("{name} epoch, threads: {threads} (s)"), seconds, None, None);
        }
    }
    Ok(())
}

/// A batch of these users, which negatives are drawn for.
fn batch_of(users: &[u32], step: u64) -> Batch<'_> {
    Batch::of_pairs(SEED, step, users, users)
}

fn pairs(graph: &Graph) -> impl Iterator<Item = (u32, u32)> {
    (0..graph.n_users as u32).flat_map(|user| graph.items_of(user).iter().map(move |&item| (user, item)))
}

/// Millions of negatives per second. The limit draws items without looking at what users have.
fn sampling(graph: &Graph) -> Result<(), Box<dyn Error>> {
    let mut order: Vec<u32> = pairs(graph).map(|pair| pair.0).collect();
    order.shuffle(&mut rng::stream(SEED, "bench", 0));
    let users: Vec<u32> = order.iter().copied().cycle().take(8 * order.len()).collect();
    let uniform = UniformDraws::new(graph)?;
    let mut drawn = vec![0; users.len()];
    let ours = best(5, || uniform.draw(&batch_of(&users, 0), 1, &mut drawn));
    let items = graph.n_items as u32;
    let limit = best(5, || {
        drawn.par_chunks_mut(1024).enumerate().for_each(|(block, drawn)| {
            let mut rng = rng::stream(SEED, "bench", block as u64);
            drawn.fill_with(|| rng.random_range(0..items));
        });
    });
    let nanoseconds = |seconds: f64| seconds / users.len() as f64 * 1e9;
    row("uniform negative (ns)", nanoseconds(ours), None, Some(nanoseconds(limit)));
    println!("  {:.0} million negatives per second; limit: random items alone", users.len() as f64 / ours / 1e6);
    Ok(())
}
