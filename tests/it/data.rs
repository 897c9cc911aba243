//! Raw files: brought, listed, verified, and found by a run.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::lab::Lab;

const TRAIN: &str = "0 0 1\n0 1 1\n1 0 1\n1 2 1\n2 1 1\n2 2 1\n";
const TEST: &str = "0 2 1\n1 1 1\n";

fn sha256(text: &str) -> String {
    let hex: Vec<String> = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

/// Serves `train.txt`, whose first answer breaks off after 10 bytes, to those who ask for ranges; nothing else.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/food", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let first = count.fetch_add(1, Ordering::Relaxed) == 0;
                let range = lines.iter().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
                });
                let (status, body) = match range {
                    _ if !lines[0].contains("/food/train.txt") => ("404 Not Found", ""),
                    Some(from) => ("206 Partial Content", &TRAIN[from..]),
                    None => ("200 OK", TRAIN),
                };
                let from = range.unwrap_or(0);
                let sent = if first { &body[..body.len().min(10)] } else { body };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{}/{}\r\n\
                     Connection: close\r\n\r\n{sent}",
                    body.len(),
                    TRAIN.len() - 1,
                    TRAIN.len(),
                );
            }
        });
        Self { url, requests }
    }
}

/// Train at a URL, test at a path.
fn pipeline(url: &str) -> String {
    format!(
        "\
pipeline: small
stages:
  raw:
    kind: ingest
    with:
      licence: CC BY 4.0
      citation: Somebody (2020)
      files:
        - {{ part: train, source: \"{url}/train.txt\", digest: \"{}\" }}
        - {{ part: test, source: files/test.txt, digest: \"{}\", licence: MIT }}
",
        sha256(TRAIN),
        sha256(TEST)
    )
}

#[test]
fn fetch_continues_what_broke_and_run_finds_it() {
    let server = Server::new();
    let lab = Lab::with(&pipeline(&server.url));
    lab.write("mirror/copy.dat", TEST);
    let args = ["data", "fetch", "--mirror", "mirror"];
    let fetched = lab.call(&args).code(0);
    assert_eq!(fetched.stdout, "");
    assert!(fetched.stderr.contains("again "), "{}", fetched.stderr);
    assert!(fetched.stderr.contains("2 raw files: 2 new, 0 present"), "{}", fetched.stderr);
    assert_eq!(server.requests.load(Ordering::Relaxed), 2);
    let host = server.url.trim_start_matches("http://").replace(':', "_");
    assert_eq!(lab.read(&format!("data/{host}/train.txt")), TRAIN);
    assert_eq!(lab.read("files/test.txt"), TEST);

    let again = lab.call(&["data", "fetch", "--json"]).code(0).json();
    let outcomes: Vec<_> = again.iter().filter(|event| event["event"] == "file_finished").collect();
    assert!(outcomes.iter().all(|event| event["outcome"] == "present") && outcomes.len() == 2, "{again:?}");

    // The run asks nobody.
    lab.run(&[]);
    assert_eq!(server.requests.load(Ordering::Relaxed), 2);
    assert!(lab.files("cache/raw").iter().all(|(path, _)| path.ends_with("digests")));
}

#[test]
fn ls_tells_where_each_file_is_and_under_what_terms() {
    let server = Server::new();
    let lab = Lab::with(&pipeline(&server.url));
    lab.write("mirror/copy.dat", TEST);
    let files = lab.call(&["data", "ls", "--json", "--mirror", "mirror"]).code(0).json();
    let told: Vec<_> = files.iter().map(|file| [&file["found"], &file["licence"], &file["citation"]]).collect();
    assert_eq!(told, [["missing", "CC BY 4.0", "Somebody (2020)"], ["mirror", "MIT", "Somebody (2020)"]]);
    let table = lab.call(&["data", "ls"]).code(0).stdout;
    assert!(table.contains("missing") && table.contains(&sha256(TEST)[..19]), "{table}");
    assert_eq!(server.requests.load(Ordering::Relaxed), 0);
}

#[test]
fn verify_names_what_is_missing_and_what_is_damaged() {
    let server = Server::new();
    let lab = Lab::with(&pipeline(&server.url));
    lab.write("files/test.txt", "0 2 1\n1 1 5\n");
    let bad = lab.call(&["data", "verify"]).code(3);
    assert!(bad.stdout.contains("missing ") && bad.stdout.contains("damaged "), "{}", bad.stdout);
    for digest in [sha256(TEST), sha256("0 2 1\n1 1 5\n")] {
        assert!(bad.stdout.contains(&digest), "{}", bad.stdout);
    }
    lab.write("files/test.txt", TEST);
    lab.call(&["data", "fetch", "--quiet"]).code(0);
    let good = lab.call(&["data", "verify", "--json"]).code(0).json();
    assert!(good.iter().all(|file| file["state"] == "ok"), "{good:?}");
}

#[test]
fn what_cannot_be_had_fails_with_its_reason_and_the_rest_comes() {
    let server = Server::new();
    let lab = Lab::with(&pipeline(&server.url).replace("/train.txt", "/absent.txt"));
    lab.write("files/test.txt", TEST);
    let failed = lab.call(&["data", "fetch", "--to", "copies"]).code(3);
    assert!(failed.stderr.contains("404") && failed.stderr.contains("1 of 2 raw files"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("again "), "{}", failed.stderr);
    assert_eq!(lab.read("copies/files/test.txt"), TEST);
    assert_eq!(lab.files("copies").len(), 1);
}

#[test]
fn a_run_records_digest_licence_and_citation_of_its_files() {
    let lab = Lab::with(&pipeline("https://example.invalid").replace(&format!(", digest: \"{}\"", sha256(TEST)), ""));
    lab.write("files/test.txt", TEST);
    lab.write("mirror/train", TRAIN);
    lab.run(&["--mirror", "mirror"]);
    let record = fs::read_dir(lab.path("cache/runs")).unwrap().flatten().find(|entry| entry.path().is_file()).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record.path()).unwrap()).unwrap();
    let files = &record["stages"][0]["files"];
    assert_eq!((&files[0]["digest"], &files[0]["licence"]), (&sha256(TRAIN).into(), &"CC BY 4.0".into()));
    let content = format!("blake3:{}", blake3::hash(TEST.as_bytes()).to_hex());
    assert_eq!((&files[1]["digest"], &files[1]["licence"]), (&content.into(), &"MIT".into()));
    assert_eq!(files[1]["citation"], "Somebody (2020)");
}

/// One file without a digest.
const UNDECLARED: &str = "\
pipeline: small
stages:
  raw: { kind: ingest, with: { files: [{ part: all, source: a.txt }] } }
";

/// Waits until a file that was written just now is remembered.
fn settle() {
    thread::sleep(Duration::from_millis(2200));
}

/// Writes a file in place, dated as it was before.
fn rewrite(lab: &Lab, name: &str, text: &str) {
    let modified = fs::metadata(lab.path(name)).unwrap().modified().unwrap();
    lab.write(name, text);
    fs::File::options().write(true).open(lab.path(name)).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_file_rewritten_with_its_old_size_and_time_is_noticed_by_verify_and_run() {
    let lab = Lab::with(UNDECLARED);
    lab.write("a.txt", "a x 1\nb y 1\n");
    settle();
    lab.run(&[]);
    assert!(lab.exists("cache/raw/digests"));
    assert!(lab.run(&[]).executed().is_empty());
    assert_eq!(lab.call(&["data", "verify", "--json"]).code(0).value()["state"], "undeclared");

    rewrite(&lab, "a.txt", "a x 1\nb z 1\n");
    let told = lab.call(&["data", "verify"]).code(3);
    assert!(
        told.stdout.contains("changed a.txt") && told.stdout.contains("by the last run of `raw`"),
        "{}",
        told.stdout
    );
    assert_eq!(lab.run(&[]).executed().len(), 1);
    assert!(lab.call(&["show", "raw", "--artifact", "items", "--format", "csv"]).code(0).stdout.contains('z'));
    lab.call(&["data", "verify"]).code(0);
}

#[test]
fn verify_makes_no_cache() {
    let lab = Lab::with(UNDECLARED);
    lab.write("a.txt", "a x 1\n");
    settle();
    lab.call(&["data", "verify"]).code(0);
    assert!(!lab.exists("cache"));
}

#[test]
fn a_declared_file_rewritten_with_its_old_time_is_refused() {
    let text = "a x 1\nb y 1\n";
    let declared = format!("source: a.txt, digest: \"{}\"", sha256(text));
    let lab = Lab::with(&UNDECLARED.replace("source: a.txt", &declared));
    lab.write("a.txt", text);
    settle();
    lab.run(&[]);
    rewrite(&lab, "a.txt", "Q x 1\nQ y 1\n");
    let refused = lab.call(&["run", "--set", "stages.raw.with.max_malformed=0.5"]).code(3);
    assert!(refused.stderr.contains("other bytes than the pipeline declares"), "{}", refused.stderr);
}

#[test]
fn a_flipped_bit_in_the_memory_of_digests_accuses_no_file() {
    let text = "a x 1\nb y 1\n";
    let declared = format!("source: a.txt, digest: \"{}\"", sha256(text));
    for pipeline in [UNDECLARED.to_owned(), UNDECLARED.replace("source: a.txt", &declared)] {
        let lab = Lab::with(&pipeline);
        lab.write("a.txt", text);
        settle();
        lab.run(&[]);
        let memory = lab.read("cache/raw/digests");
        let digit = memory.find(':').unwrap() + 3;
        let other = if memory.as_bytes()[digit] == b'0' { "1" } else { "0" };
        lab.write("cache/raw/digests", &format!("{}{other}{}", &memory[..digit], &memory[digit + 1..]));
        lab.call(&["run", "--locked", "--force", "raw"]).code(0);
    }
}

#[test]
fn a_named_pipe_is_no_raw_file() {
    let lab = Lab::with(UNDECLARED);
    let made = std::process::Command::new("mkfifo").arg(lab.path("a.txt")).status().unwrap();
    assert!(made.success());
    for command in [&["run"][..], &["data", "verify"], &["data", "fetch"]] {
        let refused = lab.call(command);
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(told.contains("a named pipe (FIFO)"), "{command:?}: {told}");
        assert!(refused.exit().is_some_and(|code| code != 0));
    }
}

#[test]
fn a_mirror_of_symbolic_links_brings_the_files() {
    let lab = Lab::with(&pipeline("https://example.invalid"));
    lab.write("real/1", TRAIN);
    lab.write("real/2", TEST);
    fs::create_dir(lab.path("mirror")).unwrap();
    for name in ["1", "2", "."] {
        std::os::unix::fs::symlink(format!("../real/{name}"), lab.path(&format!("mirror/link{name}"))).unwrap();
    }
    std::os::unix::fs::symlink(".", lab.path("mirror/again")).unwrap();
    lab.call(&["data", "fetch", "--mirror", "mirror"]).code(0);
    lab.call(&["data", "verify"]).code(0);
    fs::remove_dir_all(lab.path("mirror")).unwrap();
    assert_eq!((lab.read("data/example.invalid/train.txt"), lab.read("files/test.txt")), (TRAIN.into(), TEST.into()));
    lab.run(&[]);
}

#[test]
fn the_path_of_a_file_is_in_no_artifact() {
    let lab = Lab::with(UNDECLARED);
    lab.write("a.txt", &format!("{}oops\n", "a x 1\n".repeat(2000)));
    lab.run(&[]);
    fs::rename(lab.path("a.txt"), lab.path("b.txt")).unwrap();
    lab.edit("pipeline.yaml", "a.txt", "b.txt");
    assert!(lab.run(&[]).executed().is_empty());
    for (artifact, column) in [("sources", "source"), ("malformed", "file")] {
        let row = lab.call(&["show", "raw", "--artifact", artifact, "--format", "json"]).code(0).value();
        assert!(!row[column].as_str().unwrap_or_default().contains("txt"), "{row}");
    }
}

#[test]
fn warnings_are_told_by_every_run_by_status_in_the_record_and_under_the_table() {
    let lab = Lab::with(
        "pipeline: p
stages:
  raw:
    kind: ingest
    with: { files: [{ part: all, source: raw.txt }], max_malformed: 0.5 }
  split:
    kind: split
    needs: { data: raw }
    with: { scenario: { random: {} } }
",
    );
    let rows: String = (0..20).flat_map(|user| (0..10).map(move |item| format!("{user} {item} 1\n"))).collect();
    lab.write("raw.txt", &format!("broken\n{rows}"));
    let told = ["`all`: 1 of 201 lines hold no interaction", "`iid` tests 20 of 20 users"];
    let all = |text: &str| told.iter().all(|told| text.contains(told));

    let first = lab.call(&["run"]).code(0);
    assert!(all(&first.stderr), "{}", first.stderr);
    assert!(first.stderr.contains("warning: split: `iid` tests 20 of 20 users"), "{}", first.stderr);
    let objects = lab.files("cache/objects");
    let again = lab.call(&["run"]).code(0);
    assert!(again.stderr.contains("2 cached") && all(&again.stderr), "{}", again.stderr);
    assert_eq!(lab.files("cache/objects"), objects);
    let json = lab.run(&[]).json();
    let warnings = json.iter().find(|event| event["event"] == "warnings").expect("an event with the warnings");
    assert_eq!(warnings["warnings"][0]["ids"], serde_json::json!(["raw"]));
    assert!(all(&warnings.to_string()), "{warnings}");
    assert!(all(&lab.call(&["status"]).code(0).stderr));
    let records: Vec<String> = lab
        .files("cache/runs")
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "json"))
        .map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    assert!(records.len() == 3 && records.iter().all(|record| all(record)), "{records:?}");

    // A change that takes the cause away takes the warning away.
    lab.write("raw.txt", &rows);
    let mended = lab.call(&["run"]).code(0);
    assert!(!mended.stderr.contains("hold no interaction"), "{}", mended.stderr);
}
