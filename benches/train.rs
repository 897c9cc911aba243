//! What training costs: an epoch of LightGCN with uniform negatives on Yelp2018 beside autograd of libtorch over sparse
//! products in both its formats, an epoch of CNSDiff on Food and on Yelp2018, negative sampling, and ranking on the size
//! of Food; all on two threads, each beside what the machine could do.
//!
//! `cargo bench --bench train`. The training pairs are read from `yelp2018/train.txt` and `food/train.txt` of the data
//! mirror (`CNSDIFF_MIRROR`, or `../shared/data`); without it, pairs of the same size are generated.

#[path = "shared/table.rs"]
mod table;

use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cnsdiff_pipe::data::synthetic::{Synthetic, World};
use cnsdiff_pipe::data::{Graph, IdMap, Interactions};
use cnsdiff_pipe::model::xavier_tables;
use cnsdiff_pipe::rng;
use cnsdiff_pipe::sampler::Uniform;
use cnsdiff_pipe::train::{Config, Data, EpochEnd, Watch, fit, recommend};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde_json::{Value, json};
use table::row;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

const THREADS: usize = 2;
/// The setting of the comparison.
const DIM: usize = 64;
const BATCH: usize = 2048;
const LAYERS: usize = 2;
/// Users, items and training pairs.
const YELP2018: (u32, u32, u32) = (8_093, 13_879, 238_514);
const FOOD: (u32, u32, u32) = (7_732, 6_293, 106_253);
const TOP: usize = 20;
const SEED: u64 = 1;
/// Epochs of ours, and batches of a peer: the first of each is not counted.
const EPOCHS: usize = 5;
const PEER_BATCHES: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let (yelp2018, food) = (Input::new("yelp2018", YELP2018)?, Input::new("food", FOOD)?);
    for Input { name, graph, .. } in [&yelp2018, &food] {
        println!("{name}: {} users, {} items, {} pairs", graph.n_users, graph.n_items, graph.n_edges());
    }
    println!("dimension {DIM}, batch {BATCH}, {LAYERS} layers, {THREADS} threads");
    table::header();
    lightgcn(&yelp2018.graph)?;
    let flops = product_rate();
    for input in [&food, &yelp2018] {
        cnsdiff(input, flops)?;
    }
    println!("  limit: the matrix products alone, by libtorch at {:.0} GFLOP/s", flops / 1e9);
    sampling(&yelp2018.graph)?;
    ranking()?;
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
    fn epoch(&mut self, _: &EpochEnd, _: &dyn Fn() -> Vec<u8>) -> ControlFlow<()> {
        self.ends.push((Instant::now(), processor_seconds()));
        ControlFlow::Continue(())
    }
}

/// Seconds of an epoch after the first, the shortest by the clock and by the processor.
fn epoch(graph: &Graph, valid: &Interactions, sampler: Value, select: Value) -> Result<(f64, f64), Box<dyn Error>> {
    let config: Config = serde_json::from_value(json!({
        "backbone": { "lightgcn": { "layers": LAYERS } }, "dim": DIM, "batch_size": BATCH, "epochs": EPOCHS, "seed": SEED,
        "select": select, "sampler": sampler,
    }))?;
    let mut clock = Clock::default();
    fit(&config, &Data { train: graph, valid, oracle: None }, Device::Cpu, None, &mut clock)?;
    let epochs = || clock.ends.windows(2);
    let wall = epochs().map(|ends| (ends[1].0 - ends[0].0).as_secs_f64()).fold(f64::INFINITY, f64::min);
    let processor = epochs().map(|ends| ends[1].1 - ends[0].1).fold(f64::INFINITY, f64::min);
    Ok((wall, processor))
}

