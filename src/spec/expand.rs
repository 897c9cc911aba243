//! Stages to instances: which combinations exist, what each needs, and with which parameters.

use super::ast::Condition;
use super::axes::LabelSelection;
use super::conversions::weight;
use super::graph::{BoundSource, BoundStage, StageGraph};
use super::grid::{AxisSet, Grid, LARGEST};
use super::kind::Arity;
use super::mistake::{Finding, Findings};
use super::params::{ParamContext, Params};
use super::pipeline::{Instance, Need, Source, StageDef};
use super::suggest::clipped;
use super::template::{EvalFailure, Pattern, Scope};
use super::yaml::{Node, Tree};

/// A combination without an instance.
const NONE: u32 = u32::MAX;

/// Bytes of an instance's name, which is also the path of its reports.
const LONGEST_ID: usize = 2_000;
/// Bytes that the parameters of all instances may take: each instance has its own.
const MOST_PARAMETERS: usize = 4 << 30;

/// The instances of one stage by combination.
struct InstanceTable {
    grid: Grid,
    /// Number of the instance, or [`NONE`].
    instances: Vec<u32>,
}

/// All stages and instances.
pub(super) fn expand(
    graph: &StageGraph,
    context: &ParamContext,
    findings: &mut Findings,
) -> (Vec<StageDef>, Vec<Instance>) {
    let mut tables: Vec<Option<InstanceTable>> = graph.stages.iter().map(|_| None).collect();
    let mut total = 0;
    for &number in &graph.order {
        tables[number] = table(graph, number, &tables, &mut total, context, findings);
    }
    let mut count = 0;
    for table in tables.iter_mut().flatten() {
        for instance in table.instances.iter_mut().filter(|instance| **instance != NONE) {
            *instance = count;
            count += 1;
        }
    }
    let mut stages = Vec::with_capacity(graph.stages.len());
    let mut instances = Vec::with_capacity(count as usize);
    let mut weight_left = MOST_PARAMETERS;
    for (number, stage) in graph.stages.iter().enumerate() {
        let start = instances.len();
        build(graph, number, &tables, context, &mut instances, &mut weight_left, findings);
        stages.push(StageDef {
            name: stage.ast.name.text.clone(),
            kind: stage.kind.map(|kind| kind.name.to_owned()).unwrap_or_default(),
            axes: stage.axes.iter().map(|axis| context.axes[axis].name.clone()).collect(),
            instances: start..instances.len(),
            location: context.files.location(stage.ast.name.span),
        });
    }
    (stages, instances)
}

/// Which combinations of a stage exist. Nothing when that cannot be known.
fn table(
    graph: &StageGraph,
    number: usize,
    tables: &[Option<InstanceTable>],
    total: &mut usize,
    context: &ParamContext,
    findings: &mut Findings,
) -> Option<InstanceTable> {
    let stage = &graph.stages[number];
    if !stage.sound {
        return None;
    }
    let name = &stage.ast.name;
    let grid = Grid::new(stage.axes, &context.axes.sizes);
    let size = grid.as_ref().map_or(usize::MAX, |grid| grid.size);
    *total = total.saturating_add(size);
    let Some(grid) = grid.filter(|_| *total <= LARGEST) else {
        let message = format!("with the stage `{}` the pipeline has more than {LARGEST} instances", name.text);
        let help = format!("its axes: {}", context.axes.listed(stage.axes));
        findings.push(Finding::new(name.span, message, "too many combinations").help(help));
        return None;
    };
    let before = findings.count();
    let mut filter = CombinationFilter::new(stage, context, findings)?;
    let gathers = gathers(graph, number, context);
    let mut point = vec![0; context.axes.sizes.len()];
    let mut instances = vec![NONE; grid.size];
    let (mut wanted, mut some) = (false, false);
    for (index, instance) in instances.iter_mut().enumerate() {
        grid.point(index, &mut point);
        if filter.keeps(&point, context, findings)? {
            wanted = true;
            if has_needs(stage, tables, &gathers, &mut point)? {
                some = true;
                *instance = 0;
            }
        }
    }
    // An axis without labels was reported.
    if !some && grid.size > 0 && !context.axes.narrowed && findings.count() == before {
        let (message, label) = match wanted {
            false => (
                format!("stage `{}`: an impossible combination, no instance is left", name.text),
                "nothing passes `where` and `except`",
            ),
            true => (format!("stage `{}`: everything that it needs was dropped", name.text), "no instance is left"),
        };
        let span = match (&stage.ast.condition, wanted) {
            (Some(Condition::Expression(node)), false) => node.span,
            (Some(Condition::Labels(matcher)), false) => matcher.span,
            _ => name.span,
        };
        findings
            .push(Finding::new(span, message, label).help("conditions must leave at least one combination of labels"));
    }
    Some(InstanceTable { grid, instances })
}

