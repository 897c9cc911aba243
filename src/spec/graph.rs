//! Stages bound to their kinds, needs bound to stages, and the axes that follow. Knows what is needed of what, not
//! yet which instances there are.

use std::collections::HashMap;

use super::ast::{Reference, StageAst};
use super::axes::Axes;
use super::grid::AxisSet;
use super::kind::{Arity, KindSpec, KindTable, Output, Port};
use super::mistake::{Finding, Findings};
use super::suggest;

/// A stage with every name looked up.
pub(super) struct BoundStage<'a> {
    pub ast: &'a StageAst,
    pub kind: Option<&'a KindSpec>,
    /// In the order of the kind's ports; ports without a source are absent.
    pub needs: Vec<BoundNeed<'a>>,
    pub axes: AxisSet,
    /// Whether its needs and axes are known. If not, that was reported, and what depends on them stays unchecked.
    pub sound: bool,
}

pub(super) struct BoundNeed<'a> {
    pub port: &'a Port,
    pub sources: Vec<BoundSource<'a>>,
}

/// The artifacts taken from a stage.
pub(super) struct BoundSource<'a> {
    pub stage: usize,
    pub artifacts: Vec<&'static str>,
    pub reference: &'a Reference,
}

pub(super) struct StageGraph<'a> {
    pub stages: Vec<BoundStage<'a>>,
    /// Every stage after those it needs; stages of a cycle are missing.
    pub order: Vec<usize>,
}

/// Binds all stages.
pub(super) fn bind<'a>(
    ast: &'a [StageAst],
    kinds: &'a dyn KindTable,
    axes: &Axes,
    findings: &mut Findings,
) -> StageGraph<'a> {
    let kinds: HashMap<&str, &KindSpec> = kinds.kinds().into_iter().map(|kind| (kind.name, kind)).collect();
    let by_name: HashMap<&str, usize> =
        ast.iter().enumerate().map(|(number, stage)| (stage.name.text.as_str(), number)).collect();
    let mut stages: Vec<BoundStage> = ast.iter().map(|stage| with_kind(stage, &kinds, findings)).collect();
    let bound: Vec<_> = stages.iter().map(|stage| needs(stage, &stages, &by_name, findings)).collect();
    for (stage, (needs, sound)) in stages.iter_mut().zip(bound) {
        stage.needs = needs;
        stage.sound = sound;
    }
    let order = sort(&stages);
    report_cycles(&stages, &order, findings);
    for &number in &order {
        let (set, sound) = axes_of(&stages, number, axes, findings);
        stages[number].axes = set;
        stages[number].sound &= sound;
        if stages[number].sound {
            check_arity(&stages, number, axes, findings);
        }
    }
    StageGraph { stages, order }
}

fn with_kind<'a>(ast: &'a StageAst, kinds: &HashMap<&str, &'a KindSpec>, findings: &mut Findings) -> BoundStage<'a> {
    let kind = ast.kind.as_ref().and_then(|word| {
        let kind = kinds.get(word.text.as_str()).copied();
        if kind.is_none() {
            let mut names: Vec<&str> = kinds.keys().copied().collect();
            names.sort_unstable();
            let message = format!("there is no stage kind `{}`", word.text);
            findings
                .push(Finding::new(word.span, message, "unknown kind").help(suggest::help(&word.text, "kinds", names)));
        }
        kind
    });
    BoundStage { ast, kind, needs: Vec::new(), axes: AxisSet::default(), sound: false }
}

