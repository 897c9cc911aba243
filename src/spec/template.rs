//! Values with `{{ expression }}` in them: compiled once, checked for unknown names, evaluated per combination of the
//! axes that they use. Expressions are minijinja's, within limits ([`crate::jinja`]); they see axis values, labels and
//! `vars`, and no files, environment or clock.

mod segments;

use std::cell::Cell;
use std::ops::Range;

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind};
use serde_json::Value;

use self::segments::{Segment, segments};
use super::axes::Axes;
use super::conversions::{json, plain, weight};
use super::grid::AxisSet;
use super::mistake::{Files, Finding, Findings, Span};
use super::suggest::{self, clipped};
use super::yaml::{Node, Tree, Word};
use crate::jinja::{self, Expression, Limits};

/// What one expression may use.
const LIMITS: Limits = Limits { steps: 100_000, value: 1 << 20, work: 16 << 20 };
/// Bytes of text that all templates of a pipeline together may make.
const TEXT: usize = 256 << 20;

/// What expressions are compiled and evaluated with.
pub(super) struct Engine {
    environment: Environment<'static>,
    /// What is left of [`TEXT`].
    text_left: Cell<usize>,
    vars: Value,
    vars_scope: minijinja::Value,
}

/// A value with expressions inside.
pub(super) enum Pattern<'e> {
    Constant(Value),
    /// One whole expression: keeps its type.
    Whole(CompiledExpression<'e>),
    /// Text around and between expressions.
    Text(Vec<TextPart<'e>>),
    List(Vec<Pattern<'e>>),
    Map(Vec<(String, Pattern<'e>)>),
    /// Already reported.
    Broken,
}

pub(super) enum TextPart<'e> {
    Literal(String),
    Expression(CompiledExpression<'e>),
}

pub(super) struct CompiledExpression<'e> {
    engine: &'e Engine,
    expression: Expression<'e>,
    span: Span,
}

/// The axes that a template may use, and those that it did use.
pub(super) struct Scope<'a> {
    pub axes: Option<&'a Axes>,
    pub set: AxisSet,
    pub used: AxisSet,
}

impl Engine {
    /// `vars` are plain values.
    pub fn new(vars: &[(Word, Node)], findings: &mut Findings) -> Self {
        for (name, node) in vars {
            if let Some(span) = first_template(node) {
                let message = format!("`vars.{}` holds a template", name.text);
                findings.push(
                    Finding::new(span, message, "vars are plain values")
                        .help("write the value out, or use the template where it is needed"),
                );
            }
        }
        let vars = Value::Object(vars.iter().map(|(name, node)| (name.text.clone(), plain(node))).collect());
        Self {
            environment: jinja::environment(LIMITS),
            text_left: Cell::new(TEXT),
            vars_scope: minijinja::value::Serde(&vars).into(),
            vars,
        }
    }

    pub fn compile<'e>(
        &'e self,
        node: &'e Node,
        scope: &mut Scope,
        files: &Files,
        findings: &mut Findings,
    ) -> Pattern<'e> {
        match &node.value {
            Tree::Broken => Pattern::Broken,
            Tree::Text(text) if text.contains("{{") => self.compile_text(text, node.span, scope, files, findings),
            Tree::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.compile(item, scope, files, findings)).collect();
                match items.iter().all(Pattern::is_constant) {
                    true => {
                        Pattern::Constant(Value::Array(items.into_iter().filter_map(Pattern::into_constant).collect()))
                    }
                    false => Pattern::List(items),
                }
            }
            Tree::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, node)| (key.text.clone(), self.compile(node, scope, files, findings)))
                    .collect();
                match entries.iter().all(|(_, pattern)| pattern.is_constant()) {
                    true => {
                        let constant = |(name, pattern): (String, Pattern)| Some((name, pattern.into_constant()?));
                        Pattern::Constant(Value::Object(entries.into_iter().filter_map(constant).collect()))
                    }
                    false => Pattern::Map(entries),
                }
            }
            _ => Pattern::Constant(plain(node)),
        }
    }

    fn compile_text<'e>(
        &'e self,
        text: &'e str,
        span: Span,
        scope: &mut Scope,
        files: &Files,
        findings: &mut Findings,
    ) -> Pattern<'e> {
        // Escapes and line folding change offsets: then the whole value is marked.
        let base = files.slice(span).find(text).map(|at| span.start + at as u32);
        let place = |range: &Range<usize>| match base {
            Some(base) => Span { start: base + range.start as u32, end: base + range.end as u32, ..span },
            None => span,
        };
        let segments = match segments(text) {
            Ok(segments) => segments,
            Err(open) => {
                findings.push(
                    Finding::new(place(&(open..open + 2)), "a template that never ends", "opened here")
                        .help("close it with `}}`; to write two braces as text, use `{{ '{{' }}`"),
                );
                return Pattern::Broken;
            }
        };
        let mut parts = Vec::new();
        for segment in segments {
            parts.push(match segment {
                Segment::Literal(range) => TextPart::Literal(text[range].to_owned()),
                Segment::Expression(range) => {
                    match self.expression(&text[range.clone()], place(&range), scope, findings) {
                        Some(compiled) => TextPart::Expression(compiled),
                        None => return Pattern::Broken,
                    }
                }
            });
        }
        parts.retain(|part| !matches!(part, TextPart::Literal(text) if text.is_empty()));
        match (parts.len(), parts.pop()) {
            (1, Some(TextPart::Expression(compiled))) => Pattern::Whole(compiled),
            (_, Some(last)) => {
                parts.push(last);
                Pattern::Text(parts)
            }
            (_, None) => Pattern::Constant(Value::String(String::new())),
        }
    }

    fn expression<'e>(
        &'e self,
        source: &'e str,
        span: Span,
        scope: &mut Scope,
        findings: &mut Findings,
    ) -> Option<CompiledExpression<'e>> {
        let expression = match Expression::new(source) {
            Ok(expression) => expression,
            Err(error) => {
                let detail = error.detail().map_or_else(|| error.kind().to_string(), clipped);
                findings.push(Finding::new(span, format!("not an expression: {detail}"), "in this template"));
                return None;
            }
        };
        let known = expression.names.iter().all(|name| self.is_known(name, span, scope, findings));
        known.then_some(CompiledExpression { engine: self, expression, span })
    }

    /// Whether `name` can be looked up at all; axes that it needs are added to those in use.
    fn is_known(&self, name: &str, span: Span, scope: &mut Scope, findings: &mut Findings) -> bool {
        let mut parts = name.split('.');
        let (first, second) = (parts.next().unwrap_or(name), parts.next());
        let axis = |name: &str| scope.axes.and_then(|axes| axes.get(name));
        if let Some(axis) = axis(first).filter(|&axis| scope.set.contains(axis)) {
            scope.used.insert(axis);
            return true;
        }
        let mine = scope.axes.map(|axes| axes.listed(scope.set)).unwrap_or_default();
        let finding = match (first, second) {
            ("vars", None) | ("range" | "dict", _) => return true,
            ("vars", Some(var)) => {
                let vars = self.vars.as_object();
                if vars.is_some_and(|vars| vars.contains_key(var)) {
                    return true;
                }
                let help = suggest::help(var, "vars", vars.iter().flat_map(|vars| vars.keys()).map(String::as_str));
                Finding::new(span, format!("there is no `vars.{var}`"), "undefined variable").help(help)
            }
            ("label", None) if scope.axes.is_some() => {
                scope.used = scope.set;
                return true;
            }
            ("label", Some(name)) if axis(name).is_some_and(|axis| scope.set.contains(axis)) => {
                scope.used = axis(name).map_or(scope.used, |axis| scope.used.union(AxisSet::one(axis)));
                return true;
            }
            _ if scope.axes.is_none() => {
                Finding::new(span, format!("`{first}` is undefined here"), "undefined variable")
                    .help("parameters of an axis can use `vars` only")
            }
            ("label", Some(name)) => {
                Finding::new(span, format!("`label.{name}`: this stage has no axis `{name}`"), "undefined variable")
                    .help(format!("its axes: {mine}"))
            }
            _ if axis(first).is_some() => {
                Finding::new(span, format!("this stage has no axis `{first}`"), "not an axis of this stage")
                    .help(format!("its axes: {mine}; add `{first}` to `over`, or need a stage that has it"))
            }
            _ => {
                let axes =
                    scope.axes.into_iter().flat_map(|axes| scope.set.iter().map(|axis| axes[axis].name.as_str()));
                let names: Vec<&str> = axes.chain(["vars", "label"]).collect();
                let quoted = format!("to mean the text, write `'{first}'`");
                let help = format!("{}; {quoted}", suggest::help(first, "defined here", names.iter().copied()));
                Finding::new(span, format!("`{first}` is undefined"), "undefined variable").help(help)
            }
        };
        findings.push(finding);
        false
    }

    /// What expressions see at `point`.
    pub fn scope(&self, axes: &Axes, used: AxisSet, point: &[usize]) -> minijinja::Value {
        let labels = used.iter().map(|axis| (axes[axis].name.as_str(), axes[axis].label_scope[point[axis]].clone()));
        let labels = minijinja::Value::from_pairs(labels);
        let values = used.iter().map(|axis| (axes[axis].name.as_str(), axes[axis].scope[point[axis]].clone()));
        minijinja::Value::from_pairs(values.chain([("vars", self.vars_scope.clone()), ("label", labels)]))
    }
}