/// `where` and `except` of a stage.
struct CombinationFilter<'a> {
    condition: Option<WhereExpression<'a>>,
    labels: Option<LabelSelection>,
    except: Vec<LabelSelection>,
}

/// An expression of `where` and what it gave, by combination of the axes that it uses.
struct WhereExpression<'a> {
    node: &'a Node,
    pattern: Pattern<'a>,
    used: AxisSet,
    grid: Grid,
    known: Vec<Option<bool>>,
}

impl<'a> CombinationFilter<'a> {
    fn new(stage: &'a BoundStage<'a>, context: &ParamContext<'a>, findings: &mut Findings) -> Option<Self> {
        let axes = context.axes;
        let except = stage.ast.except.iter().map(|matcher| axes.selection(matcher, stage.axes, findings)).collect();
        let mut filter = Self { condition: None, labels: None, except };
        match &stage.ast.condition {
            Some(Condition::Labels(matcher)) => filter.labels = Some(axes.selection(matcher, stage.axes, findings)),
            Some(Condition::Expression(node)) => {
                let mut scope = Scope { axes: Some(axes), set: stage.axes, used: AxisSet::default() };
                let pattern = context.engine.compile(node, &mut scope, context.files, findings);
                if pattern.is_constant() {
                    let text = if let Tree::Text(text) = &node.value { text.as_str() } else { "" };
                    findings.push(
                        Finding::new(node.span, "`where` is a text, not a condition", "no expression in here")
                            .help(format!("write `where: \"{{{{ {text} }}}}\"`")),
                    );
                    return None;
                }
                let grid = Grid::new(scope.used, &axes.sizes)?;
                let known = vec![None; grid.size];
                filter.condition = Some(WhereExpression { node, pattern, used: scope.used, grid, known });
            }
            None => {}
        }
        Some(filter)
    }

    /// Nothing when the expression fails, which is reported.
    fn keeps(&mut self, point: &[usize], context: &ParamContext, findings: &mut Findings) -> Option<bool> {
        let listed = self.labels.as_ref().is_none_or(|labels| labels.matches(point));
        if !listed || self.except.iter().any(|except| except.matches(point)) {
            return Some(false);
        }
        let Some(condition) = &mut self.condition else { return Some(true) };
        let index = condition.grid.index(point);
        if condition.known[index].is_none() {
            condition.known[index] = condition.evaluate(point, context, findings);
        }
        condition.known[index]
    }
}

impl WhereExpression<'_> {
    fn evaluate(&self, point: &[usize], context: &ParamContext, findings: &mut Findings) -> Option<bool> {
        let scope = context.engine.scope(context.axes, self.used, point);
        match self.pattern.evaluate(&scope) {
            Ok(serde_json::Value::Bool(value)) => Some(value),
            Ok(other) => {
                let message =
                    format!("`where` gives {}, but a condition is true or false", clipped(&other.to_string()));
                findings.push(
                    Finding::new(self.node.span, message, "not a condition")
                        .help("compare: `==`, `!=`, `<`, `in`, `is defined`"),
                );
                None
            }
            Err(EvalFailure::Reported) => None,
            Err(EvalFailure::Error(error)) => {
                findings.push(error.finding(context.axes, point));
                None
            }
        }
    }
}

/// For every source of a stage, the combinations that it gathers: those of the axes that end here.
fn gathers(graph: &StageGraph, number: usize, context: &ParamContext) -> Vec<Option<Grid>> {
    let stage = &graph.stages[number];
    let sources = stage.needs.iter().flat_map(|need| &need.sources);
    sources.map(|source| Grid::new(graph.stages[source.stage].axes.without(stage.axes), &context.axes.sizes)).collect()
}

/// The instances of `source` that agree with `point`, in axis order.
fn instances_of(
    source: &BoundSource,
    tables: &[Option<InstanceTable>],
    gather: &Option<Grid>,
    point: &mut [usize],
    mut each: impl FnMut(u32),
) -> Option<()> {
    let (table, gather) = (tables[source.stage].as_ref()?, gather.as_ref()?);
    for index in 0..gather.size {
        gather.point(index, point);
        match table.instances[table.grid.index(point)] {
            NONE => {}
            instance => each(instance),
        }
    }
    Some(())
}

