//! The axes with their labels and values, as stages and templates look them up.

use std::collections::HashMap;

use serde_json::Value;

use super::Options;
use super::ast::{AxisAst, Matcher};
use super::command_line;
use super::grid::AxisSet;
use super::mistake::{Files, Finding, Findings};
use super::pipeline::Axis;
use super::suggest;
use super::template::{self, Engine};
use super::yaml::{Node, Tree, Word};

/// All axes, in the order of the file.
pub(super) struct Axes {
    axes: Vec<AxisData>,
    by_name: HashMap<String, usize>,
    /// Number of labels of each axis.
    pub sizes: Vec<usize>,
    /// Whether the command line took labels away, so that stages may be left without instances.
    pub narrowed: bool,
}

pub(super) struct AxisData {
    pub name: String,
    pub labels: Vec<String>,
    pub values: Vec<Value>,
    /// The same for templates: cheap to share.
    pub scope: Vec<minijinja::Value>,
    pub label_scope: Vec<minijinja::Value>,
    /// As written, to show where a parameter comes from.
    pub nodes: Vec<Node>,
    /// Labels that the command line took away.
    dropped: Vec<String>,
    by_label: HashMap<String, usize>,
}

/// A set of labels of some axes.
pub(super) struct LabelSelection(Vec<(usize, Vec<bool>)>);

impl LabelSelection {
    /// Whether `point` has one of the labels on every axis of the selection.
    pub fn matches(&self, point: &[usize]) -> bool {
        self.0.iter().all(|(axis, labels)| labels[point[*axis]])
    }

    pub fn axes(&self) -> AxisSet {
        self.0.iter().fold(AxisSet::default(), |set, (axis, _)| set.union(AxisSet::one(*axis)))
    }
}

impl Axes {
    /// Resolves the axes; parameters may use `vars`.
    pub fn new(
        ast: Vec<AxisAst>,
        options: &Options,
        engine: &Engine,
        files: &mut Files,
        findings: &mut Findings,
    ) -> Self {
        let mut axes = Self { axes: Vec::new(), by_name: HashMap::new(), sizes: Vec::new(), narrowed: false };
        for axis in ast {
            if axes.axes.len() == AxisSet::MOST {
                let message = format!("more than {} axes", AxisSet::MOST);
                findings.push(Finding::new(axis.name.span, message, "one too many"));
                break;
            }
            axes.by_name.insert(axis.name.text.clone(), axes.axes.len());
            axes.axes.push(AxisData::new(axis, engine, files, findings));
        }
        axes.apply(options, files, findings);
        axes.sizes = axes.axes.iter().map(|axis| axis.labels.len()).collect();
        axes
    }

    fn apply(&mut self, options: &Options, files: &mut Files, findings: &mut Findings) {
        for (name, labels) in &options.only {
            let word = command_line::word(&format!("--only {name}={}", labels.join(",")), files);
            let Some(axis) = self.find(&Word { text: name.clone(), ..word }, findings) else { continue };
            let axis = &mut self.axes[axis];
            let unknown: Vec<&String> = labels.iter().filter(|label| !axis.by_label.contains_key(*label)).collect();
            for label in &unknown {
                let message = format!("the axis `{name}` has no label `{label}`");
                let help = suggest::help(label, "its labels", axis.labels.iter().map(String::as_str));
                findings.push(Finding::new(word.span, message, "unknown label").help(help));
            }
            if labels.is_empty() {
                findings.push(Finding::new(word.span, format!("`--only {name}=` keeps no label"), "labels are needed"));
            } else if unknown.is_empty() {
                axis.keep(|label| labels.iter().any(|kept| kept == label));
                self.narrowed = true;
            }
        }
        if let Some(seeds) = &options.seeds {
            let text: Vec<String> = seeds.iter().map(u64::to_string).collect();
            let word = command_line::word(&format!("--seeds {}", text.join(",")), files);
            let Some(axis) = self.find(&Word { text: "seed".into(), ..word }, findings) else { return };
            let axis = &mut self.axes[axis];
            let repeated = seeds.iter().enumerate().find(|(at, seed)| seeds[..*at].contains(seed));
            if let Some((_, seed)) = repeated {
                findings.push(Finding::new(word.span, format!("`--seeds` names {seed} twice"), "each seed once"));
            } else if seeds.is_empty() {
                findings.push(Finding::new(word.span, "`--seeds` names no seed", "seeds are needed"));
            } else if axis.values.iter().any(|value| !value.is_number()) {
                let message = "`--seeds` needs an axis `seed` whose labels are numbers";
                findings.push(Finding::new(word.span, message, "cannot replace the labels of `seed`"));
            } else {
                let nodes = seeds.iter().map(|&seed| {
                    let node = Node { span: word.span, value: Tree::Number(seed.into()) };
                    (seed.to_string(), Value::from(seed), node)
                });
                let dropped = std::mem::take(&mut axis.labels);
                *axis = AxisData::resolved("seed".into(), nodes);
                axis.dropped = dropped;
                self.narrowed = true;
            }
        }
    }

