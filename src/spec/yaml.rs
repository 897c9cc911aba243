//! YAML text to a tree in which every key and value has its place in the text.
//!
//! Why `granit-parser`: serde_yaml is deprecated and keeps no positions inside of values. serde-saphyr, its
//! maintained successor, has spans and budgets, but a serde deserialiser stops at the first mistake, and a pipeline
//! shall report all of them. So this reads the events of the parser beneath serde-saphyr: YAML 1.2, every event with
//! its byte range, no panics, limits on nesting, maintained together with serde-saphyr.

mod scalar;

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, options};
use serde_json::Number;

use super::mistake::{Files, Finding, Findings, Span};

use super::suggest::clipped;

/// Deeper nesting is a mistake or an attack.
const DEPTH: usize = 64;
/// How many nodes aliases may copy in one file ("billion laughs").
const COPIES: usize = 20_000;
/// Files are refused above this size.
pub const BYTES: usize = 32 << 20;

/// A value as written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub span: Span,
    pub value: Tree,
}

#[derive(Clone, Debug)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Word, Node)>),
    /// Invalid and already reported; whatever depends on it reports nothing further.
    Broken,
}

/// A name or a text and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub text: String,
    pub span: Span,
}

impl Node {
    pub fn entries(&self) -> Option<&[(Word, Node)]> {
        match &self.value {
            Tree::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// What it is, as messages say it.
    pub fn describe(&self) -> String {
        match &self.value {
            Tree::Null => "nothing".to_owned(),
            Tree::Bool(value) => format!("`{value}`"),
            Tree::Number(number) => format!("the number {number}"),
            Tree::Text(text) => format!("the text `{}`", clipped(text)),
            Tree::List(_) => "a list".to_owned(),
            Tree::Map(_) => "a map".to_owned(),
            Tree::Broken => "something broken".to_owned(),
        }
    }
}

/// The file's text registered under its number, and its tree, if it has one.
pub(super) fn read(name: &str, bytes: &[u8], files: &mut Files, findings: &mut Findings) -> Option<Node> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
            let shown = if utf16 { "".into() } else { String::from_utf8_lossy(bytes) };
            let file = files.add(name, &shown);
            let at = error.valid_up_to() as u32;
            let what = if utf16 { "this file is UTF-16" } else { "this byte is not UTF-8" };
            findings.push(
                Finding::new(Span { file, start: at, end: at + 3 }, "the file is not UTF-8 text", what)
                    .help("save the file as UTF-8"),
            );
            return None;
        }
    };
    let file = files.add(name, text);
    let mut fail = |finding| {
        findings.push(finding);
        None
    };
    let top = Span { file, start: 0, end: 0 };
    if text.len() > BYTES {
        let message = format!("the file has more than {} MiB", BYTES >> 20);
        return fail(Finding::new(top, message, "is this a pipeline?"));
    }
    let is_bare = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
    if text.lines().all(is_bare) {
        return fail(
            Finding::new(top, "the file is empty", "nothing but comments here")
                .help("a pipeline needs at least `pipeline:` and `stages:`; `cnsdiff-pipe init` writes a starter"),
        );
    }
    let mut reader = Reader {
        text,
        file,
        findings,
        stack: Vec::new(),
        anchors: HashMap::new(),
        copies: 0,
        root: None,
        documents: 0,
    };
    match reader.run() {
        Ok(()) => reader.root.or(Some(Node { span: top, value: Tree::Null })),
        Err(Unreadable) => None,
    }
}

/// Reading cannot go on; the reason is among the findings.
struct Unreadable;

/// A collection that is being read.
struct Frame {
    start: u32,
    anchor: usize,
    /// Levels below it.
    height: usize,
    nodes: usize,
    /// Whether a part of it was refused, so that nothing can be said of the whole.
    broken: bool,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<(Word, Node)>, key: Option<Word> },
}