/// An epoch of CNSDiff as released, its evaluation included. The limit is the time of its matrix products: 61 calls of
/// the denoiser's two layers, the logits of each anchor with 2 negatives per row of the batch, and their gradient with
/// respect to the anchors and to the uniform half.
fn cnsdiff(input: &Input, flops: f64) -> Result<(), Box<dyn Error>> {
    let sampler = json!({ "cnsdiff": { "variant": "as_released" } });
    let select = json!({ "valid_iid": { "measure": "ndcg@20", "patience": EPOCHS } });
    let (ours, processor) = epoch(&input.graph, &input.valid, sampler, select)?;
    let (batch, dim) = (BATCH as f64, DIM as f64);
    let denoiser = 61.0 * 2.0 * batch * 2.0 * dim * dim;
    let contrast = 2.5 * 2.0 * batch * 2.0 * batch * dim;
    let batches = input.graph.n_edges().div_ceil(BATCH) as f64;
    let limit = batches * (denoiser + contrast) / flops;
    row(&format!("CNSDiff epoch, {} (s)", input.name), ours, None, Some(limit));
    println!("  {processor:.3} s of the processor per epoch, {:.2} ms per batch", ours / batches * 1e3);
    Ok(())
}

/// Multiplications and additions per second of libtorch's product of two square matrices, on all threads.
fn product_rate() -> f64 {
    const SIDE: i64 = 2048;
    tch::set_num_threads(THREADS as i32);
    let [a, b] = [(); 2].map(|()| Tensor::rand([SIDE, SIDE], (Kind::Float, Device::Cpu)));
    let seconds = best(7, || drop(a.matmul(&b)));
    2.0 * (SIDE * SIDE * SIDE) as f64 / seconds
}

fn lightgcn(graph: &Graph) -> Result<(), Box<dyn Error>> {
    let (ours, processor) = epoch(graph, &Interactions::default(), json!("uniform"), json!("last"))?;
    tch::set_num_threads(THREADS as i32);
    let batches = graph.n_edges().div_ceil(BATCH) as f64;
    let (coo, csr) = (autograd(graph, false)? * batches, autograd(graph, true)? * batches);

    let bandwidth = copy_bandwidth((graph.n_users + graph.n_items) * DIM);
    let bytes = Bytes::new(graph)?;
    let limit = |bytes: f64| batches * bytes / bandwidth;
    row("LightGCN epoch (s)", ours, Some((coo, "libtorch autograd, COO")), Some(limit(bytes.four + bytes.rest)));
    row(
        "  two of the products partial (s)",
        ours,
        Some((csr, "libtorch autograd, CSR")),
        Some(limit(bytes.two + bytes.rest)),
    );
    let rows_at = row_bandwidth(graph);
    row("  reading rows as they lie (s)", ours, None, Some(batches * (bytes.two / rows_at + bytes.rest / bandwidth)));
    println!("  {processor:.3} s of the processor per epoch, {:.2} ms per batch", ours / batches * 1e3);
    println!(
        "  limit: {:.0} MB of four whole products per batch (second line: {:.0} MB, two of them partial), {:.0} MB of \
         gather, scatter, regularisation and Adam, at {:.1} GB/s of copying tables of this size; third line: the products \
         at {:.1} GB/s of reading the rows of all neighbours",
        bytes.four / 1e6,
        bytes.two / 1e6,
        bytes.rest / 1e6,
        bandwidth / 1e9,
        rows_at / 1e9
    );
    Ok(())
}

/// Bytes that a batch must move.
struct Bytes {
    /// Four whole sparse products.
    four: f64,
    /// Two whole ones, one that is wanted in the rows of a batch, one whose operand is zero elsewhere.
    two: f64,
    rest: f64,
}

