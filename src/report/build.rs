//! From scores to the table: which label goes where, means over the averaged axis, standings, facts.

use std::collections::{BTreeMap, BTreeSet};

use super::number::{change, decimal, printed};
use super::protocol::model_facts;
use super::table::{Cell, Column, Improvement, Row, Span, Table, sentence};
use super::{Finding, Labels, Marks, Model, distinct, label_of, marks, shown};
use crate::metric::{Direction, Metric};

/// One value of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub labels: Labels,
    /// Measure and cut-off, such as `recall` and 20.
    pub metric: String,
    pub k: u32,
    pub value: f64,
}

/// How the table is to look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The axis of the rows.
    pub rows: String,
    /// Axes that group the columns, outermost first.
    pub columns: Vec<String>,
    /// The axis that is averaged.
    pub over: Option<String>,
    /// What each group of columns shows, in order.
    pub metrics: Vec<Metric>,
    /// Digits after the point.
    pub digits: usize,
    /// Whether fractions are shown times 100.
    pub percent: bool,
    /// Display names of labels, axes and metrics.
    pub titles: BTreeMap<String, String>,
    /// Rows that are the author's own; not empty: a line with their improvement is added.
    pub ours: Vec<String>,
    /// Rows they are compared with; empty: all others.
    pub baselines: Vec<String>,
    pub marks: Option<Marks>,
    pub caption: String,
    pub label: String,
}

impl Layout {
    /// Whether own rows are compared with this one.
    pub(super) fn is_baseline(&self, row: &str) -> bool {
        let listed = |rows: &[String]| rows.iter().any(|label| label == row);
        if self.baselines.is_empty() { !listed(&self.ours) } else { listed(&self.baselines) }
    }

    /// A value as the reader sees it. Whatever is called best, second or strongest is so by this number: values that look
    /// the same share a place.
    pub(super) fn printed(&self, column: &Column, value: f64) -> f64 {
        printed(column.scaled(value), self.digits)
    }
}

/// The scores do not fit the layout.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    #[error("there is nothing to show: no scores came in")]
    Empty,
    #[error("the scores have the axis `{axis}`, which the table does not show: name it in `rows`, `columns` or `over`")]
    UncoveredAxis { axis: String },
    #[error("`{place}` names the axis `{axis}`, which the scores do not have; they have {known}")]
    UnknownAxis { place: &'static str, axis: String, known: String },
    #[error("the axis `{axis}` is named twice among `rows`, `columns` and `over`")]
    RepeatedAxis { axis: String },
    #[error("`{place}` names the row `{label}`, which no score has; there are {known}")]
    UnknownRow { place: &'static str, label: String, known: String },
    #[error("no score has the metric `{metric}`; there are {known}")]
    UnknownMetric { metric: String, known: String },
    #[error("two scores for the same cell: {cell}")]
    Repeated { cell: String },
    #[error("a score is {value}, where a finite number is needed: {cell}")]
    NotFinite { value: f64, cell: String },
    #[error("marks ask for `{test}` over `{unit}`, but the tests that came in are {known}")]
    NoTest { test: String, unit: String, known: String },
}

/// Builds the table. Rows and column groups stand in the order in which their labels first occur in `scores`;
/// `findings` and `models` may be empty.
pub fn build(layout: &Layout, scores: &[Score], findings: &[Finding], models: &[Model]) -> Result<Table, TableError> {
    check(layout, scores)?;
    let values = collect(layout, scores)?;
    let rows = axis_labels(scores, &layout.rows);
    for (place, labels) in [("ours", &layout.ours), ("baselines", &layout.baselines)] {
        if let Some(label) = labels.iter().find(|label| !rows.contains(label)) {
            return Err(TableError::UnknownRow { place, label: label.clone(), known: listed(&rows) });
        }
    }
    let columns = columns(layout, scores);
    let expected = values.values().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|label| Row {
            title: shown(&layout.titles, &label),
            ours: layout.ours.contains(&label),
            cells: columns
                .iter()
                .map(|column| cell(layout, column, values.get(&key(&label, column)), expected))
                .collect(),
            label,
        })
        .collect();
    columns.iter().enumerate().for_each(|(index, column)| rank(layout, &mut rows, column, index));
    let mut facts = Vec::new();
    let mut notes = missing_notes(layout, &rows, expected);
    match &layout.over {
        Some(axis) if expected > 1 => facts.push(format!("Mean ± standard deviation over {expected} {axis}s.")),
        Some(axis) => facts.push(format!("A single {axis}.")),
        None => {}
    }
    facts.extend(percent_fact(&columns));
    facts.extend(direction_fact(&columns));
    if let Some(marks) = &layout.marks {
        let (fact, further) = marks::set(marks, findings, layout, &columns, &mut rows)?;
        facts.push(fact);
        notes.extend(further);
    }
    facts.extend(model_facts(layout, scores, models));
    Ok(Table {
        caption: sentence(&layout.caption),
        facts,
        notes,
        label: layout.label.clone(),
        corner: shown(&layout.titles, &layout.rows),
        row_axis: layout.rows.clone(),
        column_axes: layout.columns.clone(),
        header: header(&columns),
        improvement: improvement(layout, &rows, &columns),
        ranked: true,
        has_sd: rows.iter().flat_map(|row| &row.cells).any(|cell| !cell.sd_text.is_empty()),
        columns,
        rows,
    })
}

