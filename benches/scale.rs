//! What size costs: an epoch of LightGCN and a ranking over generated interactions, from 10^5 to 10^7, with a tenth as
//! many users and items. Each size runs in a process of its own, for its peak of memory.
//!
//! `cargo bench --bench scale [-- SIZE...]`. A step propagates over the whole graph, so an epoch has the same number of
//! steps at every size: batches grow with the data.

#[path = "shared/memory.rs"]
mod memory;

use std::error::Error;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Instant;

use cnsdiff_pipe::data::{Graph, Interactions};
use cnsdiff_pipe::rng;
use cnsdiff_pipe::train::{Config, Data, EpochEnd, Watch, fit, recommend};
use memory::peak_mib;
use rand::RngExt;
use serde_json::json;
use tch::Device;

const THREADS: usize = 2;
const SIZES: [usize; 5] = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
const DIM: usize = 64;
const STEPS: usize = 10;
/// Users that are ranked for.
const RANKED: usize = 1_024;
const SEED: u64 = 1;
/// Names the size that a process of the bench is for.
const ONE: &str = "--one";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == ONE) {
        rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
        return one(arguments.get(at + 1).map_or(Ok(SIZES[0]), |size| size.parse())?);
    }
    let sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    println!(
        "{:>12} {:>9} {:>9} {:>10} {:>14} {:>14} {:>12} {:>10}",
        "interactions", "users", "items", "epoch (s)", "s per million", "rank (ms/user)", "ns per item", "peak (MiB)"
    );
    for size in if sizes.is_empty() { SIZES.to_vec() } else { sizes } {
        let status = Command::new(std::env::current_exe()?).args([ONE, &size.to_string()]).status()?;
        if !status.success() {
            return Err(format!("{size} interactions: {status}").into());
        }
    }
    Ok(())
}

/// The clock at the end of each epoch.
struct Clock(Vec<Instant>);

impl Watch for Clock {
    fn epoch(&mut self, _: &EpochEnd, _: &dyn Fn() -> Vec<u8>) -> ControlFlow<()> {
        self.0.push(Instant::now());
        // The second epoch is the one that counts.
        if self.0.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn one(size: usize) -> Result<(), Box<dyn Error>> {
    let side = size / 10;
    let mut rng = rng::stream(SEED, "bench", 0);
    let pairs = Interactions {
        user: (0..size).map(|_| rng.random_range(0..side as u32)).collect(),
        // Few items have most of the interactions.
        item: (0..size).map(|_| (rng.random::<f64>().powi(3) * side as f64) as u32).collect(),
        ..Interactions::default()
    };
    let graph = Graph::with_size(side, side, &pairs);
    drop(pairs);
    let config: Config = serde_json::from_value(json!({
        "backbone": { "lightgcn": { "layers": 2 } }, "dim": DIM, "batch_size": graph.n_edges().div_ceil(STEPS),
        "epochs": 3, "seed": SEED, "select": "last", "sampler": "uniform",
    }))?;
    let mut clock = Clock(Vec::new());
    // Ended after the second epoch, which is no failure here.
    let _ = fit(
        &config,
        &Data { train: &graph, valid: &Interactions::default(), oracle: None },
        Device::Cpu,
        None,
        &mut clock,
    );
    let [first, second] = clock.0[..] else { return Err("the training did not come to its second epoch".into()) };
    let epoch = (second - first).as_secs_f64();

    let encoded = cnsdiff_pipe::model::xavier_tables(SEED, side, side, DIM);
    let users: Vec<u32> = (0..RANKED.min(side) as u32).collect();
    let start = Instant::now();
    recommend(&encoded, side, DIM, &users, &[&graph], 20, Device::Cpu)?;
    let ranking = start.elapsed().as_secs_f64() / users.len() as f64;
    println!(
        "{size:>12} {side:>9} {side:>9} {epoch:>10.2} {:>14.3} {:>14.3} {:>12.2} {:>10.0}",
        epoch / size as f64 * 1e6,
        ranking * 1e3,
        ranking / side as f64 * 1e9,
        peak_mib("self").ok_or("no VmHWM in /proc/self/status")?
    );
    Ok(())
}
