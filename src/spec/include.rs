//! The root file and the files that it includes, merged into one tree. Paths are pure text here: what stands behind
//! them comes through the reading closure.

use std::collections::HashMap;

use super::ast::{map, texts, unknown_key};
use super::keys;
use super::mistake::{Files, Finding, Findings, Span};
use super::yaml::{self, Node, Tree, Word};

/// Reads bytes by path; the error is a sentence.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// The sections that files share, each a map from name to definition.
const SHARED: [&str; 3] = ["vars", "axes", "stages"];

/// All files as one tree, or nothing when one of them cannot be read: then names of it would be missing everywhere.
pub(super) fn load(root: &str, read: Read<'_>, files: &mut Files, findings: &mut Findings) -> Option<Node> {
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut loader = Loader {
        folder,
        read,
        files,
        findings,
        open: Vec::new(),
        done: Vec::new(),
        own: Vec::new(),
        shared: Default::default(),
        first: HashMap::new(),
        whole: true,
    };
    let name = root.rsplit('/').next().unwrap_or(root);
    loader.file(name, None);
    let Loader { mut own, shared, whole, .. } = loader;
    for (name, entries) in SHARED.into_iter().zip(shared) {
        let word = Word { text: name.to_owned(), span: Span::default() };
        own.push((word, Node { span: Span::default(), value: Tree::Map(entries) }));
    }
    whole.then_some(Node { span: Span::default(), value: Tree::Map(own) })
}

struct Loader<'a> {
    /// The folder of the root file. Includes cannot leave it.
    folder: &'a str,
    read: Read<'a>,
    files: &'a mut Files,
    findings: &'a mut Findings,
    /// The files that include the one that is being read, relative to `folder`.
    open: Vec<String>,
    done: Vec<String>,
    /// What only the root file can say.
    own: Vec<(Word, Node)>,
    shared: [Vec<(Word, Node)>; 3],
    /// Where each name of each section was defined.
    first: HashMap<(usize, String), Span>,
    whole: bool,
}

impl Loader<'_> {
    fn file(&mut self, path: &str, from: Option<Span>) {
        let full = if self.folder.is_empty() { path.to_owned() } else { format!("{}/{path}", self.folder) };
        let bytes = match (self.read)(&full) {
            Ok(bytes) => bytes,
            Err(reason) => {
                let span = from.unwrap_or_else(|| Span { file: self.files.add(&full, ""), start: 0, end: 0 });
                self.findings.push(Finding::new(span, format!("cannot read `{full}`: {reason}"), "this file"));
                self.whole = false;
                return;
            }
        };
        let Some(node) = yaml::read(&full, &bytes, self.files, self.findings) else {
            self.whole = false;
            return;
        };
        if node.entries().is_none() {
            let message = format!("a pipeline file is a map, not {}", node.describe());
            self.findings.push(Finding::new(node.span, message, "`key: value` is needed here"));
            self.whole = false;
            return;
        }
        self.open.push(path.to_owned());
        self.merge(node, from.is_none());
        self.open.pop();
        self.done.push(path.to_owned());
    }

    fn merge(&mut self, node: Node, root: bool) {
        let (table, what) = match root {
            true => (keys::TOP, "a pipeline file"),
            false => (keys::INCLUDED, "an included file"),
        };
        let (includes, entries): (Vec<_>, Vec<_>) =
            map(node, what, self.findings).into_iter().partition(|(key, _)| key.text == "include");
        for (_, node) in includes {
            for word in texts(node, "`include`", self.findings) {
                self.include(&word);
            }
        }
        for (key, node) in entries {
            if !table.iter().any(|known| known.name == key.text) {
                unknown_key(&key, table, what, self.findings);
            } else if let Some(section) = SHARED.iter().position(|&name| name == key.text) {
                self.section(section, node);
            } else if root {
                self.own.push((key, node));
            }
        }
    }

    fn section(&mut self, section: usize, node: Node) {
        let name = SHARED[section];
        for (word, node) in map(node, &format!("`{name}`"), self.findings) {
            match self.first.get(&(section, word.text.clone())) {
                Some(&first) => {
                    let message = format!("`{name}.{}` is already defined in another file", word.text);
                    let finding = Finding::new(word.span, message, "the second one").also(first, "the first one");
                    self.findings.push(finding.help("rename one of them; included files add, they do not replace"));
                }
                None => {
                    self.first.insert((section, word.text.clone()), word.span);
                    self.shared[section].push((word, node));
                }
            }
        }
    }

    fn include(&mut self, word: &Word) {
        let fail = |message: String, label: &str| Finding::new(word.span, message, label);
        let Some(path) = self.open.last().and_then(|from| join(from, &word.text)) else {
            let message = format!("the include `{}` leaves the folder of the pipeline", word.text);
            self.findings.push(
                fail(message, "this path")
                    .help("put the file beside the pipeline or below, and name it by a relative path"),
            );
            return;
        };
        if let Some(at) = self.open.iter().position(|open| *open == path) {
            let cycle = [&self.open[at..], &[path]].concat().join(" -> ");
            self.findings.push(
                fail(format!("files include each other in a cycle: {cycle}"), "closes the cycle")
                    .help("remove one of them; what both need goes into a third file"),
            );
        } else if !self.done.contains(&path) {
            self.file(&path, Some(word.span));
        }
    }
}

/// `path` as seen from the file `from`, both relative to the same folder; nothing when it is absolute or leaves
/// that folder.
fn join(from: &str, path: &str) -> Option<String> {
    if path.is_empty() || path.starts_with('/') || path.contains(['\\', ':']) {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_of_the_folder() {
        assert_eq!(join("paper.yaml", "common/axes.yaml").as_deref(), Some("common/axes.yaml"));
        assert_eq!(join("common/axes.yaml", "../vars.yaml").as_deref(), Some("vars.yaml"));
        assert_eq!(join("common/axes.yaml", "./more.yaml").as_deref(), Some("common/more.yaml"));
        for escape in ["../x.yaml", "/etc/passwd", "a/../../x.yaml", "C:\\x", "http://x/y.yaml", ""] {
            assert_eq!(join("paper.yaml", escape), None, "{escape}");
        }
    }
}
