//! One download: digested on the way, continued where a connection broke, tried again where that may help, and renamed
//! to its place only when the bytes are the declared ones.

mod connection;

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::StatusCode;
use ureq::http::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER};
use ureq::http::response::Parts;

use super::checksum::Checksum;
use super::partial::Partial;
use super::read::{self, heed};
use connection::{Connection, ResponseHead};

/// What a download tells.
#[derive(Clone, Copy, Debug)]
pub enum DownloadEvent<'a> {
    /// Bytes here, and bytes in all where known.
    Bytes { done: u64, total: Option<u64> },
    /// Attempt `attempt` of `of` failed; the next one follows after `wait`.
    Again { reason: &'a str, wait: Duration, attempt: u32, of: u32 },
}

/// Hears the news, at most ten times a second while bytes come.
pub type Listener<'a> = &'a dyn Fn(DownloadEvent);

/// How long to wait for a server, how often to ask it again, and how much to take from it.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// For a connection.
    pub connect: Duration,
    /// A server that sends nothing for this long is given up.
    pub silence: Duration,
    /// And so is one that sends fewer bytes a second than this, over as long a time.
    pub slowest: u64,
    /// Bytes that are taken from a server that does not tell how many it has.
    pub untold: u64,
    /// In a row, without much coming in between.
    pub attempts: u32,
    /// After the first failure; doubles with each further one.
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(30),
            silence: seconds(60),
            slowest: 1 << 10,
            untold: 64 << 30,
            attempts: 6,
            pause: seconds(1),
        }
    }
}

/// No pause is longer than this, whatever a server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An attempt that brought this many bytes was no failure: the count of attempts begins anew.
const WORTHWHILE: u64 = 1 << 20;
/// Between two looks at whether to go on.
const BEAT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub enum DownloadError {
    /// The whole file came, and is another one; nothing is kept.
    WrongDigest(Checksum),
    /// What has come is kept, and continued by the next download.
    Network {
        reason: String,
        kept: u64,
    },
    Store(io::Error),
    Stopped,
}

/// An interrupt that came while a file was read or written.
impl From<io::Error> for DownloadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::Interrupted { Self::Stopped } else { Self::Store(error) }
    }
}

/// Why one attempt failed.
enum AttemptError {
    /// Another attempt may help, after this pause if the server named one.
    Passing {
        reason: String,
        pause: Option<Duration>,
    },
    Final(String),
    Store(io::Error),
    Stopped,
}

/// Downloads the file with the digest `declared` from `url` to `target`, or continues what an earlier call began.
pub fn download(
    url: &str,
    declared: Checksum,
    target: &Path,
    retry: RetryPolicy,
    interrupt: &AtomicBool,
    listener: Listener,
) -> Result<(), DownloadError> {
    let Some(mut partial) = wait_for(target, declared, interrupt)? else { return Ok(()) };
    match complete(url, declared, &mut partial, retry, interrupt, listener) {
        Ok(()) => partial.finish(target).map_err(DownloadError::Store),
        Err(failed) => {
            if partial.done == 0 || matches!(failed, DownloadError::WrongDigest(_)) {
                partial.discard();
            }
            Err(failed)
        }
    }
}

/// Asks the server until all is here.
fn complete(
    url: &str,
    declared: Checksum,
    partial: &mut Partial,
    retry: RetryPolicy,
    interrupt: &AtomicBool,
    listener: Listener,
) -> Result<(), DownloadError> {
    let agent = Agent::config_builder()
        .timeout_connect(Some(retry.connect))
        .timeout_recv_response(Some(retry.silence))
        .timeout_per_read(Some(retry.silence))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let (mut failures, mut started_over) = (0, false);
    loop {
        let before = partial.done;
        // All may be here: the last process ended before it could say so, or the server promised more than there is.
        if before > 0 && partial.checksum() == declared {
            return Ok(());
        }
        let (reason, pause) = match attempt(&agent, url, partial, retry, interrupt, listener) {
            Ok(()) => {
                let found = partial.checksum();
                if found == declared {
                    return Ok(());
                }
                if !partial.pieced || started_over {
                    return Err(DownloadError::WrongDigest(found));
                }
                // The pieces may be of two versions: once more in one piece.
                started_over = true;
                partial.restart().map_err(DownloadError::Store)?;
                continue;
            }
            Err(AttemptError::Passing { reason, pause }) => (reason, pause),
            Err(AttemptError::Final(reason)) => return Err(DownloadError::Network { reason, kept: partial.done }),
            Err(AttemptError::Store(error)) => return Err(DownloadError::Store(error)),
            Err(AttemptError::Stopped) => return Err(DownloadError::Stopped),
        };
        failures = if partial.done >= before + WORTHWHILE { 1 } else { failures + 1 };
        if failures >= retry.attempts {
            let reason = format!("{reason} ({failures} attempts)");
            return Err(DownloadError::Network { reason, kept: partial.done });
        }
        let wait = pause.unwrap_or(retry.pause.saturating_mul(1 << (failures - 1).min(16))).min(LONGEST_PAUSE);
        let news = DownloadEvent::Again { reason: &reason, wait, attempt: failures, of: retry.attempts };
        listener(news);
        sleep(wait, interrupt)?;
    }
}

/// The part of `target`, once no other process writes it; nothing if another process finished it meanwhile.
fn wait_for(target: &Path, declared: Checksum, interrupt: &AtomicBool) -> Result<Option<Partial>, DownloadError> {
    loop {
        if let Some(partial) = Partial::open(target, declared.algorithm, interrupt)? {
            let found = if target.is_file() { read::digest(target, declared.algorithm, interrupt).ok() } else { None };
            if found == Some(declared) {
                partial.discard();
                return Ok(None);
            }
            return Ok(Some(partial));
        }
        sleep(BEAT, interrupt)?;
    }
}