    /// The number of the axis that `word` names.
    pub fn find(&self, word: &Word, findings: &mut Findings) -> Option<usize> {
        let found = self.get(&word.text);
        if found.is_none() {
            let message = format!("there is no axis `{}`", word.text);
            findings.push(Finding::new(word.span, message, "unknown axis").help(suggest::help(
                &word.text,
                "axes",
                self.names(),
            )));
        }
        found
    }

    pub fn get(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.axes.iter().map(|axis| axis.name.as_str())
    }

    pub fn all(&self) -> AxisSet {
        (0..self.axes.len()).fold(AxisSet::default(), |set, axis| set.union(AxisSet::one(axis)))
    }

    /// The axes of a set, for messages.
    pub fn listed(&self, set: AxisSet) -> String {
        suggest::listed(set.iter().map(|axis| self.axes[axis].name.as_str()))
    }

    /// Resolves a map from axes to labels for a stage with the axes `set`.
    pub fn selection(&self, matcher: &Matcher, set: AxisSet, findings: &mut Findings) -> LabelSelection {
        let mut selection = Vec::new();
        for (word, labels) in &matcher.axes {
            let Some(number) = self.find(word, findings) else { continue };
            let axis = &self.axes[number];
            if !set.contains(number) {
                let message = format!("this stage has no axis `{}`", word.text);
                let help = format!("its axes: {}; add axes with `over`", self.listed(set));
                findings.push(Finding::new(word.span, message, "not an axis of this stage").help(help));
                continue;
            }
            let mut chosen = vec![false; axis.labels.len()];
            for label in labels {
                if let Some(&at) = axis.by_label.get(&label.text) {
                    chosen[at] = true;
                } else if !axis.dropped.contains(&label.text) {
                    let message = format!("the axis `{}` has no label `{}`", word.text, label.text);
                    let help = suggest::help(&label.text, "its labels", axis.labels.iter().map(String::as_str));
                    findings.push(Finding::new(label.span, message, "unknown label").help(help));
                }
            }
            selection.push((number, chosen));
        }
        LabelSelection(selection)
    }

    pub fn into_public(self) -> Vec<Axis> {
        self.axes.into_iter().map(|axis| Axis { name: axis.name, labels: axis.labels, values: axis.values }).collect()
    }
}

impl std::ops::Index<usize> for Axes {
    type Output = AxisData;

    fn index(&self, axis: usize) -> &AxisData {
        &self.axes[axis]
    }
}

impl AxisData {
    fn new(ast: AxisAst, engine: &Engine, files: &Files, findings: &mut Findings) -> Self {
        let mut seen = HashMap::new();
        let mut numbers: HashMap<u64, Word> = HashMap::new();
        let mut labels = Vec::new();
        for (label, node) in ast.labels {
            if let Some(&first) = seen.get(&label.text) {
                let message = format!("the axis `{}` has the label `{}` twice", ast.name.text, label.text);
                findings.push(Finding::new(label.span, message, "the second one").also(first, "the first"));
                continue;
            }
            seen.insert(label.text.clone(), label.span);
            if let Tree::Number(number) = &node.value
                && let Some(number) = number.as_f64()
                && let Some(first) = numbers.insert(number.to_bits(), label.clone())
            {
                let (axis, a, b) = (&ast.name.text, &first.text, &label.text);
                let message = format!("the labels `{a}` and `{b}` of the axis `{axis}` are the same number");
                let finding = Finding::new(label.span, message, "the second one");
                findings.push(finding.also(first.span, "the first").help("rename one of them"));
            }
            let value = template::with_vars(&node, engine, files, findings);
            // `food:` with nothing behind it has no parameters.
            let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
            labels.push((label.text, value, node));
        }
        Self::resolved(ast.name.text, labels)
    }

    fn resolved(name: String, labels: impl IntoIterator<Item = (String, Value, Node)>) -> Self {
        let mut data = Self {
            name,
            labels: Vec::new(),
            values: Vec::new(),
            scope: Vec::new(),
            label_scope: Vec::new(),
            nodes: Vec::new(),
            dropped: Vec::new(),
            by_label: HashMap::new(),
        };
        for (label, value, node) in labels {
            data.by_label.insert(label.clone(), data.labels.len());
            data.scope.push(minijinja::value::Serde(&value).into());
            data.label_scope.push(minijinja::Value::from(label.as_str()));
            data.labels.push(label);
            data.values.push(value);
            data.nodes.push(node);
        }
        data
    }

    fn keep(&mut self, kept: impl Fn(&str) -> bool) {
        let mut old = std::mem::replace(self, Self::resolved(self.name.clone(), []));
        let labels = std::mem::take(&mut old.labels).into_iter().zip(old.values).zip(old.nodes);
        let (kept, dropped): (Vec<_>, Vec<_>) =
            labels.map(|((label, value), node)| (label, value, node)).partition(|(label, ..)| kept(label));
        *self = Self::resolved(old.name, kept);
        self.dropped = old.dropped;
        self.dropped.extend(dropped.into_iter().map(|(label, ..)| label));
    }
}