/// Every axis of the scores must have a place, every named axis must exist.
fn check(layout: &Layout, scores: &[Score]) -> Result<(), TableError> {
    let first = scores.first().ok_or(TableError::Empty)?;
    let axes: Vec<&str> = first.labels.iter().map(|(axis, _)| axis.as_str()).collect();
    let named = [("rows", &layout.rows)]
        .into_iter()
        .chain(layout.columns.iter().map(|axis| ("columns", axis)))
        .chain(layout.over.iter().map(|axis| ("over", axis)));
    let mut seen = BTreeSet::new();
    for (place, axis) in named {
        if !axes.contains(&axis.as_str()) {
            let known = if axes.is_empty() { "none".to_owned() } else { listed(&axes) };
            return Err(TableError::UnknownAxis { place, axis: axis.clone(), known });
        }
        if !seen.insert(axis.as_str()) {
            return Err(TableError::RepeatedAxis { axis: axis.clone() });
        }
    }
    for (axis, _) in scores.iter().flat_map(|score| &score.labels) {
        if !seen.contains(axis.as_str()) {
            return Err(TableError::UncoveredAxis { axis: axis.clone() });
        }
    }
    let known = distinct(scores.iter().map(|score| format!("{}@{}", score.metric, score.k)));
    for metric in &layout.metrics {
        if !known.contains(&metric.to_string()) {
            return Err(TableError::UnknownMetric { metric: metric.to_string(), known: listed(&known) });
        }
    }
    Ok(())
}

/// A cell: row label, labels of the column group, metric, cut-off.
type Key = (String, Labels, String, u32);

fn key(row: &str, column: &Column) -> Key {
    (row.to_owned(), column.labels.clone(), column.metric.clone(), column.k)
}

/// The values of every cell, in the order in which they came in.
fn collect(layout: &Layout, scores: &[Score]) -> Result<BTreeMap<Key, Vec<f64>>, TableError> {
    let mut seen = BTreeSet::new();
    let mut values: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for score in scores {
        let cell = || {
            let labels: Vec<String> = score.labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect();
            format!("{}@{} of {}", score.metric, score.k, labels.join(","))
        };
        if !seen.insert((&score.labels, &score.metric, score.k)) {
            return Err(TableError::Repeated { cell: cell() });
        }
        if !score.value.is_finite() {
            return Err(TableError::NotFinite { value: score.value, cell: cell() });
        }
        let row = label_of(&score.labels, &layout.rows).unwrap_or_default().to_owned();
        let key = (row, group(layout, score), score.metric.clone(), score.k);
        values.entry(key).or_default().push(score.value);
    }
    Ok(values)
}

/// The labels of a score on the column axes.
fn group(layout: &Layout, score: &Score) -> Labels {
    let label = |axis: &String| (axis.clone(), label_of(&score.labels, axis).unwrap_or_default().to_owned());
    layout.columns.iter().map(label).collect()
}

/// Column groups sorted by the first appearance of their labels, axis by axis, so that equal titles are neighbours.
fn columns(layout: &Layout, scores: &[Score]) -> Vec<Column> {
    let order: Vec<Vec<String>> = layout.columns.iter().map(|axis| axis_labels(scores, axis)).collect();
    let place = |labels: &Labels| -> Vec<Option<usize>> {
        labels.iter().zip(&order).map(|((_, label), order)| order.iter().position(|other| other == label)).collect()
    };
    let mut groups = distinct(scores.iter().map(|score| group(layout, score)));
    groups.sort_by_key(place);
    let column = |labels: &Labels, metric: &Metric| Column {
        titles: labels
            .iter()
            .map(|(_, label)| shown(&layout.titles, label))
            .chain([layout.titles.get(&metric.to_string()).cloned().unwrap_or_else(|| metric.title())])
            .collect(),
        labels: labels.clone(),
        metric: metric.measure().name().to_owned(),
        k: metric.k() as u32,
        direction: metric.direction(),
        percent: layout.percent && metric.measure().is_fraction(),
    };
    groups.iter().flat_map(|labels| layout.metrics.iter().map(|metric| column(labels, metric))).collect()
}

