//! Significance marks: which own results differ from the strongest baseline, by tests that were made elsewhere.

use std::collections::BTreeSet;

use super::table::{Column, Mark, Row};
use super::{Labels, Layout, TableError, agree, label_of};

/// One test of a reference against a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Labels of the cells that it belongs to, without the compared axis. Axes that cells do not have (several
    /// references may be compared along one) do not count.
    pub labels: Labels,
    /// The axis whose labels were compared.
    pub axis: String,
    /// `user` or `seed`.
    pub unit: String,
    /// Name of the test, and how captions spell it.
    pub test: String,
    pub test_title: String,
    /// Measure and cut-off.
    pub metric: String,
    pub k: u32,
    pub reference: String,
    pub baseline: String,
    pub mean_baseline: f64,
    /// Reference minus baseline.
    pub difference: f64,
    /// After correction; absent where the test was impossible.
    pub p_adjusted: Option<f64>,
    /// `holm` or `none`.
    pub correction: String,
    pub note: String,
}

/// Which findings become marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Marks {
    pub unit: String,
    pub test: String,
    pub alpha: f64,
}

/// Sets the marks of `rows`, and returns the fact that explains them and the notes that go with it. A mark stands only
/// where the corrected p of the comparison with the strongest baseline (highest mean; own variants are none) is below
/// alpha.
pub(super) fn set(
    marks: &Marks,
    findings: &[Finding],
    layout: &Layout,
    columns: &[Column],
    rows: &mut [Row],
) -> Result<(String, Vec<String>), TableError> {
    let chosen: Vec<&Finding> =
        findings.iter().filter(|finding| finding.unit == marks.unit && finding.test == marks.test).collect();
    let Some(first) = chosen.first() else {
        let known: BTreeSet<String> =
            findings.iter().map(|finding| format!("`{}` over `{}`", finding.test, finding.unit)).collect();
        return Err(TableError::NoTest {
            test: marks.test.clone(),
            unit: marks.unit.clone(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        });
    };
    let baselines = Baselines::new(layout, rows);
    let mut used = BTreeSet::new();
    let mut untested = Vec::new();
    for row in rows.iter_mut() {
        let mut tested = false;
        let cells = columns.iter().zip(&mut row.cells).enumerate();
        for (index, (column, cell)) in cells.filter(|(_, (_, cell))| !cell.missing) {
            let mut labels = column.labels.clone();
            labels.push((layout.rows.clone(), row.label.clone()));
            let finding = strongest(&chosen, &labels, column, layout, baselines.strongest(index, &row.label));
            tested |= finding.is_some();
            cell.mark = finding.and_then(|finding| mark(finding, marks.alpha));
            used.extend(cell.mark.map(Mark::name));
        }
        if row.ours && !tested {
            untested.push(row.title.as_str());
        }
    }
    let correction = if first.correction == "holm" { "Holm-corrected" } else { "uncorrected" };
    let how = format!("{} over {}s, {correction}, p < {}", first.test_title, marks.unit, marks.alpha);
    let fact = match (used.contains("better"), used.contains("worse")) {
        (true, true) => format!("Better (*) and worse (°) than the strongest baseline: {how}."),
        (true, false) => format!("* better than the strongest baseline: {how}."),
        (false, true) => format!("° worse than the strongest baseline: {how}."),
        (false, false) => format!("No difference to the strongest baseline is significant: {how}."),
    };
    let notes: BTreeSet<String> = chosen
        .iter()
        .filter(|finding| !finding.note.is_empty())
        .map(|finding| format!("By {} over {}s: {}.", finding.test_title, finding.unit, finding.note))
        .collect();
    // Without a mark, and not for want of a difference.
    let not_tested = (!untested.is_empty()).then(|| format!("Not tested: {}.", untested.join(", ")));
    Ok((fact, not_tested.into_iter().chain(notes).collect()))
}

/// The means of the baselines, by row and column.
struct Baselines(Vec<(String, Vec<Option<f64>>)>);

impl Baselines {
    fn new(layout: &Layout, rows: &[Row]) -> Self {
        let means = |row: &Row| row.cells.iter().map(|cell| cell.mean.filter(|_| !cell.missing)).collect();
        let baselines = rows.iter().filter(|row| layout.is_baseline(&row.label));
        Self(baselines.map(|row| (row.label.clone(), means(row))).collect())
    }

    /// The label of the highest mean in a column, that of `row` itself left out.
    fn strongest(&self, column: usize, row: &str) -> Option<&str> {
        let others = self.0.iter().filter(|(label, _)| label != row);
        let means = others.filter_map(|(label, means)| Some((label, means[column]?)));
        means.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(label, _)| label.as_str())
    }
}

/// The comparison of the cell with `labels`, if it is a reference, with its strongest baseline: `baseline` where rows were
/// compared, else the strongest of those that were.
fn strongest<'a>(
    findings: &[&'a Finding],
    labels: &Labels,
    column: &Column,
    layout: &Layout,
    baseline: Option<&str>,
) -> Option<&'a Finding> {
    findings
        .iter()
        .copied()
        .filter(|finding| finding.metric == column.metric && finding.k == column.k)
        .filter(|finding| label_of(labels, &finding.axis) == Some(&finding.reference))
        .filter(|finding| finding.axis != layout.rows || Some(finding.baseline.as_str()) == baseline)
        .filter(|finding| agree(&finding.labels, labels))
        .reduce(|best, next| if next.mean_baseline > best.mean_baseline { next } else { best })
}

fn mark(finding: &Finding, alpha: f64) -> Option<Mark> {
    finding.p_adjusted.filter(|&p| p < alpha)?;
    if finding.difference > 0.0 {
        Some(Mark::Better)
    } else if finding.difference < 0.0 {
        Some(Mark::Worse)
    } else {
        None
    }
}
