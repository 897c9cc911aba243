//! What size costs: an epoch of LightGCN and a ranking over generated interactions, from 10^5 to 10^7, with a tenth as
//! many users and items. Each size runs in a process of its own, for its peak of memory.
//!
//! `cargo bench --bench scale [-- SIZE...] [--figure FILE]`; the figure is SVG. A step propagates over the whole graph, so
//! an epoch has the same number of steps at every size: batches grow with the data.

#[path = "scale/figure.rs"]
mod figure;
#[path = "shared/memory.rs"]
mod memory;

use std::error::Error;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::time::Instant;

use cnsdiff_pipe::data::{Graph, Interactions};
use cnsdiff_pipe::kernel::Aligned;
use cnsdiff_pipe::method::{Device, TrainingData, Vectors, xavier_tables};
use cnsdiff_pipe::rng;
use cnsdiff_pipe::train::{Candidates, Config, Data, EpochEnd, Ranking, Scorer, Watch, fit, recommend};
use memory::peak_mib;
use rand::RngExt;
use serde_json::json;

const THREADS: usize = 2;
const SIZES: [usize; 5] = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
const DIM: usize = 64;
const STEPS: usize = 10;
/// Users that are ranked for.
const RANKED: usize = 1_024;
const SEED: u64 = 1;
/// Names the size that a process of the bench is for.
const ONE: &str = "--one";
/// Names the file that the figure is written to.
const FIGURE: &str = "--figure";

/// What a size costs.
struct Cost {
    interactions: usize,
    /// Users, and as many items.
    side: usize,
    /// Seconds.
    epoch: f64,
    /// Seconds per user.
    ranking: f64,
    peak_mib: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().skip_while(|&argument| argument != name).nth(1);
    if let Some(size) = after(ONE) {
        rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
        let cost = measure(size.parse()?)?;
        println!("{} {} {}", cost.epoch, cost.ranking, cost.peak_mib);
        return Ok(());
    }
    let sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    println!(
        "{:>12} {:>9} {:>9} {:>10} {:>14} {:>14} {:>12} {:>10}",
        "interactions", "users", "items", "epoch (s)", "s per million", "rank (ms/user)", "ns per item", "peak (MiB)"
    );
    let mut costs = Vec::new();
    for size in if sizes.is_empty() { SIZES.to_vec() } else { sizes } {
        let cost = measure_apart(size)?;
        let Cost { interactions, side, epoch, ranking, peak_mib } = cost;
        println!(
            "{interactions:>12} {side:>9} {side:>9} {epoch:>10.2} {:>14.3} {:>14.3} {:>12.2} {peak_mib:>10.0}",
            epoch / interactions as f64 * 1e6,
            ranking * 1e3,
            ranking / side as f64 * 1e9,
        );
        costs.push(cost);
    }
    if let Some(path) = after(FIGURE) {
        std::fs::write(path, drawn(&costs))?;
    }
    Ok(())
}

/// The same as [`measure`], in a process of its own.
fn measure_apart(interactions: usize) -> Result<Cost, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([ONE, &interactions.to_string()]).stderr(Stdio::inherit()).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [epoch, ranking, peak_mib] if output.status.success() => {
            Ok(Cost { interactions, side: interactions / 10, epoch, ranking, peak_mib })
        }
        _ => Err(format!("{interactions} interactions: {}", output.status).into()),
    }
}

fn drawn(costs: &[Cost]) -> String {
    let panel = |title, quantity: fn(&Cost) -> f64| {
        let points = costs.iter().map(|cost| (cost.interactions as f64, quantity(cost)));
        figure::Panel { title, points: points.collect() }
    };
    let panels = [
        panel("epoch (s)", |cost| cost.epoch),
        panel("ranking (ms per user)", |cost| cost.ranking * 1e3),
        panel("peak memory (MiB)", |cost| cost.peak_mib),
    ];
    figure::draw("LightGCN: cost against size", "interactions", &panels)
}

/// The clock at the end of each epoch.
struct Clock(Vec<Instant>);

impl Watch for Clock {
    fn epoch(&mut self, _: &EpochEnd, _: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()> {
        self.0.push(Instant::now());
        // The second epoch is the one that counts.
        if self.0.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn measure(interactions: usize) -> Result<Cost, Box<dyn Error>> {
    let side = interactions / 10;
    let mut rng = rng::stream(SEED, "bench", 0);
    let pairs = Interactions {
        user: (0..interactions).map(|_| rng.random_range(0..side as u32)).collect(),
        // Few items have most of the interactions.
        item: (0..interactions).map(|_| (rng.random::<f64>().powi(3) * side as f64) as u32).collect(),
        ..Interactions::default()
    };
    let graph = Graph::with_size(side, side, &pairs);
    drop(pairs);
    let config: Config = serde_json::from_value(json!({
        "backbone": { "lightgcn": { "layers": 2 } }, "dim": DIM, "batch_size": graph.n_edges().div_ceil(STEPS),
        "epochs": 3, "seed": SEED, "select": "last", "sampler": "uniform",
    }))?;
    let candidates = Candidates::in_order((0..graph.n_items as u32).collect(), graph.n_items);
    let train = TrainingData::over(graph.clone(), Interactions::default());
    let mut clock = Clock(Vec::new());
    // Ended after the second epoch, which is no failure here.
    let _ = fit(
        &config,
        &Data { train: &train, valid: &Interactions::default(), oracle: None, candidates: &candidates, sets: None },
        Device::Cpu,
        None,
        &mut clock,
    );
    let [first, second] = clock.0[..] else { return Err("the training did not come to its second epoch".into()) };
    let epoch = (second - first).as_secs_f64();

    let encoded = xavier_tables(SEED, side, side, DIM);
    let users: Vec<u32> = (0..RANKED.min(side) as u32).collect();
    let start = Instant::now();
    let ranking = Ranking { candidates: &candidates, masks: &[&graph], k: 20 };
    let (of_users, of_items) = encoded.split_at(side * DIM);
    let vectors = Vectors { width: DIM, queries: Aligned::from(of_users), items: Aligned::from(of_items) };
    recommend(&Scorer::Vectors { vectors: &vectors, device: Device::Cpu }, &users, &ranking)?;
    let ranking = start.elapsed().as_secs_f64() / users.len() as f64;
    let peak_mib = peak_mib("self").ok_or("no VmHWM in /proc/self/status")?;
    Ok(Cost { interactions, side, epoch, ranking, peak_mib })
}
