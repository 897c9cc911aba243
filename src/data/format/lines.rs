//! Text read by lines: the stream is cut into blocks of whole lines, which are parsed in parallel and handed on in file
//! order. Memory is bounded by a few blocks, whatever the size of the file.

use std::io::Read;
use std::path::Path;

use memchr::{memchr, memchr_iter, memchr2, memrchr};
use rayon::prelude::*;

use super::delimited::closing_quote;
use super::{Block, FormatError, Malformed, Row, RowSink, Scan, TEXT_LIMIT, cut};
use crate::data::ids::TooManyKeys;
use crate::data::time::{TimeCheck, TimeUnit};

/// A format in which each line stands for itself.
pub trait LineFormat: Sync {
    /// Passes the interactions of a line to `emit`. The line is not blank and has no line end.
    ///
    /// # Errors
    /// Why the line is malformed; then nothing of it may have been emitted.
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String>;

    /// Reads lines from the start of a text without quotes as far as they are whole, hold an interaction each and can be
    /// read faster together than one by one; answers how many bytes and how many lines that were.
    ///
    /// # Errors
    /// There are too many keys.
    fn plain_lines(&self, _text: &str, _block: &mut Block) -> Result<(usize, u64), TooManyKeys> {
        Ok((0, 0))
    }
}

/// Bytes of a block, which then stays in the cache of a core; a line that is longer makes its block longer.
const BLOCK: usize = 1 << 20;

/// Blocks that a thread parses before the threads meet again.
const BLOCKS: usize = 4;

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
    /// Where in `rest` the next line begins.
    start: usize,
    /// Lines taken by [`Self::next_line`].
    lines: u64,
    /// `start` and `lines` before the last line that was taken.
    before: (usize, u64),
    ends: Ends,
}

/// Where lines end.
#[derive(Clone)]
enum Ends {
    /// At each line end.
    Lines,
    /// Not within fields that begin with a quote, wherever this separator starts a field. Quotes in lines that start with
    /// the mark of comments are none.
    Quoted { separator: Vec<u8>, comment: Option<Vec<u8>> },
}

/// A stretch of whole lines, and what became of it. Units go round, so that their memory is allocated once.
#[derive(Default)]
struct LineBlock {
    bytes: Vec<u8>,
    block: Block,
    /// Lines are numbered from the start of the unit.
    scan: Scan,
    lines: u64,
}

