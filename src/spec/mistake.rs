//! Mistakes in pipeline files: collected while a pipeline is read and checked, then shown all together, each with its
//! file, line, column, a source excerpt, and what to do.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, NamedSource,
    SourceCode, SourceSpan, SpanContents,
};

use super::pipeline::Location;

/// Mistakes beyond this many are counted, not shown: one slip can have a thousand consequences.
const SHOWN: usize = 50;
/// Bytes of the lines around a place that are shown whole: a file can be a single line.
const EXCERPT: usize = 1_000;
/// Bytes that are shown before and after a place in longer lines.
const AROUND: usize = 80;
/// Characters of a message and of its help, whatever they quote.
const MESSAGE: usize = 600;
const HELP: usize = 2_000;

/// A range of bytes in one of the files of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Span {
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

/// The files of a pipeline, by the number that spans carry. What the command line says is kept as a file, too, so
/// that mistakes in it are shown the same way.
#[derive(Default)]
pub(super) struct Files(Vec<Excerpts>);

impl Files {
    pub fn add(&mut self, name: &str, text: &str) -> u32 {
        self.0.push(Excerpts::new(name, text));
        self.0.len() as u32 - 1
    }

    /// The text that `span` covers.
    pub fn slice(&self, span: Span) -> &str {
        self.0[span.file as usize].source.inner().get(span.start as usize..span.end as usize).unwrap_or("")
    }

    pub fn location(&self, span: Span) -> Location {
        let file = &self.0[span.file as usize];
        let line = file.line(span.start as usize);
        let before = Span { start: file.lines[line], end: span.start, ..span };
        let column = self.slice(before).chars().count() + 1;
        Location { file: file.source.name().to_owned(), line: line + 1, column }
    }
}

/// A mistake as it is found.
pub(super) struct Finding {
    pub span: Span,
    pub message: String,
    /// Written at the marked place.
    pub label: String,
    pub help: Option<String>,
    /// Another place that matters, and why.
    pub also: Option<(Span, String)>,
    /// Findings at one place with the same text here are one mistake; the message unless said otherwise.
    pub same: Option<String>,
}

impl Finding {
    pub fn new(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: label.into(), help: None, also: None, same: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.also = Some((span, label.into()));
        self
    }
}

/// Collects mistakes; the same one at the same place counts once.
#[derive(Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    seen: HashSet<(Span, String)>,
    beyond: usize,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        if !self.seen.insert((finding.span, finding.same.clone().unwrap_or_else(|| finding.message.clone()))) {
            return;
        }
        match self.is_full() {
            true => self.beyond += 1,
            false => self.found.push(finding),
        }
    }

    /// How many there are: a check that depends on an earlier one compares the counts.
    pub fn count(&self) -> usize {
        self.found.len() + self.beyond
    }

    /// Whether further ones are only counted: then it is not worth while to look for help.
    pub fn is_full(&self) -> bool {
        self.found.len() >= SHOWN
    }

    pub fn into_result(self, files: &Files) -> Result<(), Mistakes> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = self.found;
        found.sort_by_key(|finding| finding.span);
        let mistakes = found.into_iter().map(|finding| finding.into_mistake(files)).collect();
        Err(Mistakes { mistakes, beyond: self.beyond })
    }
}

impl Finding {
    fn into_mistake(self, files: &Files) -> Mistake {
        let source = files.0[self.span.file as usize].clone();
        let at = |span: Span| source.marked(span);
        let mut help = self.help;
        let label = limited(self.label, MESSAGE);
        let mut labels = vec![LabeledSpan::new_primary_with_span(Some(label), at(self.span))];
        match self.also {
            Some((span, label))
                if span.file == self.span.file && source.is_short(self.span) && source.is_short(span) =>
            {
                labels.push(LabeledSpan::new_with_span(Some(label), at(span)));
            }
            Some((span, label)) => {
                let place = files.location(span);
                let note = format!("{label}: {}:{}:{}", place.file, place.line, place.column);
                help = Some(help.map_or(note.clone(), |help| format!("{help}\n{note}")));
            }
            None => {}
        }
        Mistake {
            message: limited(self.message, MESSAGE),
            help: help.map(|help| limited(help, HELP)),
            location: files.location(self.span),
            source,
            labels,
        }
    }
}