/// Titles of neighbouring columns joined while they and all titles above them are the same. Metrics stay apart.
fn header(columns: &[Column]) -> Vec<Vec<Span>> {
    let levels = columns.first().map_or(0, |column| column.titles.len());
    let level = |level: usize| {
        let mut spans: Vec<Span> = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            let joined = index > 0
                && level + 1 < levels
                && columns[index - 1].titles[..=level] == column.titles[..=level]
                && columns[index - 1].labels[..=level] == column.labels[..=level];
            match spans.last_mut() {
                Some(span) if joined => span.to = index + 1,
                _ => spans.push(Span { title: column.titles[level].clone(), from: index + 1, to: index + 1 }),
            }
        }
        spans
    };
    (0..levels).map(level).collect()
}

fn cell(layout: &Layout, column: &Column, values: Option<&Vec<f64>>, expected: usize) -> Cell {
    let Some(values) = values else {
        return Cell { missing: true, ..Cell::default() };
    };
    let moments = crate::stats::Moments::of(values);
    let missing = moments.n < expected;
    let spelled = |value: f64| decimal(column.scaled(value), layout.digits);
    Cell {
        missing,
        text: if missing { String::new() } else { spelled(moments.mean) },
        sd_text: moments.sd.filter(|_| !missing).map(spelled).unwrap_or_default(),
        mean: Some(moments.mean),
        sd: moments.sd,
        n: moments.n,
        ..Cell::default()
    }
}

/// Marks the best and the second best value of a column, as printed. A lone value is no best one, and of two the second is
/// no news.
fn rank(layout: &Layout, rows: &mut [Row], column: &Column, index: usize) {
    let mean = |row: &Row| row.cells[index].shown().map(|mean| layout.printed(column, mean));
    let mut means: Vec<f64> = rows.iter().filter_map(mean).collect();
    if means.len() < 2 {
        return;
    }
    let names_second = means.len() > 2;
    means.sort_by(|a, b| column.direction.best_first(*a, *b));
    means.dedup();
    for row in rows {
        let mean = mean(row);
        row.cells[index].best = mean.is_some() && mean == means.first().copied();
        row.cells[index].second = names_second && mean.is_some() && mean == means.get(1).copied();
    }
}

/// The best own row relative to the best baseline, where both are there.
fn improvement(layout: &Layout, rows: &[Row], columns: &[Column]) -> Option<Improvement> {
    if layout.ours.is_empty() {
        return None;
    }
    let best = |index: usize, member: &dyn Fn(&Row) -> bool| {
        let means = rows.iter().filter(|row| member(row)).filter_map(|row| row.cells[index].shown());
        means.min_by(|a, b| columns[index].direction.best_first(*a, *b))
    };
    let cell = |index: usize| match (best(index, &|row| row.ours), best(index, &|row| layout.is_baseline(&row.label))) {
        (Some(ours), Some(theirs)) if theirs != 0.0 => change((ours - theirs) / theirs),
        _ => String::new(),
    };
    Some(Improvement { title: "vs. best baseline".to_owned(), cells: (0..columns.len()).map(cell).collect() })
}

/// Which values are in percent, if any are.
fn percent_fact(columns: &[Column]) -> Option<String> {
    let others = metric_titles(columns, |column| !column.percent);
    match columns.iter().any(|column| column.percent) {
        true if others.is_empty() => Some("Values in percent.".to_owned()),
        true => Some(format!("Values in percent, but for {}.", others.join(", "))),
        false => None,
    }
}

/// Which metrics are not better the larger they are, as readers expect, if any are.
fn direction_fact(columns: &[Column]) -> Option<String> {
    let lower = metric_titles(columns, |column| column.direction == Direction::LowerIsBetter);
    (!lower.is_empty()).then(|| format!("Lower is better for {}.", lower.join(", ")))
}

/// The titles of the metrics whose columns `member` accepts.
fn metric_titles(columns: &[Column], member: impl Fn(&Column) -> bool) -> Vec<&str> {
    distinct(
        columns.iter().filter(|column| member(column)).filter_map(|column| column.titles.last()).map(String::as_str),
    )
}

fn missing_notes(layout: &Layout, rows: &[Row], expected: usize) -> Vec<String> {
    let missing: Vec<&Cell> = rows.iter().flat_map(|row| &row.cells).filter(|cell| cell.missing).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let fewer = missing.iter().filter(|cell| cell.n > 0).count();
    let mut note =
        format!("Missing (—): {} of {} cells", missing.len(), rows.iter().map(|row| row.cells.len()).sum::<usize>());
    if fewer > 0 {
        let axis = layout.over.as_deref().unwrap_or("value");
        note.push_str(&format!(", {fewer} of them with fewer than {expected} {axis}s"));
    }
    note.push('.');
    vec![note]
}

/// The labels of an axis in the order of their first appearance.
fn axis_labels(scores: &[Score], axis: &str) -> Vec<String> {
    distinct(scores.iter().filter_map(|score| label_of(&score.labels, axis))).into_iter().map(str::to_owned).collect()
}

fn listed(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