impl<'a> Lines<'a> {
    /// A byte order mark is passed over. `path` is for messages only.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn new(path: &'a Path, source: impl Read + Send + 'a) -> Result<Self, FormatError> {
        let source = Box::new(source);
        let mut lines = Self { path, source, rest: Vec::new(), start: 0, lines: 0, before: (0, 0), ends: Ends::Lines };
        lines.fill()?;
        if lines.rest.starts_with(b"\xef\xbb\xbf") {
            lines.start = 3;
        }
        Ok(lines)
    }

    /// From here on, line ends within quoted fields do not count: what is called a line may then be several.
    pub fn quoted(self, separator: &str, comment: Option<&str>) -> Self {
        let comment = comment.map(|comment| comment.as_bytes().to_vec());
        Self { ends: Ends::Quoted { separator: separator.as_bytes().to_vec(), comment }, ..self }
    }

    /// Takes the next line that is not blank, such as a header, without its line end.
    ///
    /// # Errors
    /// The source cannot be read, or the line is not UTF-8 text.
    pub fn next_line(&mut self) -> Result<Option<String>, FormatError> {
        loop {
            let end = loop {
                match self.ends.first(&self.rest[self.start..]) {
                    Some(end) => break self.start + end + 1,
                    None if self.fill()? => {}
                    None if self.rest.is_empty() => return Ok(None),
                    None => break self.rest.len(),
                }
            };
            self.before = (self.start, self.lines);
            let line = &self.rest[self.start..end];
            self.start = end;
            // The last line may lack its end.
            self.lines += count_lines(line) + u64::from(!line.ends_with(b"\n"));
            let line = str::from_utf8(line)
                .map_err(|_| FormatError::read(self.path, format!("line {} is {NOT_UTF8}", self.lines)))?;
            if !line.trim_ascii_start().is_empty() {
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
        }
    }

    /// The line after those taken that is not blank, as far as it is at hand: all but lines of some hundred kilobytes are.
    pub fn peek(&self) -> Option<&str> {
        let mut rest = &self.rest[self.start..];
        while !rest.is_empty() {
            let end = self.ends.first(rest).unwrap_or(rest.len());
            let line = str::from_utf8(&rest[..end]).ok()?.trim_end_matches('\r');
            if !line.trim_ascii_start().is_empty() {
                return Some(line);
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        None
    }

    /// Undoes the last [`Self::next_line`].
    pub fn put_back(&mut self) {
        (self.start, self.lines) = self.before;
    }

    /// Reads what is left. While blocks are parsed, the next ones are read and the last ones handed to `sink`.
    ///
    /// # Errors
    /// The source cannot be read, a line is beyond all bounds, or the sink has enough.
    pub fn read(mut self, format: &impl LineFormat, sink: RowSink) -> Result<Scan, FormatError> {
        let (ends, mut lines, mut scan) = (self.ends.clone(), self.lines, Scan::default());
        let units = || (0..BLOCKS * rayon::current_num_threads()).map(|_| LineBlock::default()).collect::<Vec<_>>();
        let (mut empty, mut raw, mut parsed) = (units(), units(), units());
        loop {
            let deliver = || parsed.iter_mut().try_for_each(|block| block.deliver(&mut scan, &mut lines, sink));
            let read = || empty.iter_mut().try_for_each(|block| self.next_block(&mut block.bytes));
            let parse = || raw.par_iter_mut().try_for_each(|block| block.parse(&ends, format));
            let (delivered, (read, now)) = rayon::join(deliver, || rayon::join(read, parse));
            delivered?;
            now?;
            read?;
            (empty, raw, parsed) = (parsed, empty, raw);
            if raw.iter().chain(&parsed).all(|block| block.bytes.is_empty()) {
                return Ok(scan);
            }
        }
    }

    /// As [`Self::read`], for times of that unit.
    ///
    /// # Errors
    /// Times that cannot be of that unit.
    pub fn read_timed(self, format: &impl LineFormat, unit: TimeUnit, sink: RowSink) -> Result<Scan, FormatError> {
        let path = self.path;
        let mut times = TimeCheck::new(unit);
        let scan = self.read(format, &mut |block| {
            times.see(&block.time);
            sink(block)
        })?;
        let implausible = times.implausible().map_err(|mistake| FormatError::read(path, mistake))?;
        Ok(Scan { implausible, ..scan })
    }

    /// Puts the next whole lines, [`BLOCK`] bytes or so, in place of `bytes`; nothing at the end.
    fn next_block(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        bytes.clear();
        while self.fill()? {
            if let Some(end) = self.ends.last(&self.rest) {
                bytes.extend_from_slice(&self.rest[end + 1..]);
                self.rest.truncate(end + 1);
                break;
            }
        }
        // What is left over stays, in the memory that was handed in.
        std::mem::swap(bytes, &mut self.rest);
        Ok(())
    }

    /// Reads [`BLOCK`] more bytes, fewer at the end; whether there were any. What was taken goes.
    fn fill(&mut self) -> Result<bool, FormatError> {
        self.rest.drain(..std::mem::take(&mut self.start));
        if self.rest.len() > LINE_LIMIT && self.ends.first(&self.rest).is_none() {
            let text = String::from_utf8_lossy(&self.rest[..64]).into_owned();
            let quote = matches!(self.ends, Ends::Quoted { .. }) && self.rest.contains(&b'"');
            let quote = if quote { "; if quotes are ordinary characters there, say `quoted: false`" } else { "" };
            let reason = format!("the line that begins with `{text}` is longer than {} MiB{quote}", LINE_LIMIT >> 20);
            return Err(FormatError::read(self.path, reason));
        }
        let read = (&mut self.source).take(BLOCK as u64).read_to_end(&mut self.rest);
        Ok(read.map_err(|error| FormatError::read(self.path, error))? > 0)
    }
}

impl Ends {
    /// The end of the line that starts here, if it is there.
    fn first(&self, bytes: &[u8]) -> Option<usize> {
        let end = memchr(b'\n', bytes)?;
        match self {
            Self::Quoted { separator, comment } if memchr(b'"', &bytes[..end]).is_some() => {
                let comment = comment.as_ref().is_some_and(|comment| bytes.starts_with(comment));
                if comment { Some(end) } else { quoted_end(bytes, separator) }
            }
            _ => Some(end),
        }
    }

    /// The end of the last line that is whole.
    fn last(&self, bytes: &[u8]) -> Option<usize> {
        if matches!(self, Self::Lines) || memchr(b'"', bytes).is_none() {
            return memrchr(b'\n', bytes);
        }
        self.all(bytes).last()
    }

    /// The ends of all whole lines.
    fn all(&self, bytes: &[u8]) -> impl Iterator<Item = usize> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let end = start + self.first(&bytes[start..])?;
            start = end + 1;
            Some(end)
        })
    }
}

