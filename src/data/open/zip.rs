//! Zip archives: the directory is read by the crate `zip`, the member's bytes here, as a stream that owns the file.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive};

use super::guard::{Exactly, inflate_raw};
use super::{Listing, Problem, Stream, member_mistake, within};

/// The bytes of the named member, or of the only one.
pub fn member(file: File, wanted: Option<&str>) -> Result<Stream, Problem> {
    let mut archive = ZipArchive::new(file).map_err(worded)?;
    let (mut found, mut index) = (Listing::default(), None);
    for at in 0..archive.len() {
        let entry = archive.by_index_data(at).map_err(worded)?;
        if !entry.is_file() {
            continue;
        }
        let name = entry.name().map_err(worded)?;
        if wanted.is_none_or(|wanted| within(wanted) == within(&name)) {
            index = Some(at);
        }
        found.push(&name);
    }
    let index = match (index, wanted) {
        (None, Some(name)) => return Err(Problem::NoMember { name: name.to_owned(), found }),
        (None, None) => return Err(Problem::Empty),
        (Some(index), Some(_)) => index,
        (Some(index), None) => {
            found.only()?;
            index
        }
    };

    let entry = archive.by_index_data(index).map_err(worded)?;
    let name = entry.name().map_err(worded)?.into_owned();
    if let Some(mistake) = member_mistake(&name) {
        return Err(Problem::Member(mistake));
    }
    if entry.encrypted() {
        return Err(Problem::Encrypted(name));
    }
    let (method, packed, bytes, crc) = (entry.compression(), entry.compressed_size(), entry.size(), entry.crc32());
    if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(Problem::Method { name, method: method.to_string() });
    }
    // Where the data begin stands in the member's own header, which only opening it reads.
    let start = archive.by_index_raw(index).map_err(worded)?.data_start();
    let start = start.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the member's data cannot be found"))?;
    let mut file = archive.into_inner();
    file.seek(SeekFrom::Start(start))?;
    let stored: Stream = Box::new(Exactly::new(Box::new(file), packed, None));
    let stream = if method == CompressionMethod::Deflated { inflate_raw(stored) } else { stored };
    Ok(Box::new(Exactly::new(stream, bytes, Some(crc))))
}

fn worded(error: ZipError) -> Problem {
    match error {
        ZipError::Io(error) => Problem::Read(error),
        other => {
            let message = format!("the zip archive is truncated or damaged ({other}); fetch it again");
            Problem::Read(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}