fn sleep(time: Duration, interrupt: &AtomicBool) -> Result<(), DownloadError> {
    let until = Instant::now() + time;
    loop {
        heed(interrupt)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(BEAT));
    }
}

/// Asks the server once, for what is missing.
fn attempt(
    agent: &Agent,
    url: &str,
    partial: &mut Partial,
    retry: RetryPolicy,
    interrupt: &AtomicBool,
    listener: Listener,
) -> Result<(), AttemptError> {
    let mut request = agent.get(url).header(ACCEPT_ENCODING, "identity");
    if partial.done > 0 {
        request = request.header(RANGE, format!("bytes={}-", partial.done));
        if let Some(version) = partial.version(url) {
            // A file that changed since comes whole.
            request = request.header(IF_RANGE, version);
        }
    }
    let mut connection = Connection::open(request, interrupt)?;
    let ResponseHead { parts, length } = connection.head()?;
    let total = match parts.status {
        StatusCode::PARTIAL_CONTENT => match content_range(&parts) {
            Some((first, total)) if first == partial.done => {
                partial.pieced = true;
                total.or(length.map(|length| first + length))
            }
            _ => {
                partial.restart().map_err(AttemptError::Store)?;
                return Err(passing("the server sent another range than it was asked for"));
            }
        },
        StatusCode::OK => {
            partial.restart().map_err(AttemptError::Store)?;
            length
        }
        StatusCode::RANGE_NOT_SATISFIABLE if partial.done > 0 => {
            partial.restart().map_err(AttemptError::Store)?;
            return Err(passing("the server's file is shorter than what came before"));
        }
        status => {
            let reason = format!("the server answers {status}");
            let pause = header(&parts, RETRY_AFTER).and_then(|text| Some(Duration::from_secs(text.parse().ok()?)));
            return Err(if may_pass(status) {
                AttemptError::Passing { reason, pause }
            } else {
                AttemptError::Final(reason)
            });
        }
    };
    // Weak tags promise no equal bytes (RFC 9110, section 13.1.5).
    let version = header(&parts, ETAG).filter(|tag| !tag.starts_with("W/"));
    partial.set_version(url, version.or(header(&parts, LAST_MODIFIED))).map_err(AttemptError::Store)?;
    receive(connection, total, partial, retry, listener)
}

fn receive(
    mut connection: Connection,
    total: Option<u64>,
    partial: &mut Partial,
    retry: RetryPolicy,
    listener: Listener,
) -> Result<(), AttemptError> {
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    listener(DownloadEvent::Bytes { done: partial.done, total });
    let mut told = Instant::now();
    let (mut since, mut before) = (Instant::now(), partial.done);
    loop {
        let bytes = match connection.bytes() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(AttemptError::Passing { reason, pause }) => {
                let reason = format!("the connection broke after {}{of} bytes: {reason}", partial.done);
                return Err(AttemptError::Passing { reason, pause });
            }
            Err(error) => return Err(error),
        };
        if partial.done + bytes.len() as u64 > total.unwrap_or(retry.untold) {
            // Whatever came, it is not what was announced.
            partial.restart().map_err(AttemptError::Store)?;
            return Err(AttemptError::Final(match total {
                Some(total) => format!("the server sends more than the {total} bytes that it announced"),
                None => format!("the server does not say how many bytes it has, and sent {}", retry.untold),
            }));
        }
        if let Err(error) = partial.write(&bytes) {
            if total.is_none() {
                // Perhaps there is no end to it: what fills the disk does not stay.
                partial.restart().map_err(AttemptError::Store)?;
            }
            return Err(AttemptError::Store(error));
        }
        if told.elapsed() >= BEAT {
            listener(DownloadEvent::Bytes { done: partial.done, total });
            told = Instant::now();
        }
        let time = since.elapsed();
        if time >= retry.silence {
            let rate = (partial.done - before) as f64 / time.as_secs_f64();
            if rate < retry.slowest as f64 {
                let slowest = retry.slowest;
                return Err(passing(format!(
                    "the server sent {rate:.0} bytes a second, after {}{of}; fewer than {slowest} are not waited for",
                    partial.done
                )));
            }
            (since, before) = (Instant::now(), partial.done);
        }
    }
    listener(DownloadEvent::Bytes { done: partial.done, total });
    match total {
        Some(total) if total != partial.done => {
            Err(passing(format!("the connection ended after {} of {total} bytes", partial.done)))
        }
        _ => Ok(()),
    }
}

fn passing(reason: impl Into<String>) -> AttemptError {
    AttemptError::Passing { reason: reason.into(), pause: None }
}

/// Whether the same request may succeed later.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// A host that is not known, or a wrong certificate, will be the same a minute later.
fn judge(error: ureq::Error) -> AttemptError {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        TimedOut, UnexpectedEof,
    };
    use ureq::Error::{ConnectionFailed, Io, Protocol, Timeout};
    let may_pass = match &error {
        Timeout(_) | ConnectionFailed | Protocol(_) => true,
        Io(error) => matches!(
            error.kind(),
            BrokenPipe
                | ConnectionAborted
                | ConnectionRefused
                | ConnectionReset
                | HostUnreachable
                | NetworkUnreachable
                | TimedOut
                | UnexpectedEof
        ),
        _ => false,
    };
    if may_pass { passing(error.to_string()) } else { AttemptError::Final(error.to_string()) }
}

fn header(parts: &Parts, name: ureq::http::HeaderName) -> Option<&str> {
    parts.headers.get(name)?.to_str().ok()
}

/// The first byte, and the length of the whole where known, of `bytes 5-11/12`.
fn content_range(parts: &Parts) -> Option<(u64, Option<u64>)> {
    let (range, total) = header(parts, CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests;
