//! Pipelines, templates and raw files that nobody would write: real ones, changed at random, as many as asked for, in this
//! process. Tells the longest time and the most memory that one of them took.
//!
//! `mutations pipelines|templates|files COUNT SEED CASE`: each case is written to the file CASE before it is tried, so that
//! one that ends the process is at hand. `mutations KIND CASE` tries that one again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cnsdiff_pipe::data::format::fuzz;
use cnsdiff_pipe::metric::Metric;
use cnsdiff_pipe::spec::{self, Options};
use cnsdiff_pipe::{report, rng, stages};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// A message longer than this is no message.
const LOUDEST: usize = 1 << 20;

/// Longer cases are not made longer still by repetition.
const LARGE: usize = 1 << 14;

/// Pieces that mean something to one reader or another.
const PIECES: [&str; 58] = [
    "\n",
    "\r\n",
    "\"",
    "'",
    ",",
    "\t",
    "::",
    "{",
    "}",
    "[",
    "]",
    "{{",
    "}}",
    "{%",
    "%}",
    "<<",
    ">>",
    "<%",
    "%>",
    "|",
    "*",
    "&a",
    "*a",
    "<<: ",
    "- ",
    ": ",
    "? ",
    "#",
    "!!int ",
    "null",
    "~",
    "1e400",
    "-1",
    "NaN",
    ".inf",
    "18446744073709551616",
    "9223372036854775807",
    "0x7fffffffffffffff",
    "1e18",
    "2018-07-07 22:09:11",
    "\u{feff}",
    "\0",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{1F600}",
    " | indent(999999999)",
    " | format(1)",
    "'%0999999999d'",
    " * 99999999",
    "range(1000000000)",
    " ** 99",
    " | replace('', 'xxxxxxxx')",
    " | tojson",
    " | batch(1)",
    " for x in range(99999) ",
    " ~ ",
    "  ",
    "include: i.yaml\n",
];

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn files(pattern: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_folder = |&(folder, ending): &(&str, &str)| {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(root.join(folder)).unwrap().flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.is_file() && path.to_str().is_some_and(|path| path.ends_with(ending)));
        paths.sort();
        paths.into_iter().map(|path| fs::read(path).unwrap())
    };
    pattern.iter().flat_map(in_folder).collect()
}

/// What a case is, how its seeds look, and what is done with it.
struct Kind {
    seeds: Vec<Vec<u8>>,
    attempt: fn(&[u8]) -> Result<(), String>,
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "pipelines" => Kind {
            seeds: files(&[
                ("tests/errors", ".yaml"),
                ("tests/golden", ".yaml"),
                ("pipelines", ".yaml"),
                ("pipelines/parts", ".yaml"),
                ("src/cli", ".yaml"),
            ]),
            attempt: |bytes| {
                let read = |name: &str| match name {
                    "pipeline.yaml" | "i.yaml" => Ok(bytes.to_vec()),
                    other => Err(format!("there is no `{other}`")),
                };
                match spec::load("pipeline.yaml", &read, &stages::registry(), &Options::default()) {
                    Ok(_) => Ok(()),
                    Err(mistakes) => short(&mistakes.to_string()),
                }
            },
        },
        "templates" => Kind {
            seeds: files(&[("src/report/templates", ".jinja")]),
            attempt: |bytes| {
                let (pick, bytes) = bytes.split_first().unwrap_or((&0, &[]));
                let format = report::Format::ALL[usize::from(*pick) % report::Format::ALL.len()];
                match report::render(&table(), format, Some(&String::from_utf8_lossy(bytes))) {
                    Ok(_) => Ok(()),
                    Err(mistake) => short(&mistake.to_string()),
                }
            },
        },
        "files" => Kind {
            seeds: (0..fuzz::formats().len() as u8)
                .flat_map(|format| {
                    let fixtures = files(&[("src/data/format/fixtures", "")]);
                    fixtures.into_iter().map(move |file| [vec![format], file].concat())
                })
                .collect(),
            attempt: |bytes| fuzz::case(bytes).map(|_| ()).map_err(|error| error.to_string()),
        },
        _ => return None,
    })
}

