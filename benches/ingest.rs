//! What data cost at size: a generated CSV of interactions is ingested, filtered to the 5-core and split by time, beside
//! polars that only turns the same file into Parquet. Both get two threads.
//!
//! `cargo bench --bench ingest [-- ROWS...]`, or `CNSDIFF_BENCH_ROWS=100000000`; 1 and 12.5 million rows unless named.
//! polars comes from its Python wheel, installed into the user's cache folder by pip; without it, it is not measured.

#[path = "shared/child.rs"]
mod child;
#[path = "shared/python.rs"]
mod python;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use child::measured;
use python::{pip_install, python};
use rand::RngExt;

const THREADS: &str = "2";

/// Runs of each, in turns: the shortest counts, and the highest peak.
const RUNS: usize = 3;

/// Users and items of KuaiRec's big matrix, whose 12.5 million rows repeat many pairs.
const KUAIREC: (u64, u64, u64) = (12_500_000, 7_176, 10_728);

const PIPELINE: &str = "
pipeline: bench
stages:
  data:
    kind: ingest
    with:
      files: [{ part: all, source: ratings.csv }]
      format:
        delimited: { columns: { user: user, item: item, weight: rating, time: timestamp } }
      steps: [{ core: { user: 5, item: 5 } }]
  split:
    kind: split
    needs: { data: data }
    with: { scenario: { temporal: {} } }
";

/// Answers the seconds without those for starting Python.
const PEER: &str = "
import sys, time, polars
started = time.perf_counter()
polars.scan_csv(sys.argv[1]).sink_parquet(sys.argv[2])
print(time.perf_counter() - started)
";

/// What runs took.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    peak_mib: f64,
}

impl Cost {
    const UNKNOWN: Self = Self { seconds: f64::NAN, peak_mib: 0.0 };

    fn and(self, seconds: f64, peak_mib: f64) -> Self {
        Self { seconds: seconds.min(self.seconds), peak_mib: peak_mib.max(self.peak_mib) }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let named = std::env::var("CNSDIFF_BENCH_ROWS").unwrap_or_default();
    let words = std::env::args().chain(named.split([',', ' ']).map(str::to_owned));
    let sizes: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000_000, KUAIREC.0] } else { sizes };
    let python = python("bench-venv", "polars", |venv| pip_install(venv, &["polars==2.1.0"]));
    println!("{:>11} {:>9} {:>8} {:>8} {:>12} {:>9}  what", "rows", "CSV MB", "seconds", "ratio", "rows/s", "peak MiB");
    for rows in sizes {
        let dir = tempfile::tempdir()?;
        let csv = dir.path().join("ratings.csv");
        generate(&csv, rows)?;
        let megabytes = csv.metadata()?.len() as f64 / 1e6;
        let print = |what: &str, seconds: f64, ratio: f64, memory: f64| {
            let speed = rows as f64 / seconds;
            println!("{rows:>11} {megabytes:>9.0} {seconds:>8.2} {ratio:>8.2} {speed:>12.0} {memory:>9.0}  {what}");
        };
        std::fs::write(dir.path().join("pipeline.yaml"), PIPELINE)?;
        let (mut own, mut peer) = (Cost::UNKNOWN, Cost::UNKNOWN);
        for _ in 0..RUNS {
            let mut run = Command::new(env!("CARGO_BIN_EXE_cnsdiff-pipe"));
            run.args(["run", "pipeline.yaml", "--quiet"]).env("RAYON_NUM_THREADS", THREADS).current_dir(dir.path());
            let run = measured(&mut run)?;
            std::fs::remove_dir_all(dir.path().join("cache"))?;
            own = own.and(run.seconds, run.peak_mib);
            if let Some(python) = &python {
                let mut run = Command::new(python);
                run.args(["-c", PEER]).arg(&csv).arg(dir.path().join("polars.parquet"));
                let run = measured(run.env("POLARS_MAX_THREADS", THREADS))?;
                peer = peer.and(run.printed.trim().parse()?, run.peak_mib);
            }
        }
        print("ingest, 5-core, temporal split", own.seconds, peer.seconds / own.seconds, own.peak_mib);
        match &python {
            Some(_) => print("polars, CSV to Parquet", peer.seconds, 1.0, peer.peak_mib),
            None => println!("{rows:>11} polars: not measured (no Python with polars)"),
        }
    }
    Ok(())
}

/// Lines `user,item,rating,timestamp`. Users and items follow power laws; those of low rank are scattered over the ids.
fn generate(path: &Path, rows: u64) -> io::Result<()> {
    let (users, items) = if rows == KUAIREC.0 { (KUAIREC.1, KUAIREC.2) } else { (rows / 50 + 10, rows / 500 + 10) };
    let mut rng = cnsdiff_pipe::rng::stream(1, "bench", rows);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "user,item,rating,timestamp")?;
    let scattered = |x: f64, exponent: f64, count: u64| {
        let rank = (x.powf(exponent) * count as f64) as u64;
        // A prime: no two ranks meet.
        rank * 2_147_483_647 % count
    };
    for _ in 0..rows {
        let user = scattered(rng.random(), 1.5, users);
        let item = scattered(rng.random(), 3.0, items);
        let rating = rng.random_range(1..=10);
        let time = 1_300_000_000 + rng.random_range(0..300_000_000);
        writeln!(out, "{user},{item},{}.{},{time}", rating / 2, rating % 2 * 5)?;
    }
    out.flush()
}
