//! Against a real server on loopback, which misbehaves as servers do.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::super::checksum::{Algorithm, Hasher};
use super::*;

/// How the server treats one request; the last treatment holds for all further ones.
#[derive(Clone, Copy)]
enum Treat {
    /// As asked: ranges, and If-Range by its tag.
    Well,
    /// Whole, whatever range was asked for.
    IgnoreRanges,
    /// Ends the connection after this many bytes of the body.
    Cut(usize),
    /// Sends this many bytes, then nothing.
    Stall(usize),
    Status(&'static str),
    /// Declares this length.
    Length(usize),
    /// Sends a byte at a time, with a pause after each.
    Trickle,
    /// Announces no length, and never ends.
    Endless,
    /// As a range of this many bytes in all, whatever is sent.
    Total(usize),
    /// Sends another range than the one asked for.
    OtherRange,
    /// This file from here on, with another tag.
    Change(&'static [u8]),
}

/// What the server was asked for: the `Range` and `If-Range` headers of each request.
type Asked = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

struct Server {
    url: String,
    asked: Asked,
}

impl Server {
    fn new(file: &'static [u8], treatments: &[Treat]) -> Self {
        let treatments = treatments.to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/food/train.txt", listener.local_addr().unwrap());
        let asked = Asked::default();
        let log = asked.clone();
        thread::spawn(move || {
            let mut file = file;
            for number in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                let treat = treatments[number.min(treatments.len() - 1)];
                if let Treat::Change(new) = treat {
                    file = new;
                }
                // A client that went away is no matter.
                let _ = answer(stream, file, treat, &log);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<(Option<String>, Option<String>)> {
        self.asked.lock().unwrap().clone()
    }
}

fn tag(file: &[u8]) -> String {
    format!("\"{}\"", &blake3::hash(file).to_hex()[..8])
}

fn answer(mut stream: TcpStream, file: &[u8], treat: Treat, log: &Asked) -> io::Result<()> {
    let (mut range, mut if_range) = (None, None);
    for connection in BufReader::new(stream.try_clone()?).lines() {
        let connection = connection?;
        match connection.to_ascii_lowercase().split_once(": ") {
            Some(("range", value)) => range = Some(value.to_owned()),
            Some(("if-range", value)) => if_range = Some(value.to_owned()),
            None if connection.is_empty() => break,
            _ => {}
        }
    }
    log.lock().unwrap().push((range.clone(), if_range.clone()));
    let same = if_range.is_none_or(|known| known == tag(file));
    let first = range
        .filter(|_| same && !matches!(treat, Treat::IgnoreRanges))
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let body = &file[first.unwrap_or(0).min(file.len())..];
    let (mut status, mut length, mut sent) = ("200 OK", body.len(), body.len());
    match (treat, first) {
        (Treat::Status(other), _) => (status, length, sent) = (other, 0, 0),
        (_, Some(first)) if first >= file.len() => (status, length, sent) = ("416 Range Not Satisfiable", 0, 0),
        (_, Some(_)) => status = "206 Partial Content",
        _ => {}
    }
    match treat {
        Treat::Cut(bytes) | Treat::Stall(bytes) => sent = sent.min(bytes),
        Treat::Length(declared) => length = declared,
        _ => {}
    }
    let begin = first.unwrap_or(0) + usize::from(matches!(treat, Treat::OtherRange));
    if matches!(treat, Treat::Endless) {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[0; 1 << 12])?;
        }
    }
    let whole = if let Treat::Total(total) = treat { total } else { file.len() };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: {}\r\nRetry-After: 0\r\n", tag(file))?;
    write!(stream, "Content-Range: bytes {begin}-{}/{whole}\r\nConnection: close\r\n\r\n", file.len())?;
    if matches!(treat, Treat::Trickle) {
        for byte in &body[..sent] {
            thread::sleep(Duration::from_millis(50));
            stream.write_all(&[*byte])?;
        }
        return Ok(());
    }
    stream.write_all(&body[..sent])?;
    stream.flush()?;
    if matches!(treat, Treat::Stall(_)) {
        // The connection stays open meanwhile.
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(2));
            drop(stream);
        });
    }
    Ok(())
}

static GO_ON: AtomicBool = AtomicBool::new(false);

const FILE: &[u8] = b"0 0 1\n0 1 1\n0 2 1\n1 0 1\n";
const OTHER: &[u8] = b"5 5 1\n5 6 1\n5 7 1\n6 5 1\n6 6 1\n";

