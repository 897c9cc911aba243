//! An epoch of each method beside RecBole's, on the same pairs and with the same sizes.

use std::error::Error;
use std::time::Instant;

use cnsdiff_pipe::data::{Graph, Interactions};
use cnsdiff_pipe::method::TrainingData;
use serde_json::{Value, json};

use crate::ranking::test_set;
use crate::recbole::RecBole;
use crate::table::row;
use crate::{BATCH, DIM, Input, LAYERS, epoch, trained};

/// Items of a history, and how many of each user RecBole leaves out of the training.
const LENGTH: usize = 50;
const HELD_OUT: usize = 2;
/// Histories per batch, as in the authors' code.
const SEQUENCES: usize = 128;

/// A training of ours and the model of RecBole beside it.
struct Pair {
    ours: &'static str,
    config: Value,
    theirs: &'static str,
    /// What is not the same.
    note: &'static str,
}

pub fn methods(input: &Input, recbole: Option<&RecBole>) -> Result<(), Box<dyn Error>> {
    let general = |ours, backbone: Value, theirs, note| Pair {
        ours,
        config: json!({ "backbone": backbone, "dim": DIM, "batch_size": BATCH }),
        theirs,
        note,
    };
    let graph = &input.graph;
    let rows = [
        general("MF", json!("mf"), "BPR", ""),
        general("NGCF", json!({ "ngcf": { "layers": [DIM, DIM], "dropout": 0.1 } }), "NGCF", ""),
        general(
            "SimGCL",
            json!({ "simgcl": { "layers": LAYERS } }),
            "SGL",
            ", which drops edges where SimGCL adds noise; it has no SimGCL",
        ),
    ];
    let (data, no_valid) = (TrainingData::over(graph.clone(), Interactions::default()), Interactions::default());
    for pair in &rows {
        let (ours, _) = epoch(&data, &no_valid, &pair.config)?;
        let peer = recbole.map(|recbole| recbole.measure(pair.theirs, graph, &test_set(graph))).transpose()?;
        show(&format!("{} epoch, {} (s)", pair.ours, input.name), ours, peer.map(|peer| peer.epoch), pair);
    }

    let sasrec = Pair {
        ours: "SASRec",
        config: json!({
            "backbone": { "sasrec": { "length": LENGTH, "blocks": 2, "heads": 1, "dropout": 0.2 } }, "dim": DIM,
            "batch_size": SEQUENCES,
        }),
        theirs: "SASRec",
        note: ", in which each prefix of a history is a sequence of its own",
    };
    let (ours, _) = epoch(&histories(graph), &no_valid, &sasrec.config)?;
    let peer = recbole.map(|recbole| recbole.measure_sequences(sasrec.theirs, graph)).transpose()?;
    show(&format!("SASRec epoch, {} (s)", input.name), ours, peer, &sasrec);

    let item_knn = Pair {
        ours: "ItemKNN",
        config: json!({ "recommender": { "item_knn": { "neighbours": 100 } } }),
        theirs: "ItemKNN",
        note: ", which makes all scores but no lists",
    };
    let clock = Instant::now();
    trained(&data, &no_valid, &item_knn.config)?;
    let ours = clock.elapsed().as_secs_f64();
    let peer = recbole.map(|recbole| recbole.measure(item_knn.theirs, graph, &test_set(graph))).transpose()?;
    show(&format!("ItemKNN, fit and lists, {} (s)", input.name), ours, peer.map(|peer| peer.epoch), &item_knn);
    Ok(())
}

fn show(what: &str, ours: f64, peer: Option<f64>, pair: &Pair) {
    let name = format!("RecBole's {}{}", pair.theirs, pair.note);
    row(what, ours, peer.map(|seconds| (seconds, name.as_str())), None);
}

/// The items of each user but the last ones, with their places as times.
fn histories(graph: &Graph) -> TrainingData {
    let (mut known, mut times) = (Interactions::default(), Vec::new());
    for user in 0..graph.n_users as u32 {
        let items = graph.items_of(user);
        for (time, &item) in items[..items.len().saturating_sub(HELD_OUT)].iter().enumerate() {
            known.user.push(user);
            known.item.push(item);
            times.push(time as i64);
        }
    }
    known.time = Some(times);
    TrainingData::over(Graph::with_size(graph.n_users, graph.n_items, &known), known)
}
