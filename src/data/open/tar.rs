//! Tar archives as a stream: finds a member without holding or unpacking the others. Headers are decoded by the crate
//! `tar`; walked here, because there an extended name may be as long as the archive says.

use std::io::{self, Read};

use ::tar::{EntryType, Header, PaxExtensions};

use super::guard::Exactly;
use super::{Listing, Problem, Stream, member_mistake, within};

pub const BLOCK: usize = 512;

/// No file system has longer paths; a longer one is an attack.
const MAX_NAME: u64 = 1 << 16;

/// Whether these bytes begin with a header whose checksum is right.
pub fn is_header(head: &[u8]) -> bool {
    head.first_chunk::<BLOCK>().is_some_and(checked)
}

/// The checksum is the sum of all bytes, with those of the checksum itself counted as spaces.
fn checked(block: &[u8; BLOCK]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let expected = sum(&block[..CHECKSUM.start]) + 8 * u32::from(b' ') + sum(&block[CHECKSUM.end..]);
    Header::from_byte_slice(block).cksum().is_ok_and(|stated| stated == expected)
}

/// The regular files of the archive.
pub fn list(stream: Stream) -> Result<Listing, Problem> {
    let mut listing = Listing::default();
    let mut members = Members { stream };
    while let Some((name, bytes)) = members.next()? {
        listing.push(&name);
        members.skip(bytes)?;
    }
    Ok(listing)
}

/// The bytes of the first regular file of that name.
pub fn member(stream: Stream, wanted: &str) -> Result<Stream, Problem> {
    let mut found = Listing::default();
    let mut members = Members { stream };
    while let Some((name, bytes)) = members.next()? {
        if within(&name) == within(wanted) {
            return match member_mistake(&name) {
                Some(mistake) => Err(Problem::Member(mistake)),
                None => Ok(Box::new(Exactly::new(members.stream, bytes, None))),
            };
        }
        found.push(&name);
        members.skip(bytes)?;
    }
    Err(Problem::NoMember { name: wanted.to_owned(), found })
}

struct Members {
    stream: Stream,
}

impl Members {
    /// Name and size of the next regular file; its bytes come next in the stream.
    fn next(&mut self) -> io::Result<Option<(String, u64)>> {
        let (mut long_name, mut long_size) = (None, None);
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            let bytes = header.entry_size()?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.extension(bytes)?;
                    long_name = Some(name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec());
                }
                EntryType::XHeader => {
                    for record in PaxExtensions::new(&self.extension(bytes)?) {
                        let record = record?;
                        match record.key_bytes() {
                            b"path" => long_name = Some(record.value_bytes().to_vec()),
                            b"size" => long_size = record.value().ok().and_then(|size| size.parse().ok()),
                            _ => {}
                        }
                    }
                }
                EntryType::Regular | EntryType::Continuous => {
                    let name = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some((String::from_utf8_lossy(&name).into_owned(), long_size.unwrap_or(bytes))));
                }
                kind => {
                    self.skip(bytes)?;
                    if !matches!(kind, EntryType::GNULongLink | EntryType::XGlobalHeader) {
                        (long_name, long_size) = (None, None);
                    }
                }
            }
        }
    }

    /// The next header, or none at the end.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let read = self.stream.by_ref().take(BLOCK as u64).read(&mut block)?;
        if read == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut block[read..]).map_err(truncated)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        if !checked(&block) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a header of the archive is damaged; fetch it again",
            ));
        }
        Ok(Some(block))
    }

    /// The data of a header that extends the next one.
    fn extension(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        if bytes > MAX_NAME {
            let message = format!("the archive states a name of {bytes} bytes; at most {MAX_NAME} are read");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut data = vec![0; bytes as usize];
        self.stream.read_exact(&mut data).map_err(truncated)?;
        self.skip_bytes(padding(bytes))?;
        Ok(data)
    }

    /// Passes over data of that size, and over what fills its last block.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.skip_bytes(bytes)?;
        self.skip_bytes(padding(bytes))
    }

    fn skip_bytes(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.stream.by_ref().take(bytes), &mut io::sink())?;
        if skipped < bytes { Err(truncated(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }
}

fn padding(bytes: u64) -> u64 {
    bytes.wrapping_neg() % BLOCK as u64
}

fn truncated(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return io::Error::new(error.kind(), "the archive is truncated; fetch it again");
    }
    error
}
