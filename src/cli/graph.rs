//! `graph`: the stages (or their instances) and what flows between them, as DOT, Mermaid or SVG. Drawn from the
//! pipeline alone, before anything has run.

use std::collections::BTreeMap;

use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::geometry::Point;
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;

use super::args::GraphFormat;
use super::exit::CliError;
use crate::spec::Pipeline;

/// Nodes with a label of one or more lines, and edges `(from, to, port)`, sorted.
struct Drawing {
    nodes: Vec<Vec<String>>,
    edges: Vec<(usize, usize, String)>,
}

impl Drawing {
    /// A node per stage: its name, its kind, its axes and how many instances it has.
    fn of_stages(pipeline: &Pipeline) -> Self {
        let nodes = pipeline.stages.iter().map(|stage| {
            let mut lines = vec![stage.name.clone(), stage.kind.clone()];
            if !stage.axes.is_empty() {
                lines.push(format!("{} ({})", stage.axes.join(" × "), stage.instances.len()));
            }
            lines
        });
        Self { nodes: nodes.collect(), edges: edges(pipeline, |instance| pipeline.instances[instance].stage) }
    }

    /// A node per instance.
    fn of_instances(pipeline: &Pipeline) -> Self {
        let nodes = pipeline.instances.iter().map(|instance| {
            let labels = instance.labels.iter().map(|(axis, label)| format!("{axis}={label}"));
            std::iter::once(pipeline.stages[instance.stage].name.clone()).chain(labels).collect()
        });
        Self { nodes: nodes.collect(), edges: edges(pipeline, |instance| instance) }
    }
}

/// One edge per pair of nodes, naming all ports it serves.
fn edges(pipeline: &Pipeline, node: impl Fn(usize) -> usize) -> Vec<(usize, usize, String)> {
    let mut ports: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for (to, instance) in pipeline.instances.iter().enumerate() {
        for need in &instance.needs {
            for source in &need.sources {
                let names = ports.entry((node(source.instance), node(to))).or_default();
                if !names.contains(&need.port.as_str()) {
                    names.push(&need.port);
                }
            }
        }
    }
    ports.into_iter().map(|((from, to), names)| (from, to, names.join(", "))).collect()
}

/// What can be laid out in a few seconds.
const MOST_DRAWN: usize = 500;

pub fn render(pipeline: &Pipeline, format: GraphFormat, instances: bool) -> Result<String, CliError> {
    let drawing = if instances { Drawing::of_instances(pipeline) } else { Drawing::of_stages(pipeline) };
    Ok(match format {
        GraphFormat::Dot => dot(&pipeline.name, &drawing),
        GraphFormat::Mermaid => mermaid(&drawing),
        GraphFormat::Svg if drawing.nodes.len() + drawing.edges.len() > MOST_DRAWN => {
            let (nodes, edges) = (drawing.nodes.len(), drawing.edges.len());
            let text = format!("{nodes} boxes and {edges} arrows are more than can be drawn");
            return Err(
                CliError::wrong(text).help("use `--format dot` and Graphviz, or draw stages without --instances")
            );
        }
        GraphFormat::Svg => svg(&drawing),
    })
}

fn dot(name: &str, drawing: &Drawing) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n  rankdir=TB;\n  node [shape=box];\n", quoted(name));
    for (index, lines) in drawing.nodes.iter().enumerate() {
        // The line break is DOT's own escape, so it must not be escaped again.
        let label = lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect::<Vec<_>>();
        text.push_str(&format!("  n{index} [label=\"{}\"];\n", label.join("\\n")));
    }
    for (from, to, ports) in &drawing.edges {
        text.push_str(&format!("  n{from} -> n{to} [label={}];\n", quoted(ports)));
    }
    text.push_str("}\n");
    text
}

fn mermaid(drawing: &Drawing) -> String {
    let escaped =
        |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    let mut text = String::from("flowchart TD\n");
    for (index, lines) in drawing.nodes.iter().enumerate() {
        let label: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        text.push_str(&format!("  n{index}[\"{}\"]\n", label.join("<br>")));
    }
    for (from, to, ports) in &drawing.edges {
        text.push_str(&format!("  n{from} -->|\"{}\"| n{to}\n", escaped(ports)));
    }
    text
}

fn svg(drawing: &Drawing) -> String {
    const FONT: usize = 14;
    let mut graph = VisualGraph::new(Orientation::TopToBottom);
    let handles: Vec<_> = drawing
        .nodes
        .iter()
        .map(|lines| {
            let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
            let size = Point::new((widest * FONT) as f64 * 0.62 + 24.0, (lines.len() * FONT) as f64 * 1.3 + 16.0);
            let shape = ShapeKind::new_box(&lines.join("\n"));
            graph.add_node(Element::create(shape, StyleAttr::simple(), Orientation::TopToBottom, size))
        })
        .collect();
    for (from, to, ports) in &drawing.edges {
        graph.add_edge(Arrow::simple(ports), handles[*from], handles[*to]);
    }
    let mut writer = SVGWriter::new();
    graph.do_it(false, false, false, &mut writer);
    writer.finalize()
}