/// Whether every port that must be filled is. Nothing when a needed stage is unknown.
fn has_needs(
    stage: &BoundStage,
    tables: &[Option<InstanceTable>],
    gathers: &[Option<Grid>],
    point: &mut [usize],
) -> Option<bool> {
    let mut gathers = gathers.iter();
    let mut filled = true;
    for need in &stage.needs {
        let mut some = false;
        for (source, gather) in need.sources.iter().zip(gathers.by_ref()) {
            instances_of(source, tables, gather, point, |_| some = true)?;
        }
        filled &= some || matches!(need.port.arity, Arity::Optional | Arity::OptionalMany);
    }
    Some(filled)
}

/// Appends the instances of a stage and checks its parameters.
fn build(
    graph: &StageGraph,
    number: usize,
    tables: &[Option<InstanceTable>],
    context: &ParamContext,
    instances: &mut Vec<Instance>,
    weight_left: &mut usize,
    findings: &mut Findings,
) {
    let stage = &graph.stages[number];
    let table = tables[number].as_ref();
    // Of a stage with unknown axes, parameters are still checked as far as they can be.
    let set = if stage.sound { stage.axes } else { context.axes.all() };
    let Some(mut params) = Params::new(stage, set, context, findings) else { return };
    let Some(table) = table else {
        // Conditions decide which combinations exist; without any, all do.
        let conditional = |stage: &BoundStage| stage.ast.condition.is_some() || !stage.ast.except.is_empty();
        if params.is_constant() || !graph.stages.iter().any(conditional) {
            params.check(context, findings);
        }
        return;
    };
    let mut point = vec![0; context.axes.sizes.len()];
    let gathers = gathers(graph, number, context);
    for index in (0..table.grid.size).filter(|&index| table.instances[index] != NONE) {
        table.grid.point(index, &mut point);
        let Some(value) = params.at(&point, context, findings).cloned() else { continue };
        let axes = context.axes;
        let labels: Vec<(String, String)> =
            table.grid.axes().map(|axis| (axes[axis].name.clone(), axes[axis].labels[point[axis]].clone())).collect();
        let name = &stage.ast.name;
        let id = id(&name.text, &labels);
        if id.len() > LONGEST_ID {
            let message = format!("names such as `{}` have more than {LONGEST_ID} bytes", clipped(&id));
            findings
                .push(Finding::new(name.span, message, "too many labels").help("use shorter labels, or fewer axes"));
            return;
        }
        *weight_left = match weight_left.checked_sub(weight(&value)) {
            Some(left) => left,
            None => {
                let most = MOST_PARAMETERS >> 20;
                let message = format!("the parameters of all instances together have more than {most} MiB");
                findings.push(Finding::new(name.span, message, "too large by here").help("use fewer instances"));
                return;
            }
        };
        let needs = needs(stage, tables, &gathers, &mut point);
        instances.push(Instance { stage: number, id, labels, params: value, needs });
    }
}

fn needs(
    stage: &BoundStage,
    tables: &[Option<InstanceTable>],
    gathers: &[Option<Grid>],
    point: &mut [usize],
) -> Vec<Need> {
    let mut gathers = gathers.iter();
    let mut needs = Vec::with_capacity(stage.needs.len());
    for need in &stage.needs {
        let mut sources = Vec::new();
        for (taken, gather) in need.sources.iter().zip(gathers.by_ref()) {
            let artifacts = || taken.artifacts.iter().map(|&name| name.to_owned()).collect();
            let each = |instance| sources.push(Source { instance: instance as usize, artifacts: artifacts() });
            // Stages without a table have no instances that could need something.
            instances_of(taken, tables, gather, point, each).unwrap_or_default();
        }
        if !sources.is_empty() {
            needs.push(Need { port: need.port.name.to_owned(), sources });
        }
    }
    needs
}

fn id(stage: &str, labels: &[(String, String)]) -> String {
    let mut id = stage.to_owned();
    for (number, (axis, label)) in labels.iter().enumerate() {
        id.push(if number == 0 { '[' } else { ',' });
        id.push_str(axis);
        id.push('=');
        id.push_str(label);
    }
    if !labels.is_empty() {
        id.push(']');
    }
    id
}