/// Where a record ends whose fields may be quoted.
fn quoted_end(bytes: &[u8], separator: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at += closing_quote(&bytes[at + 1..])? + 2;
        }
        // On to the next field.
        loop {
            at += memchr2(b'\n', separator[0], &bytes[at..])?;
            if bytes[at..].starts_with(separator) {
                at += separator.len();
                break;
            }
            if bytes[at] == b'\n' {
                return Some(at);
            }
            at += 1;
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

impl LineBlock {
    /// Hands the parsed block on. `lines` counts those before it.
    fn deliver(&mut self, scan: &mut Scan, lines: &mut u64, sink: RowSink) -> Result<(), TooManyKeys> {
        if !self.block.is_empty() {
            sink(&self.block)?;
        }
        scan.append(std::mem::take(&mut self.scan), *lines);
        *lines += self.lines;
        Ok(())
    }

    fn parse(&mut self, ends: &Ends, format: &impl LineFormat) -> Result<(), TooManyKeys> {
        let Self { bytes, block, scan, lines } = self;
        block.clear();
        *lines = 0;
        // Nearly always the whole block is text, and no line of it needs to be looked at for that.
        let text = str::from_utf8(bytes).ok();
        let quotes = memchr(b'"', bytes).is_some();
        let ends = if quotes { ends } else { &Ends::Lines };
        let mut start = 0;
        while start < bytes.len() {
            if let Some(text) = text.filter(|_| !quotes) {
                let (read, passed) = format.plain_lines(&text[start..], block)?;
                (start, *lines) = (start + read, *lines + passed);
                if start == bytes.len() {
                    break;
                }
            }
            let end = ends.first(&bytes[start..]).map_or(bytes.len(), |end| start + end);
            let line = match text {
                Some(text) => Ok(&text[start..end]),
                None => str::from_utf8(&bytes[start..end]),
            };
            let bytes = &bytes[start..end];
            start = end + 1;
            let number = *lines + 1;
            let spanned = if quotes { count_lines(bytes.strip_suffix(b"\n").unwrap_or(bytes)) + 1 } else { 1 };
            *lines += spanned;
            let reason = match line.map(|line| line.strip_suffix('\r').unwrap_or(line)) {
                Ok(line) if line.trim_ascii_start().is_empty() => continue,
                Ok(line) => parse_line(line, format, block)?,
                Err(_) => Some(NOT_UTF8.to_owned()),
            };
            if let Some(reason) = reason {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_LIMIT + 1)]);
                let text = cut(text.trim_end_matches('\r'));
                scan.reject(Malformed { line: number, text, reason });
                // A quote that is never closed swallows lines: each is one that holds no interaction.
                scan.malformed_lines += spanned - 1;
            }
        }
        scan.rows = block.len() as u64;
        Ok(())
    }
}

/// Adds the rows of a line to a block; says what is wrong with it.
fn parse_line(line: &str, format: &impl LineFormat, block: &mut Block) -> Result<Option<String>, TooManyKeys> {
    let mut result = Ok(());
    let mut emit = |row: Row<'_>| {
        if let Err(full) = block.push(row) {
            result = Err(full);
        }
    };
    let reason = format.line(line, &mut emit).err();
    result.map(|()| reason)
}
