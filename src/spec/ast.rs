//! The syntax tree of a pipeline: the shape of the file has been checked, every name still has its place in the text,
//! and nothing is resolved. Whether kinds, stages and axes of these names exist is checked by the modules that resolve
//! them.

use super::keys;
use super::mistake::{Finding, Findings, Span};
use super::suggest::{self, clipped};
use super::yaml::{Node, Tree, Word};

/// All files of a pipeline together.
#[derive(Default)]
pub(super) struct PipelineAst {
    pub name: Option<Word>,
    pub title: Option<String>,
    pub vars: Vec<(Word, Node)>,
    pub axes: Vec<AxisAst>,
    pub stages: Vec<StageAst>,
}

pub(super) struct AxisAst {
    pub name: Word,
    pub labels: Vec<(Word, Node)>,
}

pub(super) struct StageAst {
    pub name: Word,
    /// Whether its axes and needs could be read.
    pub sound: bool,
    pub kind: Option<Word>,
    pub over: Vec<Word>,
    pub collapse: Vec<Word>,
    pub needs: Vec<NeedAst>,
    pub condition: Option<Condition>,
    pub except: Vec<Matcher>,
    pub overrides: Vec<(Matcher, Node)>,
    /// Where `with:` stands, and its value.
    pub with: Option<(Span, Node)>,
}

/// A port and what flows into it.
pub(super) struct NeedAst {
    pub port: Word,
    pub sources: Vec<Reference>,
}

/// `stage`, `stage.artifact`, `stage*` or `stage.artifact*`.
pub(super) struct Reference {
    pub span: Span,
    pub stage: String,
    pub artifact: Option<String>,
    pub starred: bool,
}

/// `where:`
pub(super) enum Condition {
    Expression(Node),
    Labels(Matcher),
}

/// A map from axes to the labels that match.
pub(super) struct Matcher {
    pub span: Span,
    pub axes: Vec<(Word, Vec<Word>)>,
}

/// Bytes of a name, and of a label: with its axis it names a folder of reports, which has at most 255.
const NAME: usize = 100;
const LABEL: usize = 150;

/// The pipeline that the merged tree of all files spells.
pub(super) fn read(root: Node, findings: &mut Findings) -> PipelineAst {
    let mut ast = PipelineAst::default();
    for (key, node) in map(root, "a pipeline file", findings) {
        match key.text.as_str() {
            "pipeline" => ast.name = name(node, "the pipeline's name", findings),
            "title" => ast.title = text(node, "`title`", findings).map(|word| word.text),
            "vars" => ast.vars = map(node, "`vars`", findings),
            "axes" => {
                let axes = map(node, "`axes`", findings);
                ast.axes = axes.into_iter().filter_map(|(name, node)| axis(name, node, findings)).collect();
            }
            "stages" => {
                let stages = map(node, "`stages`", findings);
                ast.stages = stages.into_iter().map(|(name, node)| stage(name, node, findings)).collect();
            }
            // `description` is documentation and `$schema` is for editors: they only have to be texts.
            _ => drop(text(node, &format!("`{}`", key.text), findings)),
        }
    }
    ast
}

fn axis(name: Word, node: Node, findings: &mut Findings) -> Option<AxisAst> {
    if !is_name(&name.text) || keys::RESERVED.contains(&name.text.as_str()) || name.text.contains('-') {
        let message = format!("`{}` cannot name an axis", clipped(&name.text));
        findings.push(Finding::new(name.span, message, "this name").help(format!(
            "templates use the name: at most 100 letters, digits and `_`, and none of {}",
            suggest::listed(keys::RESERVED.iter().copied())
        )));
        return None;
    }
    let labels = match node.value {
        Tree::Broken => Vec::new(),
        Tree::Map(entries) if !entries.is_empty() => entries,
        Tree::List(items) if !items.is_empty() => items.into_iter().filter_map(|item| label(item, findings)).collect(),
        _ => {
            let found = match node.value {
                Tree::Map(_) | Tree::List(_) | Tree::Null => "has no labels".to_owned(),
                _ => format!("is {}", node.describe()),
            };
            findings.push(
                Finding::new(node.span, format!("the axis `{}` {found}", name.text), "labels are needed here")
                    .help("write labels, `[a, b]`, or labels with their parameters, `{a: {...}, b: {...}}`"),
            );
            Vec::new()
        }
    };
    let mut axis = AxisAst { name, labels };
    axis.labels.retain(|(label, _)| label_is_sound(label, findings));
    Some(axis)
}

