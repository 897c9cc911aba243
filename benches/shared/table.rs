//! The one table that all benchmarks print: ours, the peer where it can run here, what the machine could do, and how
//! they compare.

/// Column titles.
pub fn header() {
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>10} {:>10}  peer",
        "what", "ours", "peer", "limit", "peer/ours", "ours/limit"
    );
}

/// Seconds, or what else `what` says: the peer's and the limit may be missing.
pub fn row(what: &str, ours: f64, peer: Option<(f64, &str)>, limit: Option<f64>) {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let peer_value = peer.map(|peer| peer.0);
    println!(
        "{what:<44} {ours:>10.4} {:>10} {:>10} {:>10} {:>10}  {}",
        number(peer_value),
        number(limit),
        ratio(peer_value.map(|peer| peer / ours)),
        ratio(limit.map(|limit| ours / limit)),
        peer.map_or("", |peer| peer.1),
    );
}