/// A value with its size, so that copies of it can be counted.
#[derive(Clone)]
struct Sized {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Reader<'a> {
    text: &'a str,
    file: u32,
    findings: &'a mut Findings,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Sized>,
    copies: usize,
    root: Option<Node>,
    documents: usize,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), Unreadable> {
        let limits = options! { flow_nesting_limit: DEPTH, block_nesting_limit: DEPTH };
        for event in Parser::new_from_str_with_options(self.text, limits) {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let offset = |marker: granit_parser::Marker| marker.byte_offset().unwrap_or(marker.index()) as u32;
            let span = Span { file: self.file, start: offset(span.start), end: offset(span.end) };
            self.event(event, span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let finding = Finding::new(span, "the file holds more than one YAML document", "the second one");
                    return self.stop(finding.help("write one pipeline per file, without `---` between its parts"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = match &tag {
                    Some(tag) if tag.core_suffix().is_none() => {
                        let finding = Finding::new(
                            span,
                            format!("unknown tag `{}`", clipped(&tag.original().to_string())),
                            "this value",
                        );
                        self.findings.push(finding.help("pipelines have no tags; write the plain value"));
                        return self.value(anchor, span, Tree::Broken);
                    }
                    Some(tag) => tag.core_suffix(),
                    None => None,
                };
                if self.awaits_key() {
                    return self.key(&text, style, span);
                }
                let value = match (style, tag) {
                    (_, Some("str")) => Tree::Text(text.into_owned()),
                    (ScalarStyle::Plain, _) | (_, Some(_)) => {
                        scalar::resolve(text).unwrap_or_else(|(message, help)| {
                            self.findings.push(Finding::new(span, message, "this value").help(help));
                            Tree::Broken
                        })
                    }
                    _ => Tree::Text(text.into_owned()),
                };
                self.value(anchor, span, value)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(span, anchor, Items::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                self.open(span, anchor, Items::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { items: Items::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Unreadable> {
        let merge = style == ScalarStyle::Plain && text == "<<";
        if merge {
            let finding = Finding::new(span, "merge keys (`<<`) are not part of YAML 1.2", "a merge key");
            self.findings.push(finding.help("write the parameters out, or share them through `vars` or `overrides`"));
        } else if text.is_empty() {
            self.findings.push(Finding::new(span, "a key must be a text", "no key here"));
        }
        // Keys that were refused are left empty, and go when the map is complete.
        let text = if merge { String::new() } else { text.to_owned() };
        if let Some(Frame { items: Items::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Word { text, span });
        }
        Ok(())
    }

    fn open(&mut self, span: Span, anchor: usize, items: Items) -> Result<(), Unreadable> {
        if self.stack.len() >= DEPTH {
            return self.stop(too_deep(span));
        }
        self.stack.push(Frame { start: span.start, anchor, height: 0, nodes: 1, broken: false, items });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Unreadable> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let (mut value, last) = match frame.items {
            Items::List(items) => {
                let last = items.last().map(|node| node.span.end);
                (Tree::List(items), last)
            }
            Items::Map { mut entries, .. } => {
                entries.retain(|(key, _)| !key.text.is_empty());
                let last = entries.last().map(|(key, node)| node.span.end.max(key.span.end));
                (Tree::Map(self.without_duplicates(entries)), last)
            }
        };
        if frame.broken {
            value = Tree::Broken;
        }
        // Block collections end where their last value ends, not where the next token begins.
        let block = !self.text.get(..span.end as usize).is_some_and(|text| text.ends_with([']', '}']));
        let end = if block { last.unwrap_or(frame.start) } else { span.end };
        let span = Span { file: self.file, start: frame.start, end };
        self.add(Sized { node: Node { span, value }, nodes: frame.nodes, height: frame.height + 1 }, frame.anchor)
    }

    /// Reports keys that occur twice and keeps the first.
    fn without_duplicates(&mut self, entries: Vec<(Word, Node)>) -> Vec<(Word, Node)> {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|&a, &b| entries[a].0.text.cmp(&entries[b].0.text));
        let mut repeated = Vec::new();
        for run in order.chunk_by(|&a, &b| entries[a].0.text == entries[b].0.text).filter(|run| run.len() > 1) {
            let first = &entries[run[0]].0;
            for &again in &run[1..] {
                let message = format!("the key `{}` occurs twice in this map", clipped(&first.text));
                let finding =
                    Finding::new(entries[again].0.span, message, "the second one").also(first.span, "the first");
                self.findings.push(finding.help("remove or rename one of them"));
                repeated.push(again);
            }
        }
        if repeated.is_empty() {
            return entries;
        }
        entries.into_iter().enumerate().filter(|(at, _)| !repeated.contains(at)).map(|(_, entry)| entry).collect()
    }

    fn value(&mut self, anchor: usize, span: Span, value: Tree) -> Result<(), Unreadable> {
        self.add(Sized { node: Node { span, value }, nodes: 1, height: 0 }, anchor)
    }

    /// Puts a finished value into the collection that is open.
    fn add(&mut self, sized: Sized, anchor: usize) -> Result<(), Unreadable> {
        if anchor > 0 {
            self.anchors.insert(anchor, sized.clone());
        }
        let text = self.text;
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(sized.node);
            return Ok(());
        };
        frame.height = frame.height.max(sized.height);
        frame.nodes += sized.nodes;
        match &mut frame.items {
            Items::List(items) => items.push(sized.node),
            Items::Map { entries, key } => match key.take() {
                Some(key) => entries.push((key, sized.node)),
                None => {
                    let span = sized.node.span;
                    let template = text.get(frame.start as usize..).is_some_and(|text| text.starts_with("{{"));
                    let finding = Finding::new(span, "a key must be plain text", "this is used as a key");
                    self.findings.push(match template {
                        true => Finding {
                            message: "a template must be quoted".into(),
                            label: "YAML reads this brace as a map".into(),
                            ..finding.help("write `\"{{ ... }}\"`, with quotes")
                        },
                        false => finding,
                    });
                    *key = Some(Word { text: String::new(), span });
                    frame.broken = true;
                }
            },
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Unreadable> {
        let Some(sized) = self.anchors.get(&anchor).cloned() else {
            return self.stop(
                Finding::new(span, "an alias inside of the value that it names", "endless repetition")
                    .help("use the name only where its value has ended"),
            );
        };
        self.copies += sized.nodes;
        if self.copies > COPIES {
            let message = format!("aliases of this file expand to more than {COPIES} values");
            return self
                .stop(Finding::new(span, message, "too much by here").help("write lists of lists out, or use axes"));
        }
        if self.stack.len() + sized.height > DEPTH {
            return self.stop(too_deep(span));
        }
        if self.awaits_key() {
            return match sized.node.value {
                Tree::Text(text) => self.key(&text, ScalarStyle::DoubleQuoted, span),
                _ => self.add(sized, 0),
            };
        }
        self.add(sized, 0)
    }

    fn stop(&mut self, finding: Finding) -> Result<(), Unreadable> {
        self.findings.push(finding);
        Err(Unreadable)
    }

    /// The parser's complaint, in the words of people who write pipelines.
    fn syntax(&mut self, error: &ScanError) -> Unreadable {
        let marker = error.marker();
        let start = (marker.byte_offset().unwrap_or(marker.index()).min(self.text.len())) as u32;
        let span = Span { file: self.file, start, end: start + 1 };
        let finding = match error.kind() {
            ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
                Finding::new(span, "a tab cannot indent YAML", "a tab").help("indent with spaces")
            }
            ErrorKind::RecursionLimitExceeded => too_deep(span),
            ErrorKind::UnknownAnchor => Finding::new(span, "an alias of an anchor that nobody defined", "this alias")
                .help("define it before, as `&name`; to write a text that begins with `*`, quote it"),
            kind => Finding::new(span, format!("not valid YAML: {kind}"), "here")
                .help("the mistake may stand a line above: look for a missing quote, bracket or colon"),
        };
        self.findings.push(finding);
        Unreadable
    }
}

fn too_deep(span: Span) -> Finding {
    Finding::new(span, format!("nested more than {DEPTH} levels deep"), "too deep from here")
        .help("no pipeline needs this; look for brackets that were never closed")
}