/// The value of an axis label, whose templates see only `vars`.
pub(super) fn with_vars(node: &Node, engine: &Engine, files: &Files, findings: &mut Findings) -> Value {
    let mut scope = Scope { axes: None, set: AxisSet::default(), used: AxisSet::default() };
    let pattern = engine.compile(node, &mut scope, files, findings);
    let scope = minijinja::Value::from_pairs([("vars", engine.vars_scope.clone())]);
    match pattern.evaluate(&scope) {
        Ok(value) => value,
        Err(EvalFailure::Reported) => Value::Null,
        Err(EvalFailure::Error(error)) => {
            findings.push(Finding::new(error.span, error.message, "in this template"));
            Value::Null
        }
    }
}

/// Why a pattern has no value.
pub(super) enum EvalFailure<'p> {
    /// It was reported when it was compiled.
    Reported,
    Error(EvalError<'p>),
}

pub(super) struct EvalError<'p> {
    pub span: Span,
    message: String,
    /// The names that the expression looks up, when one of them is undefined.
    undefined: Option<&'p [String]>,
}

impl EvalError<'_> {
    /// The finding for the combination `point`, with what is undefined found again in the axis values.
    pub fn finding(self, axes: &Axes, point: &[usize]) -> Finding {
        let missing = self.undefined.into_iter().flatten().find_map(|name| missing(name, axes, point));
        match missing {
            Some((message, label, help)) => Finding::new(self.span, message, label).help(help),
            None => Finding {
                same: Some("in this template".into()),
                ..Finding::new(self.span, self.message, "in this template")
            },
        }
    }
}