/// A scalar of a list as label and value.
fn label(item: Node, findings: &mut Findings) -> Option<(Word, Node)> {
    let text = match &item.value {
        Tree::Text(text) => text.clone(),
        Tree::Number(number) => number.to_string(),
        Tree::Bool(value) => value.to_string(),
        Tree::Broken => return None,
        _ => {
            let message = format!("a label is a text or a number, not {}", item.describe());
            findings.push(
                Finding::new(item.span, message, "in a list of labels")
                    .help("labels with parameters are written as a map: `label: {parameter: value}`"),
            );
            return None;
        }
    };
    Some((Word { text, span: item.span }, item))
}

fn label_is_sound(label: &Word, findings: &mut Findings) -> bool {
    let text = &label.text;
    if text.len() > LABEL {
        let message = format!("the label `{}` has {} bytes; at most {LABEL} fit", clipped(text), text.len());
        let finding = Finding::new(label.span, message, "too long to name a folder");
        findings.push(finding.help("write a map from a short label to its parameters: `short: {...}`"));
        return false;
    }
    let sound = !text.is_empty()
        && text.trim() == text
        && !text.contains(['[', ']', '{', '}', ',', '=', '*', '"', '\''])
        && !text.contains(char::is_control);
    if !sound {
        let message = format!("`{}` cannot be a label", clipped(text));
        findings.push(Finding::new(label.span, message, "this label").help(
            "labels are part of names like `model[seed=1]`: no brackets, commas, `=`, `*`, quotes or outer spaces",
        ));
    }
    sound
}

fn stage(name: Word, node: Node, findings: &mut Findings) -> StageAst {
    if !is_name(&name.text) {
        let message = format!("`{}` cannot name a stage", clipped(&name.text));
        let finding = Finding::new(name.span, message, "this name");
        findings.push(finding.help("begin with a letter; then letters, digits, `_` and `-`; at most 100"));
    }
    let broken = matches!(node.value, Tree::Broken);
    let mut stage = StageAst {
        name,
        sound: !broken,
        kind: None,
        over: Vec::new(),
        collapse: Vec::new(),
        needs: Vec::new(),
        condition: None,
        except: Vec::new(),
        overrides: Vec::new(),
        with: None,
    };
    for (key, node) in map(node, "a stage", findings) {
        let (before, shapes) = (findings.count(), matches!(key.text.as_str(), "over" | "collapse" | "needs"));
        stage.sound &= !(shapes && is_broken(&node));
        match key.text.as_str() {
            "kind" => stage.kind = text(node, "`kind`", findings),
            "over" => stage.over = texts(node, "`over`", findings),
            "collapse" => stage.collapse = texts(node, "`collapse`", findings),
            "needs" => {
                let needs = map(node, "`needs`", findings);
                stage.needs = needs.into_iter().map(|(port, node)| need(port, node, findings)).collect();
            }
            "where" => stage.condition = condition(node, findings),
            "except" => stage.except = list(node).into_iter().map(|item| matcher(item, "`except`", findings)).collect(),
            "overrides" => stage.overrides = overrides(node, findings),
            "with" => stage.with = Some((key.span, node)),
            "title" | "doc" => drop(text(node, &format!("`{}`", key.text), findings)),
            _ => unknown_key(&key, keys::STAGE, "a stage", findings),
        }
        stage.sound &= !shapes || findings.count() == before;
    }
    if stage.kind.is_none() && !broken {
        let message = format!("the stage `{}` has no kind", stage.name.text);
        findings.push(
            Finding::new(stage.name.span, message, "`kind:` is missing").help("write `kind: train`, for example"),
        );
    }
    stage
}

fn need(port: Word, node: Node, findings: &mut Findings) -> NeedAst {
    let sources = texts(node, "a need", findings).into_iter().map(reference).collect();
    NeedAst { port, sources }
}

fn reference(word: Word) -> Reference {
    let (text, starred) = match word.text.strip_suffix('*') {
        Some(text) => (text, true),
        None => (word.text.as_str(), false),
    };
    let (stage, artifact) = match text.split_once('.') {
        Some((stage, artifact)) => (stage.to_owned(), Some(artifact.to_owned())),
        None => (text.to_owned(), None),
    };
    Reference { span: word.span, stage, artifact, starred }
}