/// The needs of a stage in port order, and whether all of them are known.
fn needs<'a>(
    stage: &BoundStage<'a>,
    stages: &[BoundStage<'a>],
    by_name: &HashMap<&str, usize>,
    findings: &mut Findings,
) -> (Vec<BoundNeed<'a>>, bool) {
    let Some(kind) = stage.kind else { return (Vec::new(), false) };
    let mut sound = stage.ast.sound;
    for need in &stage.ast.needs {
        if !kind.ports.iter().any(|port| port.name == need.port.text) {
            sound = false;
            let message = format!("the kind `{}` has no port `{}`", kind.name, need.port.text);
            let help = suggest::help(&need.port.text, "its ports", kind.ports.iter().map(|port| port.name));
            findings.push(Finding::new(need.port.span, message, "unknown port").help(help));
        }
    }
    let mut needs = Vec::new();
    for port in kind.ports {
        let ast = stage.ast.needs.iter().find(|need| need.port.text == port.name);
        let references = ast.map(|need| need.sources.as_slice()).unwrap_or_default();
        let optional = matches!(port.arity, Arity::Optional | Arity::OptionalMany);
        if let ([], false, true) = (references, optional, stage.ast.sound) {
            sound = false;
            let message = format!("stage `{}`: nothing flows into the port `{}`", stage.ast.name.text, port.name);
            let span = ast.map_or(stage.ast.name.span, |need| need.port.span);
            let help = format!("`{}`: {} Write `needs: {{{}: <stage>}}`", port.name, port.doc, port.name);
            findings.push(Finding::new(span, message, format!("needs `{}`", port.name)).help(help));
        }
        if let ([_, second, ..], Arity::One | Arity::Optional) = (references, port.arity) {
            sound = false;
            let message =
                format!("the port `{}` of `{}` takes one stage, not {}", port.name, kind.name, references.len());
            findings.push(Finding::new(second.span, message, "one too many"));
        }
        let mut sources = Vec::new();
        for reference in references {
            match taken(port, reference, stages, by_name, findings) {
                Some(source) => sources.push(source),
                None => sound = false,
            }
        }
        if !sources.is_empty() {
            needs.push(BoundNeed { port, sources });
        }
    }
    (needs, sound)
}

fn taken<'a>(
    port: &'a Port,
    reference: &'a Reference,
    stages: &[BoundStage<'a>],
    by_name: &HashMap<&str, usize>,
    findings: &mut Findings,
) -> Option<BoundSource<'a>> {
    let Some(&number) = by_name.get(reference.stage.as_str()) else {
        let finding = Finding::new(reference.span, format!("there is no stage `{}`", reference.stage), "unknown stage");
        // Comparing with every name costs time in files with thousands of mistakes.
        findings.push(match findings.is_full() {
            true => finding,
            false => {
                let names = stages.iter().map(|stage| stage.ast.name.text.as_str());
                finding.help(suggest::help(&reference.stage, "stages", names))
            }
        });
        return None;
    };
    let kind = stages[number].kind?;
    let names = || kind.outputs.iter().map(|output| output.name);
    let output = |name: &str| kind.outputs.iter().find(|output| output.name == name);
    let lacks = |name: &str| {
        let message = format!("the stage `{}` (kind `{}`) has no artifact `{name}`", reference.stage, kind.name);
        let help = suggest::help(name, "its artifacts", names());
        Finding::new(reference.span, message, format!("the port `{}` takes `{name}`", port.name)).help(help)
    };
    let chosen = match (&reference.artifact, port.artifacts) {
        (Some(name), _) if output(name).is_none() => Err(lacks(name)),
        (Some(name), []) => Ok(output(name).into_iter().map(|output| output.name).collect()),
        (Some(name), required) if required != [name.as_str()] => {
            let message = format!("the port `{}` takes `{}`, not `{name}`", port.name, required.join("`, `"));
            Err(Finding::new(reference.span, message, "another artifact")
                .help(format!("write `{}`: the port takes its artifacts by name", reference.stage)))
        }
        (None, []) => match kind.outputs {
            [Output { name, .. }] => Ok(vec![*name]),
            _ => {
                let message = format!("the stage `{}` has several artifacts; which one?", reference.stage);
                let example =
                    format!("write `{}.{}`, for example", reference.stage, names().next().unwrap_or_default());
                let help = format!("{example}; its artifacts: {}", suggest::listed(names()));
                Err(Finding::new(reference.span, message, format!("the port `{}` takes one", port.name)).help(help))
            }
        },
        (_, required) => match required.iter().find(|name| output(name).is_none()) {
            Some(missing) => Err(lacks(missing)),
            None => Ok(required.to_vec()),
        },
    };
    match chosen {
        Ok(artifacts) => Some(BoundSource { stage: number, artifacts, reference }),
        Err(finding) => {
            findings.push(finding);
            None
        }
    }
}

impl BoundStage<'_> {
    fn sources(&self) -> impl Iterator<Item = &BoundSource<'_>> {
        self.needs.iter().flat_map(|need| &need.sources)
    }
}

