use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::*;

const TEXT: &str = "0 0 1\n0 1 1\n";

fn quiet(_: u64, _: Option<u64>) {}

fn sha256(text: &str) -> String {
    let mut hasher = checksum::Hasher::new(Algorithm::Sha256);
    hasher.update(text.as_bytes());
    hasher.finish().to_string()
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn raw(&self, mirrors: &[&str]) -> RawFiles {
        let mirrors = mirrors.iter().map(|name| self.dir.path().join(name)).collect();
        RawFiles::new(&self.dir.path().join("cache"), &self.dir.path().join("base"), mirrors)
    }
}

/// Answers one request on a loopback port with `body`, whose length it declares as `length`.
fn serve(status: &'static str, body: &'static str, length: usize) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/food/train.txt", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    });
    (url, server)
}

#[test]
fn identity_is_the_declared_digest_or_the_content() {
    let lab = Lab::new();
    lab.write("base/train.txt", TEXT);
    let raw = lab.raw(&[]);
    let declared = sha256("anything");
    assert_eq!(raw.identity("https://example.org/never-asked", Some(&declared)).unwrap(), declared);
    let content = format!("blake3:{}", blake3::hash(TEXT.as_bytes()).to_hex());
    assert_eq!(raw.identity("train.txt", None).unwrap(), content);
    let url = format!("file://{}", lab.dir.path().join("base/train.txt").display());
    assert_eq!(raw.identity(&url, None).unwrap(), content);
    assert!(matches!(raw.identity("https://example.org/x", None), Err(RawError::UrlWithoutDigest(_))));
    assert!(matches!(raw.identity("ftp://example.org/x", None), Err(RawError::UnknownScheme(_))));
    assert!(matches!(raw.identity("missing.txt", None), Err(RawError::NotFound { .. })));
}

#[test]
fn a_local_file_is_verified() {
    let lab = Lab::new();
    let path = lab.write("base/a b.txt", TEXT);
    let raw = lab.raw(&[]);
    assert_eq!(raw.fetch("a b.txt", Some(&sha256(TEXT)), &quiet).unwrap(), path);
    let url = format!("file://localhost{}", path.display()).replace(' ', "%20");
    assert_eq!(raw.fetch(&url, Some(&sha256(TEXT)), &quiet).unwrap(), path);

    let error = raw.fetch("a b.txt", Some(&sha256("other")), &quiet).unwrap_err().to_string();
    assert!(error.contains(&sha256("other")) && error.contains(&sha256(TEXT)), "{error}");
}

#[test]
fn a_missing_file_is_found_in_a_mirror_by_digest_whatever_its_name() {
    let lab = Lab::new();
    lab.write("mirror/yelp/train.txt", "another file of the same name");
    let same_name = lab.write("mirror/food/train.txt", TEXT);
    let renamed = lab.write("mirror/deep/er/copy.dat", "renamed");
    let raw = lab.raw(&["absent", "mirror"]);
    assert_eq!(raw.fetch("data/food/train.txt", Some(&sha256(TEXT)), &quiet).unwrap(), same_name);
    assert_eq!(raw.fetch("https://example.invalid/x.txt", Some(&sha256("renamed")), &quiet).unwrap(), renamed);
}

#[test]
fn what_is_nowhere_says_where_it_was_looked_for() {
    let lab = Lab::new();
    lab.write("mirror/other.txt", "other");
    let raw = lab.raw(&["mirror"]);
    let error = raw.fetch("data/train.txt", Some(&sha256(TEXT)), &quiet).unwrap_err().to_string();
    for part in ["base/data/train.txt", "mirror (mirror)", "--mirror DIR", "CNSDIFF_MIRROR", &sha256(TEXT)] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn a_download_is_verified_stored_and_not_repeated() {
    let lab = Lab::new();
    let (url, server) = serve("200 OK", TEXT, TEXT.len());
    let seen = AtomicU64::new(0);
    let progress = |done, total| {
        assert_eq!(total, Some(TEXT.len() as u64));
        seen.store(done, Ordering::Relaxed);
    };
    let raw = lab.raw(&[]);
    let first = raw.fetch(&url, Some(&sha256(TEXT)), &progress).unwrap();
    server.join().unwrap();
    assert_eq!(fs::read_to_string(&first).unwrap(), TEXT);
    assert_eq!(seen.load(Ordering::Relaxed), TEXT.len() as u64);
    // The server is gone.
    assert_eq!(lab.raw(&[]).fetch(&url, Some(&sha256(TEXT)), &quiet).unwrap(), first);
}

#[test]
fn a_failed_download_leaves_nothing_behind() {
    let lab = Lab::new();
    let raw = lab.raw(&[]);
    let fetch = |(url, server): (String, JoinHandle<()>)| {
        let error = raw.fetch(&url, Some(&sha256(TEXT)), &quiet).unwrap_err();
        server.join().unwrap();
        error
    };
    let wrong = fetch(serve("200 OK", "wrong bytes", 11));
    assert!(matches!(wrong, RawError::WrongDigest { found, .. } if found.to_string() == sha256("wrong bytes")));
    let absent = fetch(serve("404 Not Found", "", 0)).to_string();
    assert!(absent.contains("404"), "{absent}");
    let cut = fetch(serve("200 OK", "0 0 1\n", TEXT.len()));
    assert!(matches!(cut, RawError::NotFound { .. }), "{cut}");
    assert_eq!(fs::read_dir(lab.dir.path().join("cache/raw")).unwrap().count(), 0);
}
