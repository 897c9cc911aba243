//! Opens a raw file as a stream of bytes: plain, compressed (gzip, Zstandard), or a member of an archive (zip, tar,
//! compressed tar), recognised by content. Nothing is unpacked to disk, and memory does not grow with the file.

mod guard;
mod tar;
mod zip;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

pub use guard::{MAX_BYTES, MAX_RATIO, RATIO_FREE};

/// Decompressed bytes. Reading fails where the compressed data are damaged, truncated or a bomb.
pub type Stream = Box<dyn Read + Send>;

/// How many members of an archive a message names.
const SHOWN: usize = 20;

/// How much of a file tells how it is packed: one header of a tar archive.
const HEAD: u64 = tar::BLOCK as u64;

/// A file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {problem}", path.display())]
pub struct OpenError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is no archive, so that `member: {0}` names nothing; leave it out")]
    NoArchive(String),
    #[error("{0}")]
    Member(String),
    #[error("holds no file")]
    Empty,
    #[error("holds {}; name one by `member`: {found}", found.counted())]
    WhichMember { found: Listing },
    #[error("has no member `{name}`; it holds {}: {found}", found.counted())]
    NoMember { name: String, found: Listing },
    #[error("holds `{0}` encrypted; decrypt it and name the result as the source")]
    Encrypted(String),
    #[error("holds `{name}` compressed by {method}; only stored and deflated members are read: pack it again")]
    Method { name: String, method: String },
    #[error("is {0}; gzip, Zstandard, zip and tar are read: unpack it and name the result as the source")]
    Foreign(&'static str),
    #[error("is packed twice ({0} inside); unpack the outer one and name the result as the source")]
    Nested(&'static str),
    #[error("holds a Parquet file, which can be read only by itself: unpack it and name the result as the source")]
    PackedParquet,
    #[error("is a Parquet file; say `format: {{ parquet: {{ columns: ... }} }}`")]
    Parquet,
}

/// The files in an archive: how many, and the first names.
#[derive(Debug, Default)]
struct Listing {
    names: Vec<String>,
    total: usize,
}

impl Listing {
    fn push(&mut self, name: &str) {
        self.total += 1;
        if self.names.len() < SHOWN {
            self.names.push(name.to_owned());
        }
    }

    fn counted(&self) -> String {
        if self.total == 1 { "1 file".to_owned() } else { format!("{} files", self.total) }
    }

    /// The name of the only file.
    fn only(mut self) -> Result<String, Problem> {
        match self.total {
            0 => Err(Problem::Empty),
            1 => Ok(self.names.remove(0)),
            _ => Err(Problem::WhichMember { found: self }),
        }
    }
}

impl std::fmt::Display for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join(", "))?;
        match self.total - self.names.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What the first bytes of a file tell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
    Zip,
    Tar,
    Parquet,
    Foreign(&'static str),
}

impl Packing {
    fn of(head: &[u8]) -> Self {
        const FOREIGN: [(&[u8], &str); 4] = [
            (b"\xfd7zXZ\0", "compressed by xz"),
            (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
            (b"Rar!\x1a\x07", "a RAR archive"),
            (b"\x04\x22\x4d\x18", "compressed by LZ4"),
        ];
        if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Foreign(name);
        }
        if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
            return Self::Foreign("compressed by bzip2");
        }
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [b'P', b'A', b'R', b'1', ..] => Self::Parquet,
            _ if tar::is_header(head) => Self::Tar,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain bytes",
            Self::Gzip => "gzip",
            Self::Zstd => "Zstandard",
            Self::Zip => "a zip archive",
            Self::Tar => "a tar archive",
            Self::Parquet => "a Parquet file",
            Self::Foreign(name) => name,
        }
    }
}

/// Opens `path`. `member` is the path of a file within an archive; an archive of exactly one file needs none.
///
/// # Errors
/// An unreadable or damaged file; an archive whose member is not named, does not exist (lists those that do), lies
/// outside or is encrypted; packings that are not read; a Parquet file.
pub fn open(path: &Path, member: Option<&str>) -> Result<Stream, OpenError> {
    stream(path, member).map_err(|problem| OpenError { path: path.to_owned(), problem })
}

/// Opens a file that is read by seeking, and so cannot be compressed or lie in an archive.
///
/// # Errors
/// An unreadable or packed file.
pub fn open_unpacked(path: &Path, member: Option<&str>) -> Result<File, OpenError> {
    let unpacked = || {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(HEAD).read_to_end(&mut head)?;
        match (Packing::of(&head), member) {
            (Packing::Plain | Packing::Parquet, None) => {}
            (Packing::Plain | Packing::Parquet, Some(member)) => return Err(Problem::NoArchive(member.to_owned())),
            (Packing::Foreign(name), _) => return Err(Problem::Foreign(name)),
            _ => return Err(Problem::PackedParquet),
        }
        io::Seek::rewind(&mut file)?;
        Ok(file)
    };
    unpacked().map_err(|problem| OpenError { path: path.to_owned(), problem })
}

/// What is wrong with the path of a member, if anything: it must stay within the archive.
pub fn member_mistake(member: &str) -> Option<String> {
    let leaves = member.starts_with(['/', '\\'])
        || member.get(1..2) == Some(":")
        || member.split(['/', '\\']).any(|part| part == "..");
    if leaves {
        return Some(format!("the member path `{member}` leaves the archive; write it relative and without `..`"));
    }
    within(member).is_empty().then(|| "the member needs a name".to_owned())
}

/// A member's path without the `./` that some packers write.
fn within(name: &str) -> &str {
    name.trim_start_matches("./")
}

fn stream(path: &Path, member: Option<&str>) -> Result<Stream, Problem> {
    if let Some(mistake) = member.and_then(member_mistake) {
        return Err(Problem::Member(mistake));
    }
    let (outer, packing, bytes) = layer(Box::new(File::open(path)?))?;
    let (_, packing, bytes) = match (packing, member) {
        (Packing::Tar, None) => return stream(path, Some(&tar::list(bytes)?.only()?)),
        (Packing::Tar, Some(member)) => layer(tar::member(bytes, member)?)?,
        (Packing::Zip, _) if outer == Packing::Zip => layer(zip::member(File::open(path)?, member)?)?,
        (Packing::Plain, Some(member)) => return Err(Problem::NoArchive(member.to_owned())),
        _ => (outer, packing, bytes),
    };
    match packing {
        Packing::Plain => Ok(bytes),
        Packing::Parquet if outer == Packing::Parquet => Err(Problem::Parquet),
        Packing::Parquet => Err(Problem::PackedParquet),
        Packing::Foreign(name) if outer == packing => Err(Problem::Foreign(name)),
        twice => Err(Problem::Nested(twice.name())),
    }
}

/// How a stream is packed, how that is packed which a compressed one holds, and that.
fn layer(stream: Stream) -> io::Result<(Packing, Packing, Stream)> {
    let (outer, stream) = peek(stream)?;
    let (inner, stream) = match outer {
        Packing::Gzip | Packing::Zstd => peek(guard::inflate(outer, stream)?)?,
        _ => (outer, stream),
    };
    Ok((outer, inner, stream))
}

/// How a stream is packed, and the stream from its beginning.
fn peek(mut stream: Stream) -> io::Result<(Packing, Stream)> {
    let mut head = Vec::new();
    stream.by_ref().take(HEAD).read_to_end(&mut head)?;
    let packing = Packing::of(&head);
    Ok((packing, Box::new(Cursor::new(head).chain(stream))))
}

#[cfg(test)]
pub(super) mod tests;