/// The first part of `name` that is not there: message, label and help.
fn missing(name: &str, axes: &Axes, point: &[usize]) -> Option<(String, String, String)> {
    let mut parts = name.split('.');
    let first = parts.next()?;
    let axis = &axes[axes.get(first)?];
    let at = point[axes.get(first)?];
    let mut value = &axis.values[at];
    let mut path = first.to_owned();
    for part in parts {
        if let Some(inner) = value.get(part) {
            value = inner;
            path = format!("{path}.{part}");
            continue;
        }
        let label = format!("with {first}={}", axis.labels[at]);
        let help = match value.as_object() {
            _ if part == "label" && path == first => format!("the label of an axis is `label.{first}`"),
            Some(map) => format!(
                "{}; to allow for its absence, write `{path}.{part} | default(...)` or `{path}.{part} is defined`",
                suggest::help(part, &format!("`{path}` has"), map.keys().map(String::as_str))
            ),
            None => format!("`{path}` is {}, which has no parts", clipped(&value.to_string())),
        };
        return Some((format!("`{path}.{part}` is undefined"), label, help));
    }
    None
}

impl Pattern<'_> {
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    fn into_constant(self) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }

    pub fn evaluate(&self, scope: &minijinja::Value) -> Result<Value, EvalFailure<'_>> {
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::Whole(compiled) => {
                let value = compiled.evaluate(scope)?;
                let value = json(&value).map_err(|message| compiled.failure(message, false))?;
                compiled.count(weight(&value))?;
                value
            }
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Expression(compiled) => {
                            let value = compiled.evaluate(scope)?;
                            match value.kind() {
                                ValueKind::String | ValueKind::Number | ValueKind::Bool => {
                                    let part = value.to_string();
                                    compiled.count(part.len())?;
                                    text.push_str(&part);
                                }
                                kind => {
                                    let message = format!("a {kind} cannot be part of a text");
                                    return Err(compiled.failure(message, false));
                                }
                            }
                        }
                    }
                }
                Value::String(text)
            }
            Self::List(items) => Value::Array(items.iter().map(|item| item.evaluate(scope)).collect::<Result<_, _>>()?),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(name, pattern)| Ok((name.clone(), pattern.evaluate(scope)?)));
                Value::Object(entries.collect::<Result<_, _>>()?)
            }
            Self::Broken => return Err(EvalFailure::Reported),
        })
    }
}

impl CompiledExpression<'_> {
    fn evaluate(&self, scope: &minijinja::Value) -> Result<minijinja::Value, EvalFailure<'_>> {
        match self.expression.evaluate(&self.engine.environment, LIMITS, scope.clone()) {
            Ok(value) if value.is_undefined() => Err(self.failure("undefined value".into(), true)),
            Ok(value) => Ok(value),
            Err(error) => {
                let detail = error.detail().map_or_else(|| error.kind().to_string(), clipped);
                let message = match error.kind() {
                    ErrorKind::OutOfFuel => "the expression takes too long, or makes too much of a value".to_owned(),
                    _ => format!("the expression fails: {detail}"),
                };
                Err(self.failure(message, error.kind() == ErrorKind::UndefinedError))
            }
        }
    }

    /// Counts text that a template made.
    fn count(&self, bytes: usize) -> Result<(), EvalFailure<'_>> {
        match self.engine.text_left.get().checked_sub(bytes) {
            Some(left) => {
                self.engine.text_left.set(left);
                Ok(())
            }
            None => {
                let message = format!("the templates of the pipeline make more than {} MiB of text", TEXT >> 20);
                Err(self.failure(message, false))
            }
        }
    }

    fn failure(&self, message: String, undefined: bool) -> EvalFailure<'_> {
        EvalFailure::Error(EvalError {
            span: self.span,
            message,
            undefined: undefined.then_some(self.expression.names.as_slice()),
        })
    }
}

fn first_template(node: &Node) -> Option<Span> {
    match &node.value {
        Tree::Text(text) => text.contains("{{").then_some(node.span),
        Tree::List(items) => items.iter().find_map(first_template),
        Tree::Map(entries) => entries.iter().find_map(|(_, node)| first_template(node)),
        _ => None,
    }
}
