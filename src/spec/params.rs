//! The parameters of a stage's instances: `with`, the overrides that match, templates evaluated, checked against the
//! kind. Work is done once per combination of the axes that matter, and mistakes are reported at the place where the
//! parameter is written.

use serde_json::Value;

use super::axes::{Axes, LabelSelection};
use super::check::{self, ParamProblem};
use super::graph::BoundStage;
use super::grid::{AxisSet, Grid};
use super::kind::KindSpec;
use super::mistake::{Files, Finding, Findings, Span};
use super::template::{Engine, EvalFailure, Pattern, Scope};
use super::yaml::{Node, Tree};

/// The parameters of one stage.
pub(super) struct Params<'a> {
    stage: &'a BoundStage<'a>,
    kind: &'a KindSpec,
    layers: Vec<Layer<'a>>,
    used: AxisSet,
    grid: Grid,
    /// By combination of the used axes; `Some(None)` is broken and reported.
    known: Vec<Option<Option<Value>>>,
}

/// `with`, or an override.
struct Layer<'a> {
    when: Option<LabelSelection>,
    node: &'a Node,
    pattern: Pattern<'a>,
}

/// What parameters are resolved with.
pub(super) struct ParamContext<'a> {
    pub engine: &'a Engine,
    pub axes: &'a Axes,
    pub files: &'a Files,
}

impl<'a> Params<'a> {
    /// Compiles the parameters of a stage. Nothing when they are too many to resolve, or the kind is unknown.
    pub fn new(
        stage: &'a BoundStage<'a>,
        set: AxisSet,
        context: &ParamContext<'a>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let mut scope = Scope { axes: Some(context.axes), set, used: AxisSet::default() };
        let mut layers = Vec::new();
        if let Some((_, node)) = &stage.ast.with {
            let pattern = context.engine.compile(node, &mut scope, context.files, findings);
            layers.push(Layer { when: None, node, pattern });
        }
        for (when, node) in &stage.ast.overrides {
            let when = context.axes.selection(when, set, findings);
            scope.used = scope.used.union(when.axes());
            let pattern = context.engine.compile(node, &mut scope, context.files, findings);
            layers.push(Layer { when: Some(when), node, pattern });
        }
        let grid = Grid::new(scope.used, &context.axes.sizes)?;
        let known = vec![None; grid.size];
        Some(Self { kind: stage.kind?, stage, layers, used: scope.used, grid, known })
    }

    /// Whether every instance has the same parameters.
    pub fn is_constant(&self) -> bool {
        self.used.is_empty()
    }

    /// The canonical parameters at `point`, or nothing when they are wrong.
    pub fn at(&mut self, point: &[usize], context: &ParamContext<'a>, findings: &mut Findings) -> Option<&Value> {
        let index = self.grid.index(point);
        if self.known[index].is_none() {
            self.known[index] = Some(self.resolve(point, context, findings));
        }
        self.known[index].as_ref()?.as_ref()
    }

    /// Reports what is wrong in any combination.
    pub fn check(&mut self, context: &ParamContext<'a>, findings: &mut Findings) {
        let mut point = vec![0; context.axes.sizes.len()];
        for index in 0..self.grid.size {
            self.grid.point(index, &mut point);
            self.at(&point, context, findings);
        }
    }

    fn resolve(&self, point: &[usize], context: &ParamContext, findings: &mut Findings) -> Option<Value> {
        let scope = context.engine.scope(context.axes, self.used, point);
        let mut params = Value::Object(serde_json::Map::new());
        let mut matching = Vec::new();
        for layer in self.layers.iter().filter(|layer| layer.when.as_ref().is_none_or(|when| when.matches(point))) {
            match layer.pattern.evaluate(&scope) {
                // `with:` with nothing behind it.
                Ok(Value::Null) => {}
                Ok(value) => merge(&mut params, value),
                Err(EvalFailure::Reported) => return None,
                Err(EvalFailure::Error(error)) => {
                    findings.push(error.finding(context.axes, point));
                    return None;
                }
            }
            matching.push(layer.node);
        }
        let place = ParamLocator { params: self, nodes: &matching, point, context };
        let problems = check::check(&self.kind.schema, &params);
        if !problems.is_empty() {
            problems.into_iter().for_each(|problem| findings.push(place.finding(problem)));
            return None;
        }
        match (self.kind.canonical)(&params) {
            Ok(canonical) => Some(canonical),
            Err(error) => {
                let message = match error.path.is_empty() {
                    true => error.message,
                    false => format!("`{}`: {}", error.path.join("."), error.message),
                };
                let label = "refused by the stage kind".to_owned();
                let problem = ParamProblem { path: error.path, message, label, help: error.help, at_key: false };
                findings.push(place.finding(problem));
                None
            }
        }
    }
}