fn checksum(bytes: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("food/train.txt")
    }

    fn get(&self, url: &str, declared: Checksum) -> Result<(), DownloadError> {
        self.hear(url, declared, &GO_ON, &|_| ())
    }

    fn hear(
        &self,
        url: &str,
        declared: Checksum,
        interrupt: &AtomicBool,
        listener: Listener,
    ) -> Result<(), DownloadError> {
        let retry = RetryPolicy {
            connect: Duration::from_millis(500),
            silence: Duration::from_millis(300),
            slowest: 100,
            untold: 1 << 16,
            attempts: 3,
            pause: Duration::from_millis(1),
        };
        download(url, declared, &self.target(), retry, interrupt, listener)
    }

    /// Downloads [`FILE`], and nothing else is left.
    fn gets_the_file(&self, server: &Server) {
        self.get(&server.url, checksum(FILE)).unwrap();
        assert_eq!(fs::read(self.target()).unwrap(), FILE);
        assert_eq!(self.left(), ["train.txt"]);
    }

    fn left(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path().join("food"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn range(first: usize, file: &[u8]) -> (Option<String>, Option<String>) {
    (Some(format!("bytes={first}-")), Some(tag(file)))
}

#[test]
fn a_download_tells_how_far_it_is() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Well]);
    let last = RefCell::new((0, None));
    let listener = |news: DownloadEvent| {
        if let DownloadEvent::Bytes { done, total } = news {
            *last.borrow_mut() = (done, total);
        }
    };
    lab.hear(&server.url, checksum(FILE), &GO_ON, &listener).unwrap();
    assert_eq!(*last.borrow(), (FILE.len() as u64, Some(FILE.len() as u64)));
    assert_eq!(server.asked(), [(None, None)]);
}

#[test]
fn a_broken_connection_is_continued_where_it_broke() {
    let server = Server::new(FILE, &[Treat::Cut(7), Treat::Cut(5), Treat::Well]);
    Lab::new().gets_the_file(&server);
    assert_eq!(server.asked(), [(None, None), range(7, FILE), range(12, FILE)]);
}

#[test]
fn a_later_process_continues_what_an_earlier_one_began() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Cut(7), Treat::Status("404 Not Found"), Treat::Well]);
    let error = lab.get(&server.url, checksum(FILE)).unwrap_err();
    assert!(matches!(&error, DownloadError::Network { reason, kept: 7 } if reason.contains("404")), "{error:?}");
    assert_eq!(lab.left(), ["train.txt.part", "train.txt.part.tag"]);
    lab.gets_the_file(&server);
    assert_eq!(server.asked()[2], range(7, FILE));
}

#[test]
fn a_server_that_ignores_ranges_starts_over() {
    let server = Server::new(FILE, &[Treat::Cut(7), Treat::IgnoreRanges]);
    Lab::new().gets_the_file(&server);
}

#[test]
fn a_server_that_sends_another_range_is_asked_for_the_whole() {
    let server = Server::new(FILE, &[Treat::Cut(7), Treat::OtherRange, Treat::Well]);
    Lab::new().gets_the_file(&server);
    assert_eq!(server.asked()[2], (None, None));
}

#[test]
fn a_file_that_changes_between_attempts_is_not_mixed() {
    let server = Server::new(OTHER, &[Treat::Cut(7), Treat::Change(FILE)]);
    Lab::new().gets_the_file(&server);
    assert_eq!(server.asked()[1], range(7, OTHER));
}

#[test]
fn pieces_of_unknown_versions_are_tried_once_more_as_a_whole() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Well]);
    // Of another file, and without a tag that would tell.
    fs::create_dir_all(lab.dir.path().join("food")).unwrap();
    fs::write(lab.dir.path().join("food/train.txt.part"), &OTHER[..7]).unwrap();
    lab.gets_the_file(&server);
    assert_eq!(server.asked(), [(Some("bytes=7-".to_owned()), None), (None, None)]);
}

#[test]
fn wrong_lengths_do_no_harm() {
    // More is promised than there is: what came is complete nevertheless.
    Lab::new().gets_the_file(&Server::new(FILE, &[Treat::Length(FILE.len() + 10)]));
    // Less is promised: what came is another file.
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Length(6)]);
    let error = lab.get(&server.url, checksum(FILE)).unwrap_err();
    assert!(matches!(error, DownloadError::WrongDigest(found) if found == checksum(&FILE[..6])));
}

#[test]
fn wrong_bytes_are_not_kept() {
    let lab = Lab::new();
    let server = Server::new(OTHER, &[Treat::Well]);
    let error = lab.get(&server.url, checksum(FILE)).unwrap_err();
    assert!(matches!(error, DownloadError::WrongDigest(found) if found == checksum(OTHER)));
    assert!(lab.left().is_empty());
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let server = Server::new(FILE, &[Treat::Stall(7), Treat::Well]);
    Lab::new().gets_the_file(&server);
    assert_eq!(server.asked()[1], range(7, FILE));
    // One that answers nothing at all.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let error = Lab::new().get(&url, checksum(FILE)).unwrap_err();
    assert!(matches!(&error, DownloadError::Network { reason, kept: 0 } if reason.contains("3 attempts")), "{error:?}");
}

