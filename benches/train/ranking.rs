//! A ranking of all items for all users, with and without its metrics, beside libtorch and RecBole.

use std::error::Error;

use cnsdiff_pipe::data::Graph;
use cnsdiff_pipe::kernel::Aligned;
use cnsdiff_pipe::method::{Device as Computes, Vectors, xavier_tables};
use cnsdiff_pipe::metric::{self, MEASURES, Metric, Relevance};
use cnsdiff_pipe::rng;
use cnsdiff_pipe::train::{Candidates, RankError, Ranking, Scorer, recommend};
use rand::RngExt;
use tch::Tensor;

use crate::table::row;
use crate::{DIM, SEED, THREADS, best, pairs};

const TOP: usize = 20;
/// Cut-offs of every measure.
const CUTOFFS: [usize; 2] = [10, TOP];
/// Test items per user, as many as Food has.
const TESTED: usize = 6;

/// A test item is any item.
pub fn test_set(graph: &Graph) -> Vec<(u32, u32)> {
    let mut rng = rng::stream(SEED, "bench", 1);
    let users = (0..graph.n_users as u32).flat_map(|user| [user; TESTED]);
    users.map(|user| (user, rng.random_range(0..graph.n_items as u32))).collect()
}

/// `recbole` are the seconds of RecBole for the same.
pub fn ranking(graph: &Graph, test: &[(u32, u32)], recbole: Option<f64>) -> Result<(), Box<dyn Error>> {
    let (users, items) = (graph.n_users, graph.n_items);
    let encoded = xavier_tables(SEED, users, items, DIM);
    let everyone: Vec<u32> = (0..users as u32).collect();
    let candidates = Candidates::in_order((0..items as u32).collect(), items);
    let asked = Ranking { candidates: &candidates, masks: &[graph], k: TOP };
    let (of_users, of_items) = encoded.split_at(users * DIM);
    let vectors = Vectors { width: DIM, queries: Aligned::from(of_users), items: Aligned::from(of_items) };
    let scorer = Scorer::Vectors { vectors: &vectors, device: Computes::Cpu };
    let rank = || recommend(&scorer, &everyone, &asked);
    let mut metrics = Vec::new();
    for measure in MEASURES {
        for k in CUTOFFS {
            metrics.push(Metric::new(measure.name(), k)?);
        }
    }
    let popularity: Vec<u32> = (0..items as u32).map(|item| graph.users_of(item).len() as u32).collect();
    let evaluate = || -> Result<Vec<f64>, RankError> {
        let ranked = rank()?;
        let lists: Vec<Vec<u32>> = ranked.iter().map(|list| list.iter().map(|scored| scored.item).collect()).collect();
        let mut relevance = Relevance::new(users, test.iter().copied());
        relevance.remove(pairs(graph));
        let evaluation = metric::evaluate(&metrics, &relevance, &popularity, |user| &lists[user as usize]);
        Ok((0..metrics.len()).map(|m| evaluation.mean(m)).collect())
    };
    tch::set_num_threads(1);
    rank()?;
    // The same call has just succeeded.
    let ranked = best(7, || drop(rank()));
    let evaluated = best(7, || drop(evaluate()));

    tch::set_num_threads(THREADS as i32);
    let matrix = |rows: &[f32]| Tensor::from_slice(rows).view([-1, DIM as i64]);
    let (left, right) = (matrix(&encoded[..users * DIM]), matrix(&encoded[users * DIM..]));
    let product = best(5, || drop(left.matmul(&right.tr())));
    let peer = best(5, || drop(left.matmul(&right.tr()).topk(TOP as i64, -1, true, true)));
    let what = format!("ranking, top {TOP} of {users} x {items} (s)");
    row(&what, ranked, Some((peer, "libtorch product and top-k, no masks")), Some(product));
    let recbole = recbole.map(|seconds| (seconds, "RecBole, the six of the measures that it has"));
    row(&format!("  with {} measures at {CUTOFFS:?} (s)", MEASURES.len()), evaluated, recbole, Some(product));
    println!("  limit: the product alone by libtorch, {:.0} GFLOP/s", 2e-9 * (users * items * DIM) as f64 / product);
    Ok(())
}