/// Kahn's algorithm, without recursion: chains can be ten thousand stages long.
fn sort(stages: &[BoundStage]) -> Vec<usize> {
    let mut waits: Vec<usize> = stages.iter().map(|stage| stage.sources().count()).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    for (number, stage) in stages.iter().enumerate() {
        for source in stage.sources() {
            users[source.stage].push(number);
        }
    }
    let mut order: Vec<usize> = (0..stages.len()).filter(|&number| waits[number] == 0).collect();
    let mut next = 0;
    while let Some(&ready) = order.get(next) {
        next += 1;
        for &user in &users[ready] {
            waits[user] -= 1;
            if waits[user] == 0 {
                order.push(user);
            }
        }
    }
    order
}

/// Each cycle once, as a path.
fn report_cycles(stages: &[BoundStage], order: &[usize], findings: &mut Findings) {
    let mut left = vec![true; stages.len()];
    order.iter().for_each(|&number| left[number] = false);
    let mut visited = vec![false; stages.len()];
    for start in 0..stages.len() {
        let mut path: Vec<usize> = Vec::new();
        let mut at = start;
        while left[at] && !visited[at] {
            visited[at] = true;
            path.push(at);
            // A stage that is left needs another one that is left.
            let Some(next) = stages[at].sources().find(|source| left[source.stage]) else { break };
            at = next.stage;
        }
        let Some(from) = path.iter().position(|&number| number == at).filter(|_| left[at]) else { continue };
        let name = |number: usize| stages[number].ast.name.text.as_str();
        let names: Vec<&str> = path[from..].iter().chain([&at]).map(|&number| name(number)).collect();
        let closing = path.last().and_then(|&last| stages[last].sources().find(|source| source.stage == at));
        let span = closing.map_or(stages[at].ast.name.span, |source| source.reference.span);
        let finding = Finding::new(
            span,
            format!("stages need each other in a cycle: {}", names.join(" -> ")),
            "closes the cycle",
        );
        findings.push(finding.help("`a -> b` reads: a needs b; one of these needs has to go"));
    }
}

/// The axes of a stage by those of its needs, and whether they are known.
fn axes_of(stages: &[BoundStage], number: usize, axes: &Axes, findings: &mut Findings) -> (AxisSet, bool) {
    let stage = &stages[number];
    let mut sound = stage.sources().all(|source| stages[source.stage].sound);
    let mut own = AxisSet::default();
    for word in &stage.ast.over {
        match axes.find(word, findings) {
            Some(axis) => own.insert(axis),
            None => sound = false,
        }
    }
    let needed = stage.sources().filter(|source| !source.reference.starred);
    let set = needed.fold(own, |set, source| set.union(stages[source.stage].axes));
    let gathered = stage.sources().fold(set, |set, source| set.union(stages[source.stage].axes));
    let mut ended = AxisSet::default();
    for word in &stage.ast.collapse {
        let Some(axis) = axes.find(word, findings) else {
            sound = false;
            continue;
        };
        if own.contains(axis) {
            let message = format!("the axis `{}` is both in `over` and in `collapse`", word.text);
            findings.push(Finding::new(word.span, message, "cannot begin and end here"));
            sound = false;
        } else if !gathered.contains(axis) && sound {
            let message = format!(
                "stage `{}` cannot collapse `{}`: nothing that it needs has this axis",
                stage.ast.name.text, word.text
            );
            findings.push(
                Finding::new(word.span, message, "nothing to collapse")
                    .help(format!("axes of its needs: {}", axes.listed(gathered))),
            );
        }
        ended.insert(axis);
    }
    (set.without(ended), sound)
}

/// Ports for one instance cannot take a collapsed axis.
fn check_arity(stages: &[BoundStage], number: usize, axes: &Axes, findings: &mut Findings) {
    let stage = &stages[number];
    for need in stage.needs.iter().filter(|need| matches!(need.port.arity, Arity::One | Arity::Optional)) {
        for source in &need.sources {
            let gathered = stages[source.stage].axes.without(stage.axes);
            if gathered.is_empty() {
                continue;
            }
            let gathered = axes.listed(gathered);
            let message = format!(
                "the port `{}` takes one instance, but `{}` has one for each label of {gathered}",
                need.port.name, source.reference.stage
            );
            findings.push(Finding::new(source.reference.span, message, "many instances").help(format!(
                "collapse {gathered} in a stage whose port takes many, such as `compare`, or keep the axis"
            )));
        }
    }
}
