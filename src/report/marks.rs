//! Significance marks: which own results differ from the strongest baseline, by tests that were made elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::table::{Column, Mark, Row};
use super::{Labels, Layout, TableError, agree, distinct, label_of, shown};
use crate::metric::Direction;

/// What two competitors are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A pair of values is a user.
    User,
    /// A pair of values is a run, such as a seed.
    Seed,
}

impl Unit {
    /// As pipelines and artifacts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Seed => "seed",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Seed].into_iter().find(|unit| unit.name() == name)
    }
}

/// How p-values are corrected for their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Holm's step-down method.
    #[default]
    Holm,
    None,
}

impl Correction {
    /// As pipelines and artifacts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holm => "holm",
            Self::None => "none",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Holm, Self::None].into_iter().find(|correction| correction.name() == name)
    }
}

/// One test of a reference against a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Labels of the cells that it belongs to, without the compared axis. Axes that cells do not have (several
    /// references may be compared along one) do not count.
    pub labels: Labels,
    /// The axis whose labels were compared.
    pub axis: String,
    pub unit: Unit,
    /// The axis whose labels told which runs belong together.
    pub pair_by: String,
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
    pub correction: Correction,
    /// How many p-values were corrected together.
    pub family: u32,
    pub note: String,
}

/// Which findings become marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Marks {
    pub unit: Unit,
    pub test: String,
    pub alpha: f64,
}