fn condition(node: Node, findings: &mut Findings) -> Option<Condition> {
    match node.value {
        Tree::Text(_) => Some(Condition::Expression(node)),
        Tree::Map(_) => Some(Condition::Labels(matcher(node, "`where`", findings))),
        Tree::Broken => None,
        _ => {
            let message = format!("`where` is {}", node.describe());
            findings.push(Finding::new(node.span, message, "a condition is needed").help(
                "write an expression, `\"{{ scenario != 'temporal' }}\"`, or axes and labels, `{scenario: [iid, popularity]}`",
            ));
            None
        }
    }
}

fn overrides(node: Node, findings: &mut Findings) -> Vec<(Matcher, Node)> {
    let mut overrides = Vec::new();
    for item in list(node) {
        let span = item.span;
        let (mut when, mut with) = (None, None);
        for (key, node) in map(item, "an override", findings) {
            match key.text.as_str() {
                "when" => when = Some(matcher(node, "`when`", findings)),
                "with" => with = Some(node),
                _ => unknown_key(&key, keys::OVERRIDE, "an override", findings),
            }
        }
        match (when, with) {
            (Some(when), Some(with)) => overrides.push((when, with)),
            _ => findings.push(
                Finding::new(span, "an override needs both `when` and `with`", "one of them is missing")
                    .help("write `{when: {dataset: food}, with: {epochs: 3}}`"),
            ),
        }
    }
    overrides
}

fn matcher(node: Node, what: &str, findings: &mut Findings) -> Matcher {
    let span = node.span;
    let mut axes = Vec::new();
    for (axis, node) in map(node, what, findings) {
        let labels: Vec<_> =
            list(node).into_iter().filter_map(|item| label(item, findings)).map(|(label, _)| label).collect();
        axes.push((axis, labels));
    }
    Matcher { span, axes }
}

fn is_broken(node: &Node) -> bool {
    match &node.value {
        Tree::Broken => true,
        Tree::List(items) => items.iter().any(is_broken),
        Tree::Map(entries) => entries.iter().any(|(_, node)| is_broken(node)),
        _ => false,
    }
}

/// A single value counts as a list of one.
fn list(node: Node) -> Vec<Node> {
    match node.value {
        Tree::List(items) => items,
        Tree::Broken => Vec::new(),
        _ => vec![node],
    }
}

pub(super) fn map(node: Node, what: &str, findings: &mut Findings) -> Vec<(Word, Node)> {
    match node.value {
        Tree::Map(entries) => entries,
        Tree::Broken => Vec::new(),
        _ => {
            let message = format!("{what} is a map, not {}", node.describe());
            findings.push(Finding::new(node.span, message, "`key: value` is needed here"));
            Vec::new()
        }
    }
}

fn text(node: Node, what: &str, findings: &mut Findings) -> Option<Word> {
    match node.value {
        Tree::Text(text) => Some(Word { text, span: node.span }),
        Tree::Broken => None,
        _ => {
            let message = format!("{what} is a text, not {}", node.describe());
            findings.push(Finding::new(node.span, message, "a text is needed here"));
            None
        }
    }
}

pub(super) fn texts(node: Node, what: &str, findings: &mut Findings) -> Vec<Word> {
    list(node).into_iter().filter_map(|item| text(item, what, findings)).collect()
}

fn name(node: Node, what: &str, findings: &mut Findings) -> Option<Word> {
    let word = text(node, what, findings)?;
    if !is_name(&word.text) {
        let message = format!("`{}` cannot be {what}", clipped(&word.text));
        findings.push(
            Finding::new(word.span, message, "this name").help(
                "it also names the folder of the reports: begin with a letter; then letters, digits, `_` and `-`; at most 100",
            ),
        );
    }
    Some(word)
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

pub(super) fn unknown_key(key: &Word, table: &[keys::Key], what: &str, findings: &mut Findings) {
    let message = format!("{what} has no key `{}`", clipped(&key.text));
    let help = suggest::help(&key.text, "its keys", table.iter().map(|key| key.name));
    findings.push(Finding::new(key.span, message, "unknown key").help(help));
}