#[test]
fn only_failures_that_may_pass_are_tried_again() {
    let server = Server::new(FILE, &[Treat::Status("503 Service Unavailable"), Treat::Well]);
    Lab::new().gets_the_file(&server);
    for (status, attempts) in [("404 Not Found", 1), ("403 Forbidden", 1), ("503 Service Unavailable", 3)] {
        let lab = Lab::new();
        let server = Server::new(FILE, &[Treat::Status(status)]);
        let error = lab.get(&server.url, checksum(FILE)).unwrap_err();
        assert!(matches!(&error, DownloadError::Network { reason, kept: 0 } if reason.contains(status)), "{error:?}");
        assert_eq!(server.asked().len(), attempts, "{status}");
        assert!(lab.left().is_empty());
    }
}

#[test]
fn two_downloads_of_a_file_at_once_ask_for_it_once() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Well]);
    // Both wait for the one that holds the file, and one finds it done when its turn comes.
    let partial = Partial::open(&lab.target(), Algorithm::Sha256, &GO_ON).unwrap().unwrap();
    thread::scope(|scope| {
        let get = || lab.get(&server.url, checksum(FILE)).unwrap();
        let both = [scope.spawn(get), scope.spawn(get)];
        thread::sleep(2 * BEAT);
        assert_eq!(server.asked().len(), 0);
        drop(partial);
        both.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(fs::read(lab.target()).unwrap(), FILE);
    assert_eq!((server.asked().len(), lab.left()), (1, vec!["train.txt".to_owned()]));
}

#[test]
fn an_interrupt_ends_a_download_and_what_came_is_kept() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Cut(7), Treat::Well]);
    let interrupt = AtomicBool::new(false);
    let stop = |news: DownloadEvent| interrupt.store(matches!(news, DownloadEvent::Again { .. }), Ordering::Relaxed);
    assert!(matches!(lab.hear(&server.url, checksum(FILE), &interrupt, &stop), Err(DownloadError::Stopped)));
    lab.gets_the_file(&server);
    assert_eq!(server.asked()[1], range(7, FILE));
}

#[test]
fn an_interrupt_is_heeded_while_nothing_comes() {
    let lab = Lab::new();
    // Takes connections, and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let retry = RetryPolicy { silence: Duration::from_secs(60), ..RetryPolicy::default() };
    let interrupt = AtomicBool::new(false);
    let started = Instant::now();
    thread::scope(|scope| {
        let get = || download(&url, checksum(FILE), &lab.target(), retry, &interrupt, &|_| ());
        let get = scope.spawn(get);
        thread::sleep(Duration::from_millis(300));
        interrupt.store(true, Ordering::Relaxed);
        assert!(matches!(get.join().unwrap(), Err(DownloadError::Stopped)));
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_asked_again_and_then_given_up() {
    let server = Server::new(FILE, &[Treat::Trickle, Treat::Well]);
    Lab::new().gets_the_file(&server);
    assert_eq!(server.asked().len(), 2);

    const LONG: &[u8] = &[b'1'; 1000];
    let server = Server::new(LONG, &[Treat::Trickle]);
    let error = Lab::new().get(&server.url, checksum(FILE)).unwrap_err();
    assert!(matches!(&error, DownloadError::Network { reason, .. } if reason.contains("bytes a second")), "{error:?}");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_body_without_an_end_is_cut_and_nothing_of_it_stays() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Endless]);
    let error = lab.get(&server.url, checksum(FILE)).unwrap_err();
    assert!(
        matches!(&error, DownloadError::Network { reason, kept: 0 } if reason.contains("does not say how many bytes")),
        "{error:?}"
    );
    assert_eq!((server.asked().len(), lab.left().len()), (1, 0));
}

#[test]
fn more_than_what_was_announced_is_not_taken() {
    let lab = Lab::new();
    let server = Server::new(FILE, &[Treat::Cut(7), Treat::Total(9)]);
    let error = lab.get(&server.url, checksum(FILE)).unwrap_err();
    assert!(
        matches!(&error, DownloadError::Network { reason, kept: 0 } if reason.contains("more than the 9 bytes")),
        "{error:?}"
    );
    assert!(lab.left().is_empty());
}

#[test]
fn nothing_stays_of_a_host_that_is_not_known() {
    let lab = Lab::new();
    let error = lab.get("http://no-such-host.invalid/x", checksum(FILE)).unwrap_err();
    assert!(matches!(&error, DownloadError::Network { reason, kept: 0 } if !reason.contains("attempts")), "{error:?}");
    assert!(lab.left().is_empty());
}