/// Sets the marks of `rows`, and returns the fact that explains them and the notes that go with it. A mark stands only
/// where the corrected p of the comparison with the strongest baseline (best mean as printed; own variants are none)
/// is below alpha. Of several that are equally strong all must agree.
pub(super) fn set(
    marks: &Marks,
    findings: &[Finding],
    layout: &Layout,
    columns: &[Column],
    rows: &mut [Row],
) -> Result<(String, Vec<String>), TableError> {
    let chosen: Vec<&Finding> =
        findings.iter().filter(|finding| finding.unit == marks.unit && finding.test == marks.test).collect();
    if chosen.is_empty() {
        let known: BTreeSet<String> =
            findings.iter().map(|finding| format!("`{}` over `{}`", finding.test, finding.unit.name())).collect();
        return Err(TableError::NoTest {
            test: marks.test.clone(),
            unit: marks.unit.name().to_owned(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    let baselines = Baselines::new(layout, columns, rows);
    let mut used = BTreeSet::new();
    let mut untested = Vec::new();
    for row in rows.iter_mut() {
        let mut tested = false;
        let cells = columns.iter().zip(&mut row.cells).enumerate();
        for (index, (column, cell)) in cells.filter(|(_, (_, cell))| !cell.missing) {
            let mut labels = column.labels.clone();
            labels.push((layout.rows.clone(), row.label.clone()));
            let findings = decisive(&chosen, &labels, column, layout, &baselines.strongest(index, column, &row.label));
            tested |= !findings.is_empty();
            cell.mark = match distinct(findings.iter().map(|finding| mark(finding, column.direction, marks.alpha)))[..]
            {
                [agreed] => agreed,
                _ => None,
            };
            used.extend(cell.mark.map(Mark::name));
        }
        if row.ours && !tested {
            untested.push(row.title.as_str());
        }
    }
    let how = format!("{}, p < {}", how(&chosen), marks.alpha);
    let fact = match (used.contains("better"), used.contains("worse")) {
        (true, true) => format!("Better (*) and worse (°) than the strongest baseline: {how}."),
        (true, false) => format!("* better than the strongest baseline: {how}."),
        (false, true) => format!("° worse than the strongest baseline: {how}."),
        (false, false) => format!("No difference to the strongest baseline is significant: {how}."),
    };
    // Without a mark, and not for want of a difference.
    let not_tested = (!untested.is_empty()).then(|| format!("Not tested: {}.", untested.join(", ")));
    Ok((fact, not_tested.into_iter().chain(notes(&chosen, layout, columns)).collect()))
}

/// The test, what it was made over, and what was corrected together.
fn how(findings: &[&Finding]) -> String {
    let test = |finding: &&Finding| {
        let pairs = match finding.unit {
            Unit::User => "user",
            Unit::Seed => &finding.pair_by,
        };
        format!("{} over {pairs}s", finding.test_title)
    };
    let tests = distinct(findings.iter().map(test)).join(" or ");
    let corrected: Vec<&&Finding> = findings.iter().filter(|finding| finding.correction == Correction::Holm).collect();
    let families = corrected.iter().map(|finding| finding.family);
    let (Some(smallest), Some(largest)) = (families.clone().min(), families.max()) else {
        return format!("{tests}, two-sided, uncorrected");
    };
    let size = match (smallest, largest) {
        (1, 1) => "1 test".to_owned(),
        _ if smallest == largest => format!("{smallest} tests"),
        _ => format!("{smallest} to {largest} tests"),
    };
    let mut how = format!("{tests}, two-sided, Holm-corrected over the {size} of a comparison (baselines and metrics)");
    match corrected.iter().filter(|finding| finding.p_adjusted.is_none()).count() {
        0 => {}
        1 => how.push_str(", without 1 that could not be made"),
        impossible => how.push_str(&format!(", without {impossible} that could not be made")),
    }
    if corrected.len() < findings.len() {
        how.push_str(", others uncorrected");
    }
    how
}

/// What findings say about themselves, with whom it is about, and in which columns unless in all.
fn notes(findings: &[&Finding], layout: &Layout, columns: &[Column]) -> Vec<String> {
    let mut places: BTreeMap<(&str, &str, &str), BTreeSet<usize>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| !finding.note.is_empty()) {
        let own = |column: &Column| {
            (&column.metric, column.k) == (&finding.metric, finding.k) && agree(&finding.labels, &column.labels)
        };
        let own: Vec<usize> = (0..columns.len()).filter(|&index| own(&columns[index])).collect();
        if !own.is_empty() {
            places.entry((&finding.note, &finding.reference, &finding.baseline)).or_default().extend(own);
        }
    }
    // Baselines of which the same is to be said share a sentence.
    let mut baselines: BTreeMap<(&str, &str, BTreeSet<usize>), Vec<String>> = BTreeMap::new();
    for ((note, reference, baseline), places) in places {
        baselines.entry((note, reference, places)).or_default().push(shown(&layout.titles, baseline));
    }
    let sentence = |((note, reference, places), baselines): ((&str, &str, BTreeSet<usize>), Vec<String>)| {
        let titles: Vec<String> = places.iter().map(|&index| columns[index].titles.join(" ")).collect();
        let place = if places.len() == columns.len() { String::new() } else { format!(" ({})", titles.join(", ")) };
        format!("{} vs. {}{place}: {note}.", shown(&layout.titles, reference), baselines.join(", "))
    };
    baselines.into_iter().map(sentence).collect()
}

/// The means of the baselines as printed, by row and column.
struct Baselines(Vec<(String, Vec<Option<f64>>)>);

impl Baselines {
    fn new(layout: &Layout, columns: &[Column], rows: &[Row]) -> Self {
        let means = |row: &Row| {
            let cells = columns.iter().zip(&row.cells);
            cells.map(|(column, cell)| cell.shown().map(|mean| layout.printed(column, mean))).collect()
        };
        let baselines = rows.iter().filter(|row| layout.is_baseline(&row.label));
        Self(baselines.map(|row| (row.label.clone(), means(row))).collect())
    }

    /// The labels of the best mean in a column, that of `row` itself left out.
    fn strongest(&self, index: usize, column: &Column, row: &str) -> Vec<&str> {
        let others = self.0.iter().filter(|(label, _)| label != row);
        best(column.direction, others.filter_map(|(label, means)| Some((label.as_str(), means[index]?))))
    }
}

/// Those with the best value.
fn best<T>(direction: Direction, valued: impl Iterator<Item = (T, f64)>) -> Vec<T> {
    let valued: Vec<(T, f64)> = valued.collect();
    let best = valued.iter().map(|(_, value)| *value).min_by(|a, b| direction.best_first(*a, *b));
    valued.into_iter().filter(|&(_, value)| Some(value) == best).map(|(thing, _)| thing).collect()
}

/// The comparisons of the cell with `labels`, if it is a reference, that decide about its mark: those with its strongest
/// `baselines` where rows were compared, and all of these were; else those with the strongest label of another axis.
fn decisive<'a>(
    findings: &[&'a Finding],
    labels: &Labels,
    column: &Column,
    layout: &Layout,
    baselines: &[&str],
) -> Vec<&'a Finding> {
    let own = findings.iter().copied().filter(|finding| {
        (&finding.metric, finding.k) == (&column.metric, column.k)
            && label_of(labels, &finding.axis) == Some(&finding.reference)
            && agree(&finding.labels, labels)
    });
    let (rows, others): (Vec<&Finding>, Vec<&Finding>) = own.partition(|finding| finding.axis == layout.rows);
    let against = |baseline: &&str| rows.iter().copied().filter(|finding| finding.baseline == *baseline).collect();
    let against: Vec<Vec<&Finding>> = baselines.iter().map(against).collect();
    if !against.is_empty() && against.iter().all(|findings| !findings.is_empty()) {
        return against.concat();
    }
    let printed = others.into_iter().map(|finding| (finding, layout.printed(column, finding.mean_baseline)));
    best(column.direction, printed)
}

fn mark(finding: &Finding, direction: Direction, alpha: f64) -> Option<Mark> {
    finding.p_adjusted.filter(|&p| p < alpha)?;
    if direction.is_better(finding.difference, 0.0) {
        Some(Mark::Better)
    } else if direction.is_better(0.0, finding.difference) {
        Some(Mark::Worse)
    } else {
        None
    }
}