impl Bytes {
    fn new(graph: &Graph) -> Result<Self, Box<dyn Error>> {
        let nodes = graph.n_users + graph.n_items;
        let vector = (4 * DIM) as f64;
        // An edge reads an id, a scale and a vector; a row reads its base and is written.
        let product = |edges: usize, rows: usize| edges as f64 * (8.0 + vector) + rows as f64 * 2.0 * vector;
        let whole = product(2 * graph.n_edges(), nodes);
        let mut pairs: Vec<(u32, u32)> = pairs(graph).collect();
        pairs.shuffle(&mut rng::stream(SEED, "bench", 0));
        pairs.truncate(BATCH);
        let users: Vec<u32> = pairs.iter().map(|pair| pair.0).collect();
        let mut negatives = Vec::new();
        Uniform::new(graph)?.draw(&users, SEED, 0, &mut negatives);
        let distinct = |mut ids: Vec<u32>| {
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let users = distinct(users);
        let items = distinct(pairs.iter().map(|pair| pair.1).chain(negatives).collect());
        let edges = users.iter().map(|&user| graph.items_of(user).len()).sum::<usize>()
            + items.iter().map(|&item| graph.users_of(item).len()).sum::<usize>();
        let partial = product(edges, users.len() + items.len());
        // The gradient's first product reads all ids, the vectors of the batch, and writes all rows.
        let sparse = edges as f64 * (4.0 + vector) + (2 * graph.n_edges()) as f64 * 4.0 + nodes as f64 * vector;
        // Rows of the batch: read for the loss; gradients written, read, added to a row; table rows read for the penalty,
        // read and added to the gradient. Adam reads four numbers per parameter and writes three.
        let rest = (3 * BATCH) as f64 * vector * 9.0 + nodes as f64 * vector * 7.0;
        Ok(Self { four: 4.0 * whole, two: 2.0 * whole + partial + sparse, rest })
    }
}

fn pairs(graph: &Graph) -> impl Iterator<Item = (u32, u32)> {
    (0..graph.n_users as u32).flat_map(|user| graph.items_of(user).iter().map(move |&item| (user, item)))
}

/// Bytes read and written per second by all threads when tables of `length` numbers are copied.
fn copy_bandwidth(length: usize) -> f64 {
    let (from, mut to) = (vec![1.0f32; length], vec![0.0f32; length]);
    let seconds = best(50, || {
        let share = length.div_ceil(THREADS);
        to.par_chunks_mut(share).zip(from.par_chunks(share)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    (8 * length) as f64 / seconds
}

/// Bytes read per second by all threads when the rows of a table are taken in the order of the graph's neighbours.
fn row_bandwidth(graph: &Graph) -> f64 {
    let table = vec![1.0f32; (graph.n_users + graph.n_items) * DIM];
    let (users, items) = table.split_at(graph.n_users * DIM);
    let read = |neighbours: &[u32], table: &[f32]| {
        neighbours.par_chunks(4096).for_each(|neighbours| {
            let mut row = [0.0f32; DIM];
            for &neighbour in neighbours {
                row.copy_from_slice(&table[neighbour as usize * DIM..][..DIM]);
                black_box(&row);
            }
        });
    };
    let seconds = best(50, || {
        rayon::join(|| read(&graph.user_items, items), || read(&graph.item_users, users));
    });
    (2 * graph.n_edges() * 4 * DIM) as f64 / seconds
}

/// Seconds of a batch when libtorch derives everything: propagation over a sparse tensor, BPR, Adam. Negatives are drawn
/// beforehand.
fn autograd(graph: &Graph, csr: bool) -> Result<f64, Box<dyn Error>> {
    let nodes = (graph.n_users + graph.n_items) as i64;
    let (users, items) = graph.inv_sqrt_degrees();
    let mut entries: Vec<(i64, i64, f32)> = pairs(graph)
        .flat_map(|(user, item)| {
            let weight = users[user as usize] * items[item as usize];
            let (user, item) = (i64::from(user), graph.n_users as i64 + i64::from(item));
            [(user, item, weight), (item, user, weight)]
        })
        .collect();
    entries.sort_unstable_by_key(|entry| (entry.0, entry.1));
    let rows = Tensor::from_slice(&entries.iter().map(|entry| entry.0).collect::<Vec<_>>());
    let columns = Tensor::from_slice(&entries.iter().map(|entry| entry.1).collect::<Vec<_>>());
    let weights = Tensor::from_slice(&entries.iter().map(|entry| entry.2).collect::<Vec<_>>());
    let options = (Kind::Float, Device::Cpu);
    let adjacency = if csr {
        let ends = Tensor::cat(
            &[
                Tensor::zeros([1], (Kind::Int64, Device::Cpu)),
                rows.bincount::<Tensor>(None, nodes).cumsum(0, Kind::Int64),
            ],
            0,
        );
        Tensor::sparse_csr_tensor_crow_col_value_size(&ends, &columns, &weights, [nodes, nodes].as_slice(), options)
    } else {
        Tensor::sparse_coo_tensor_indices_size(
            &Tensor::stack(&[rows, columns], 0),
            &weights,
            [nodes, nodes],
            options,
            true,
        )
    };

    let store = nn::VarStore::new(Device::Cpu);
    let values = xavier_tables(SEED, graph.n_users, graph.n_items, DIM);
    let tables = store.root().var_copy("tables", &Tensor::from_slice(&values).view([nodes, DIM as i64]));
    let mut adam = nn::Adam::default().build(&store, 1e-3)?;
    let uniform = Uniform::new(graph)?;
    let mut order: Vec<(u32, u32)> = pairs(graph).collect();
    order.shuffle(&mut rng::stream(SEED, "bench", 0));
    let mut seconds = f64::INFINITY;
    for (step, batch) in order.chunks_exact(BATCH).take(PEER_BATCHES).enumerate() {
        let users: Vec<u32> = batch.iter().map(|pair| pair.0).collect();
        let mut negatives = Vec::new();
        uniform.draw(&users, SEED, step as u64, &mut negatives);
        let index = |ids: &mut dyn Iterator<Item = u32>, first: usize| {
            Tensor::from_slice(&ids.map(|id| first as i64 + i64::from(id)).collect::<Vec<_>>())
        };
        let user = index(&mut users.iter().copied(), 0);
        let positive = index(&mut batch.iter().map(|pair| pair.1), graph.n_users);
        let negative = index(&mut negatives.into_iter(), graph.n_users);
        let clock = Instant::now();
        let (mut power, mut sum) = (tables.shallow_clone(), tables.shallow_clone());
        for _ in 0..LAYERS {
            power = adjacency.matmul(&power);
            sum = &sum + &power;
        }
        let encoded = sum / (LAYERS + 1) as f64;
        let [u, i, j] = [&user, &positive, &negative].map(|index| encoded.index_select(0, index));
        let loss =
            -(u * (i - j)).sum_dim_intlist([-1i64].as_slice(), false, Kind::Float).log_sigmoid().mean(Kind::Float);
        let norms = [&user, &positive, &negative].map(|index| tables.index_select(0, index).norm() / BATCH as f64);
        let penalty = norms.into_iter().sum::<Tensor>() * (1e-4 / BATCH as f64);
        adam.backward_step(&(loss + penalty));
        seconds = seconds.min(clock.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

/// Millions of negatives per second. The limit draws items without looking at what users have.
fn sampling(graph: &Graph) -> Result<(), Box<dyn Error>> {
    let mut order: Vec<u32> = pairs(graph).map(|pair| pair.0).collect();
    order.shuffle(&mut rng::stream(SEED, "bench", 0));
    let users: Vec<u32> = order.iter().copied().cycle().take(8 * order.len()).collect();
    let uniform = Uniform::new(graph)?;
    let mut drawn = vec![0; users.len()];
    let ours = best(5, || uniform.draw(&users, SEED, 0, &mut drawn));
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

/// Best items of all users of a data set of Food's size, whose users have ten items each.
fn ranking() -> Result<(), Box<dyn Error>> {
    let (users, items) = (FOOD.0 as usize, FOOD.1 as usize);
    let mut rng = rng::stream(SEED, "bench", 1);
    let owned = Interactions {
        user: (0..users as u32).flat_map(|user| [user; 10]).collect(),
        item: (0..users * 10).map(|_| rng.random_range(0..items as u32)).collect(),
        ..Interactions::default()
    };
    let graph = Graph::with_size(users, items, &owned);
    let encoded = xavier_tables(SEED, users, items, DIM);
    let everyone: Vec<u32> = (0..users as u32).collect();
    tch::set_num_threads(1);
    recommend(&encoded, users, DIM, &everyone, &[&graph], TOP, Device::Cpu)?;
    let ours = best(5, || {
        // The same call has just succeeded.
        let _ = recommend(&encoded, users, DIM, &everyone, &[&graph], TOP, Device::Cpu);
    });
    tch::set_num_threads(THREADS as i32);
    let matrix = |rows: &[f32]| Tensor::from_slice(rows).view([-1, DIM as i64]);
    let (left, right) = (matrix(&encoded[..users * DIM]), matrix(&encoded[users * DIM..]));
    let product = best(5, || drop(left.matmul(&right.tr())));
    let peer = best(5, || drop(left.matmul(&right.tr()).topk(TOP as i64, -1, true, true)));
    row(
        "ranking, top 20 of 7,732 x 6,293 (s)",
        ours,
        Some((peer, "libtorch product and top-k, no masks")),
        Some(product),
    );
    println!("  limit: the product alone by libtorch, {:.0} GFLOP/s", 2e-9 * (users * items * DIM) as f64 / product);
    Ok(())
}