/// The first `most` characters of a text.
fn limited(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// A file whose excerpts are short even when its lines are not, and are found without reading it from its start.
#[derive(Clone, Debug)]
struct Excerpts {
    source: NamedSource<Arc<str>>,
    /// Byte offset of each line.
    lines: Arc<[u32]>,
}

impl Excerpts {
    fn new(name: &str, text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { source: NamedSource::new(name, Arc::from(text)), lines }
    }

    /// The number of the line that holds an offset.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start as usize <= at) - 1
    }

    /// Where a line begins, or the file ends.
    fn start(&self, line: usize) -> usize {
        self.lines.get(line).map_or(self.source.inner().len(), |&start| start as usize)
    }

    /// The last place not behind `at` where a character begins.
    fn boundary(&self, at: usize) -> usize {
        let text = self.source.inner();
        (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
    }

    /// What is marked of a span: its first bytes when it is longer than an excerpt.
    fn marked(&self, span: Span) -> std::ops::Range<usize> {
        let start = span.start as usize;
        let end = (span.end as usize).clamp(start, start + EXCERPT);
        start..self.boundary(end).max(start)
    }

    /// The lines of a span, with those before and after.
    fn around(&self, from: usize, to: usize, before: usize, after: usize) -> std::ops::Range<usize> {
        self.start(self.line(from).saturating_sub(before))..self.start(self.line(to) + after + 1)
    }

    /// Whether the lines around a place can be shown whole.
    fn is_short(&self, span: Span) -> bool {
        let marked = self.marked(span);
        self.around(marked.start, marked.end, 1, 1).len() <= EXCERPT
    }
}

impl SourceCode for Excerpts {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text: &str = self.source.inner();
        let (from, to) = (self.boundary(span.offset()), self.boundary(span.offset() + span.len()));
        let lines = self.around(from, to, before, after);
        let first = self.line(lines.start);
        let name = self.source.name().to_owned();
        // The lines of two places that are shown together are longer than those of each.
        if lines.len() <= 3 * EXCERPT {
            let shifted = SourceSpan::from(span.offset() - lines.start..span.offset() - lines.start + span.len());
            let found = text.as_bytes()[lines.clone()].read_span(&shifted, before, after)?;
            let shown = lines.start + found.span().offset();
            let shown = shown..shown + found.span().len();
            let contents = MietteSpanContents::new_named(
                name,
                &text.as_bytes()[shown.clone()],
                shown.into(),
                first + found.line(),
                found.column(),
                found.line_count(),
            );
            return Ok(Box::new(contents));
        }
        let line = self.line(from);
        let start = if before == 0 { from } else { self.boundary(from.saturating_sub(AROUND)).max(self.start(line)) };
        let to = to.min(self.boundary(from + EXCERPT));
        let end = self.boundary(to + AROUND).min(self.start(self.line(to) + 1)).max(start);
        let (shown, column) = (SourceSpan::from(start..end), start - self.start(line));
        Ok(Box::new(MietteSpanContents::new_named(name, &text.as_bytes()[start..end], shown, line, column, 1)))
    }
}

/// A mistake in a pipeline file or in a change from the command line.
#[derive(Clone, Debug)]
pub struct Mistake {
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    pub location: Location,
    source: Excerpts,
    labels: Vec<LabeledSpan>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// Every mistake of a pipeline, in the order of its text.
#[derive(Clone, Debug)]
pub struct Mistakes {
    pub mistakes: Vec<Mistake>,
    /// How many more there are.
    pub beyond: usize,
}

impl Mistakes {
    /// All mistakes with their source excerpts, for a terminal `width` columns wide.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut text = String::new();
        for mistake in &self.mistakes {
            // Writing to a string cannot fail; a report whose span lies outside of its source still has its message.
            if handler.render_report(&mut text, mistake).is_err() {
                text.push_str(&mistake.message);
            }
            text.push('\n');
        }
        text.push_str(&self.to_string());
        text.push('\n');
        text
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len() + self.beyond;
        write!(f, "{count} mistake{}", if count == 1 { "" } else { "s" })?;
        if self.beyond > 0 {
            write!(f, "; the first {} are shown", self.mistakes.len())?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
