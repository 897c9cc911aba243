//! The peer libtorch, which derives the gradient of a batch of LightGCN itself.

use std::error::Error;
use std::time::Instant;

use cnsdiff_pipe::data::Graph;
use cnsdiff_pipe::method::sampler::UniformDraws;
use cnsdiff_pipe::method::xavier_tables;
use cnsdiff_pipe::rng;
use rand::seq::SliceRandom;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::{BATCH, DIM, LAYERS, SEED, batch_of, pairs};

/// Batches that are taken, of which the fastest counts.
const BATCHES: usize = 9;

/// Seconds of a batch when libtorch derives everything: propagation over a sparse tensor, BPR, Adam. Negatives are drawn
/// beforehand.
pub fn autograd(graph: &Graph, csr: bool) -> Result<f64, Box<dyn Error>> {
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
    let uniform = UniformDraws::new(graph)?;
    let mut order: Vec<(u32, u32)> = pairs(graph).collect();
    order.shuffle(&mut rng::stream(SEED, "bench", 0));
    let mut seconds = f64::INFINITY;
    for (step, batch) in order.chunks_exact(BATCH).take(BATCHES).enumerate() {
        let users: Vec<u32> = batch.iter().map(|pair| pair.0).collect();
        let mut negatives = Vec::new();
        uniform.draw(&batch_of(&users, step as u64), 1, &mut negatives);
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