/// Maps merge key by key; anything else replaces.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(inner) => merge(inner, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// Where a parameter of an instance is written.
struct ParamLocator<'p> {
    params: &'p Params<'p>,
    nodes: &'p [&'p Node],
    point: &'p [usize],
    context: &'p ParamContext<'p>,
}

/// The node on a path that stands in the text, and how many steps lead to it.
struct Located<'n> {
    node: &'n Node,
    key: Option<Span>,
    depth: usize,
}

fn locate<'n>(mut node: &'n Node, path: &[String]) -> Located<'n> {
    let mut key = None;
    for (depth, step) in path.iter().enumerate() {
        let inner = match &node.value {
            Tree::Map(entries) => {
                entries.iter().find(|(word, _)| word.text == *step).map(|(word, node)| (Some(word.span), node))
            }
            Tree::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)).map(|node| (None, node)),
            _ => None,
        };
        match inner {
            Some((span, inner)) => (key, node) = (span, inner),
            None => return Located { node, key, depth },
        }
    }
    Located { node, key, depth: path.len() }
}

impl Located<'_> {
    fn span(&self, at_key: bool) -> Span {
        match (self.key, at_key || self.node.entries().is_some()) {
            (Some(key), true) => key,
            _ => self.node.span,
        }
    }
}

impl ParamLocator<'_> {
    fn finding(&self, problem: ParamProblem) -> Finding {
        let ast = &self.params.stage.ast;
        let message = format!("stage `{}`: {}", ast.name.text, problem.message);
        // The last layer that says something about the parameter has the say.
        let found = self.nodes.iter().map(|node| locate(node, &problem.path)).max_by_key(|found| found.depth);
        let Some(found) = found else {
            let finding = Finding::new(ast.name.span, message, problem.label);
            return Finding { help: problem.help, ..finding };
        };
        let template = match &found.node.value {
            Tree::Text(text) if text.contains("{{") => Some(text),
            _ => None,
        };
        let span = match (found.depth, &ast.with, template) {
            // A parameter is missing at the top: the keyword says where it belongs.
            (0, Some((with, _)), None) => *with,
            _ => found.span(problem.at_key && template.is_none()),
        };
        let mut finding = Finding { help: problem.help, ..Finding::new(span, message, problem.label) };
        if let Some(text) = template {
            // One template, one mistake, whichever labels bring it to light.
            finding.same = Some(finding.label.clone());
            let at = self.labels();
            if !at.is_empty() {
                finding.label = format!("{} (with {at})", finding.label);
            }
            finding.also = self.origin(text, &problem.path[found.depth..], problem.at_key);
        }
        finding
    }

    fn labels(&self) -> String {
        let axes = self.context.axes;
        let labels =
            self.params.grid.axes().map(|axis| format!("{}={}", axes[axis].name, axes[axis].labels[self.point[axis]]));
        labels.collect::<Vec<_>>().join(", ")
    }

    /// Where the value comes from when the template is a plain path such as `{{ method.sampler }}`.
    fn origin(&self, template: &str, rest: &[String], at_key: bool) -> Option<(Span, String)> {
        let path = template.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
        if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') {
            return None;
        }
        let mut steps = path.split('.').map(str::to_owned);
        let axes = self.context.axes;
        let axis = axes.get(&steps.next()?)?;
        let steps: Vec<String> = steps.chain(rest.iter().cloned()).collect();
        let found = locate(&axes[axis].nodes[self.point[axis]], &steps);
        let label = &axes[axis].labels[self.point[axis]];
        Some((found.span(at_key), format!("set by `{label}` of the axis `{}`", axes[axis].name)))
    }
}