fn short(message: &str) -> Result<(), String> {
    match message.len() {
        0 => Err("an empty message".to_owned()),
        length if length > LOUDEST => Err(format!("a message of {length} bytes")),
        _ => Ok(()),
    }
}

/// The table that templates spell.
fn table() -> report::Table {
    let score = |method: &str, seed: &str, value: f64| report::Score {
        labels: [("method", method), ("seed", seed)].map(|(axis, label)| (axis.to_owned(), label.to_owned())).to_vec(),
        metric: "recall".to_owned(),
        k: 20,
        value,
    };
    let scores = [score("a", "1", 0.1), score("a", "2", 0.2), score("b", "1", 0.3), score("b", "2", 0.1)];
    let layout = report::Layout {
        rows: "method".to_owned(),
        over: Some("seed".to_owned()),
        metrics: vec![Metric::parse("recall@20").unwrap()],
        digits: 4,
        ..report::Layout::default()
    };
    report::build(&layout, &scores, &[], &[]).expect("a table")
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], draws: &mut ChaCha8Rng) {
    let at = draws.random_range(0..=bytes.len());
    let end = draws.random_range(at..=bytes.len().min(at + 200));
    match draws.random_range(0..8) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 | 3 => drop(bytes.splice(at..at, PIECES[draws.random_range(0..PIECES.len())].bytes())),
        4 if bytes.len() < LARGE => {
            let again = bytes[at..end].repeat(draws.random_range(1..20));
            bytes.splice(at..at, again);
        }
        5 => {
            let other = &seeds[draws.random_range(0..seeds.len())];
            let from = draws.random_range(0..=other.len());
            let until = draws.random_range(from..=other.len().min(from + 200));
            bytes.splice(at..end, other[from..until].iter().copied());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << draws.random_range(0..8);
            }
        }
    }
}

/// The number of the case that is tried, and when it began, for the thread that looks after the time.
static CASE: AtomicU64 = AtomicU64::new(0);

fn watch() {
    let mut last = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let case = CASE.load(Relaxed);
        if case != last.0 {
            last = (case, Instant::now());
        } else if last.1.elapsed() > LIMIT {
            eprintln!("case {case} takes more than {} s", LIMIT.as_secs());
            std::process::exit(124);
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let usage = || {
        eprintln!("usage: mutations pipelines|templates|files COUNT SEED CASE, or mutations KIND CASE");
        ExitCode::from(2)
    };
    let Some(kind) = words.first().and_then(|name| kind(name)) else { return usage() };
    std::thread::spawn(watch);
    let (count, seed, path) = match words[1..] {
        [path] => {
            CASE.store(1, Relaxed);
            let ended = (kind.attempt)(&fs::read(path).expect("the case can be read"));
            println!("{ended:?}");
            return ExitCode::from(u8::from(ended.is_err()));
        }
        [count, seed, path] => match (count.parse::<u64>(), seed.parse::<u64>()) {
            (Ok(count), Ok(seed)) => (count, seed, path),
            _ => return usage(),
        },
        _ => return usage(),
    };
    let current = File::create(path).expect("the file of the case can be written");
    let (mut slowest, mut largest) = (Duration::ZERO, 0);
    for index in 0..count {
        let mut draws = rng::stream(seed, words[0], index);
        let mut bytes = kind.seeds[draws.random_range(0..kind.seeds.len())].clone();
        if words[0] == "templates" {
            bytes.insert(0, draws.random());
        }
        for _ in 0..draws.random_range(1..8) {
            change(&mut bytes, &kind.seeds, &mut draws);
        }
        current
            .set_len(bytes.len() as u64)
            .and_then(|()| current.write_all_at(&bytes, 0))
            .expect("the case is written");
        CASE.store(index + 1, Relaxed);
        let before = HELD.load(Relaxed);
        MOST.store(before, Relaxed);
        let clock = Instant::now();
        if let Err(fault) = (kind.attempt)(&bytes) {
            eprintln!("case {index}: {fault}");
            return ExitCode::from(1);
        }
        slowest = slowest.max(clock.elapsed());
        largest = largest.max(MOST.load(Relaxed).saturating_sub(before));
    }
    println!("{count} {} {}", slowest.as_millis(), largest.div_ceil(1 << 20));
    ExitCode::SUCCESS
}
