//! What the machine could do: the rate of libtorch's matrix product, the bytes that a batch of LightGCN must move, and how
//! fast memory moves them.

use std::error::Error;
use std::hint::black_box;

use cnsdiff_pipe::data::Graph;
use cnsdiff_pipe::kernel::Aligned;
use cnsdiff_pipe::method::backend::fast::layout::{Layout, PANEL};
use cnsdiff_pipe::method::sampler::UniformDraws;
use cnsdiff_pipe::rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::{BATCH, DIM, EPOCHS, SEED, THREADS, batch_of, best, pairs};

/// Runs of a limit per turn: as many as epochs that count.
const WINDOWS: usize = EPOCHS - 1;

/// Multiplications and additions per second of libtorch's product of two square matrices, on all threads.
pub fn product_rate() -> f64 {
    const SIDE: i64 = 2048;
    tch::set_num_threads(THREADS as i32);
    let [a, b] = [(); 2].map(|()| Tensor::rand([SIDE, SIDE], (Kind::Float, Device::Cpu)));
    let seconds = best(7, || drop(a.matmul(&b)));
    2.0 * (SIDE * SIDE * SIDE) as f64 / seconds
}

/// Bytes that a batch must move.
pub struct Bytes {
    /// Four whole sparse products.
    pub four: f64,
    /// Two whole ones, one that is wanted in the rows of a batch, one whose operand is zero elsewhere.
    pub two: f64,
    pub rest: f64,
}

impl Bytes {
    pub fn new(graph: &Graph) -> Result<Self, Box<dyn Error>> {
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
        UniformDraws::new(graph)?.draw(&batch_of(&users, 0), 1, &mut negatives);
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

/// Bytes read and written per second by all threads when tables of `length` numbers are copied until `bytes` are moved: as
/// long as what it is compared with, for a machine is faster for a moment than it is for long.
pub fn copy_bandwidth(length: usize, bytes: f64) -> f64 {
    let (from, mut to) = (vec![1.0f32; length], vec![0.0f32; length]);
    let copies = (bytes / (8 * length) as f64).ceil() as usize;
    let seconds = best(WINDOWS, || {
        let share = length.div_ceil(THREADS);
        to.par_chunks_mut(share).zip(from.par_chunks(share)).for_each(|(to, from)| {
            for _ in 0..copies {
                black_box(&mut *to).copy_from_slice(from);
            }
        });
    });
    (copies * 8 * length) as f64 / seconds
}

/// Bytes read per second by all threads when the rows of a table are taken in the order of the graph's neighbours until
/// `bytes` are read, each thread reading a panel.
pub fn row_bandwidth(graph: &Graph, bytes: f64) -> f64 {
    let layout = Layout { rows: graph.n_users + graph.n_items, dim: DIM };
    let table = Aligned::zeros(layout.rows * DIM);
    let pass = 2 * graph.n_edges() * 4 * DIM;
    let passes = (bytes / pass as f64).ceil() as usize;
    let read = |neighbours: &[u32], panel: &[f32]| {
        let mut row = [0.0f32; PANEL];
        for &neighbour in neighbours {
            row.copy_from_slice(&panel[neighbour as usize * PANEL..][..PANEL]);
            black_box(&row);
        }
    };
    let seconds = best(WINDOWS, || {
        table.par_chunks_exact(layout.panel()).for_each(|panel| {
            let (users, items) = panel.split_at(graph.n_users * PANEL);
            for _ in 0..passes {
                read(&graph.user_items, items);
                read(&graph.item_users, users);
            }
        });
    });
    (passes * pass) as f64 / seconds
}
