//! Readers that check what they pass on: decompression within limits, and data of a stated length and checksum.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Packing, Stream};

/// What a compressed file may hold: 64 GiB. 100 million rows of text are 2 to 3 GB, Yelp's reviews 5 GB.
pub const MAX_BYTES: u64 = 64 << 30;

/// How many bytes may come out of one compressed byte. Logs of interactions shrink 3 to 30 times.
pub const MAX_RATIO: u64 = 200;

/// The ratio is not looked at before this many bytes came out: 64 MiB.
pub const RATIO_FREE: u64 = 64 << 20;

/// Decompresses gzip (of any number of members) or Zstandard, within the limits.
pub fn inflate(packing: Packing, stream: Stream) -> io::Result<Stream> {
    let packed = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: stream, bytes: packed.clone() };
    let inner: Stream = match packing {
        Packing::Zstd => Box::new(zstd::Decoder::new(counted)?),
        _ => Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 17, counted))),
    };
    Ok(Box::new(Guard { inner, packed, bytes: 0 }))
}

/// Decompresses raw deflate, as in zip, within the limits.
pub fn inflate_raw(stream: Stream) -> Stream {
    let packed = Arc::new(AtomicU64::new(0));
    let counted = io::BufReader::with_capacity(1 << 17, Counted { inner: stream, bytes: packed.clone() });
    Box::new(Guard { inner: Box::new(flate2::bufread::DeflateDecoder::new(counted)), packed, bytes: 0 })
}

/// Counts the compressed bytes that were taken.
struct Counted {
    inner: Stream,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Ends a decompression that gives too much, and words the errors of decoders.
struct Guard {
    inner: Stream,
    packed: Arc<AtomicU64>,
    bytes: u64,
}

impl Read for Guard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(worded)?;
        self.bytes += read as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        let told = |what: String| {
            io::Error::other(format!("{what}: this looks like a decompression bomb; if it is not, unpack it first"))
        };
        if self.bytes > MAX_BYTES {
            return Err(told(format!("more than {} GiB come out", MAX_BYTES >> 30)));
        }
        if self.bytes > RATIO_FREE && self.bytes / MAX_RATIO > packed {
            let (bytes, packed) = (self.bytes >> 20, packed >> 10);
            return Err(told(format!("{bytes} MiB came out of {packed} KiB, more than {MAX_RATIO} to 1")));
        }
        Ok(read)
    }
}

fn worded(error: io::Error) -> io::Error {
    let kind = error.kind();
    match kind {
        ErrorKind::UnexpectedEof => io::Error::new(kind, "the compressed data are truncated; fetch the file again"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other if error.get_ref().is_some() => {
            io::Error::new(kind, format!("the compressed data are damaged ({error}); fetch the file again"))
        }
        _ => error,
    }
}

/// Exactly `left` bytes, and their CRC-32 where it is known.
pub struct Exactly {
    inner: Stream,
    left: u64,
    crc: Option<(flate2::Crc, u32)>,
}

impl Exactly {
    pub fn new(inner: Stream, bytes: u64, crc: Option<u32>) -> Self {
        Self { inner, left: bytes, crc: crc.map(|crc| (flate2::Crc::new(), crc)) }
    }
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            let message = format!("the archive is truncated: {} bytes of the member are missing", self.left);
            return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
        }
        self.left -= read as u64;
        if let Some((crc, expected)) = &mut self.crc {
            crc.update(&buffer[..read]);
            if self.left == 0 && crc.sum() != *expected {
                let message = "the member's checksum is wrong: the archive is damaged; fetch it again";
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            }
        }
        Ok(read)
    }
}
