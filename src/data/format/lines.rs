//! Text read by lines: the stream is cut into blocks of whole lines, which are parsed in parallel and handed on in
//! file order. Memory is bounded by a few blocks, whatever the size of the file. Knows nothing of what is in a line.

use std::io::Read;
use std::path::Path;

use memchr::{memchr, memchr_iter, memrchr};
use rayon::prelude::*;

use super::{Block, FormatError, Malformed, Row, Scan, Sink, TEXT_LIMIT, cut};
use crate::data::ids::TooManyKeys;

/// A format in which each line stands for itself.
pub trait LineFormat: Sync {
    /// Passes the interactions of a line to `emit`. The line is not blank and has no line end.
    ///
    /// # Errors
    /// Why the line is malformed; then nothing of it may have been emitted.
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String>;
}

/// Bytes of a block; a line that is longer makes its block longer.
const BLOCK: usize = 4 << 20;

/// A line may have about this many bytes.
const LINE_LIMIT: usize = 16 << 20;

/// What to do about bytes that are no text.
pub(super) const NOT_UTF8: &str = "not UTF-8 text (is it Latin-1? convert it: `iconv -f latin1 -t utf8`)";

/// A text file, line by line.
pub struct Lines<'a> {
    path: &'a Path,
    source: Box<dyn Read + Send + 'a>,
    /// What was read beyond the end of the last block.
    rest: Vec<u8>,
    /// Lines taken by [`Self::next_line`].
    lines: u64,
}

/// What became of a block of lines. Line numbers count from its start.
#[derive(Default)]
struct Parsed {
    block: Block,
    scan: Scan,
    lines: u64,
}

impl<'a> Lines<'a> {
    /// A byte order mark is passed over. `path` is for messages only.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn new(path: &'a Path, source: impl Read + Send + 'a) -> Result<Self, FormatError> {
        let mut lines = Self { path, source: Box::new(source), rest: Vec::new(), lines: 0 };
        lines.fill()?;
        if lines.rest.starts_with(b"\xef\xbb\xbf") {
            lines.rest.drain(..3);
        }
        Ok(lines)
    }

    /// Takes the next line that is not blank, such as a header, without its line end.
    ///
    /// # Errors
    /// The source cannot be read, or the line is not UTF-8 text.
    pub fn next_line(&mut self) -> Result<Option<String>, FormatError> {
        loop {
            let end = loop {
                match memchr(b'\n', &self.rest) {
                    Some(end) => break end + 1,
                    None if self.fill()? => {}
                    None if self.rest.is_empty() => return Ok(None),
                    None => break self.rest.len(),
                }
            };
            let line: Vec<u8> = self.rest.drain(..end).collect();
            self.lines += 1;
            let line = str::from_utf8(&line)
                .map_err(|_| FormatError::read(self.path, format!("line {} is {NOT_UTF8}", self.lines)))?;
            if !line.trim_ascii_start().is_empty() {
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
        }
    }

    /// Reads what is left. While blocks are parsed, the next ones are read and the last ones handed to `sink`.
    ///
    /// # Errors
    /// The source cannot be read, a line is beyond all bounds, or the sink has enough.
    pub fn read(mut self, format: &impl LineFormat, sink: Sink) -> Result<Scan, FormatError> {
        let mut scan = Scan::default();
        let mut raw = self.blocks()?;
        let mut parsed: Vec<Result<Parsed, TooManyKeys>> = Vec::new();
        let mut lines = self.lines;
        while !(raw.is_empty() && parsed.is_empty()) {
            let deliver = || parsed.into_iter().try_for_each(|parsed| deliver(parsed?, &mut scan, &mut lines, sink));
            let parse = || raw.par_iter().map(|block| parse(block, format)).collect();
            let (delivered, (next, now)) = rayon::join(deliver, || rayon::join(|| self.blocks(), parse));
            delivered?;
            (raw, parsed) = (next?, now);
        }
        Ok(scan)
    }

    /// One block per thread, fewer at the end.
    fn blocks(&mut self) -> Result<Vec<Vec<u8>>, FormatError> {
        let mut blocks = Vec::new();
        while blocks.len() < rayon::current_num_threads() {
            match self.block()? {
                Some(block) => blocks.push(block),
                None => break,
            }
        }
        Ok(blocks)
    }

    /// The next whole lines, [`BLOCK`] bytes or so.
    fn block(&mut self) -> Result<Option<Vec<u8>>, FormatError> {
        while self.fill()? {
            if let Some(end) = memrchr(b'\n', &self.rest) {
                let rest = self.rest.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
        }
        Ok(Some(std::mem::take(&mut self.rest)).filter(|bytes| !bytes.is_empty()))
    }

    /// Reads [`BLOCK`] more bytes, fewer at the end; whether there were any.
    fn fill(&mut self) -> Result<bool, FormatError> {
        if self.rest.len() > LINE_LIMIT && memchr(b'\n', &self.rest).is_none() {
            let text = String::from_utf8_lossy(&self.rest[..64]).into_owned();
            let reason = format!("the line that begins with `{text}` is longer than {} MiB", LINE_LIMIT >> 20);
            return Err(FormatError::read(self.path, reason));
        }
        let read = (&mut self.source).take(BLOCK as u64).read_to_end(&mut self.rest);
        Ok(read.map_err(|error| FormatError::read(self.path, error))? > 0)
    }
}

/// Hands a parsed block on. `lines` counts those before it.
fn deliver(parsed: Parsed, scan: &mut Scan, lines: &mut u64, sink: Sink) -> Result<(), TooManyKeys> {
    if !parsed.block.is_empty() {
        sink(&parsed.block)?;
    }
    scan.append(parsed.scan, *lines);
    *lines += parsed.lines;
    Ok(())
}

fn parse(bytes: &[u8], format: &impl LineFormat) -> Result<Parsed, TooManyKeys> {
    let mut parsed = Parsed::default();
    // Nearly always the whole block is text, and no line of it needs to be looked at for that.
    let text = str::from_utf8(bytes).ok();
    let mut start = 0;
    for end in memchr_iter(b'\n', bytes).chain((!bytes.ends_with(b"\n")).then_some(bytes.len())) {
        let line = match text {
            Some(text) => Ok(&text[start..end]),
            None => str::from_utf8(&bytes[start..end]),
        };
        let bytes = &bytes[start..end];
        start = end + 1;
        parsed.lines += 1;
        let reason = match line.map(|line| line.strip_suffix('\r').unwrap_or(line)) {
            Ok(line) if line.trim_ascii_start().is_empty() => continue,
            Ok(line) => parsed.line(line, format)?,
            Err(_) => Some(NOT_UTF8.to_owned()),
        };
        if let Some(reason) = reason {
            let text = cut(&String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_LIMIT + 1)]));
            let line = parsed.lines;
            parsed.scan.reject(Malformed { line, text: text.trim_end_matches('\r').to_owned(), reason });
        }
    }
    parsed.scan.rows = parsed.block.len() as u64;
    Ok(parsed)
}

impl Parsed {
    /// Takes the rows of a line in; says what is wrong with it.
    fn line(&mut self, line: &str, format: &impl LineFormat) -> Result<Option<String>, TooManyKeys> {
        let mut result = Ok(());
        let mut emit = |row: Row<'_>| {
            if let Err(full) = self.block.push(row) {
                result = Err(full);
            }
        };
        let reason = format.line(line, &mut emit).err();
        result.map(|()| reason)
    }
}
