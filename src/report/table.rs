//! The table as data: what every template gets to see, all decisions made and all numbers spelled.

use serde::Serialize;

use super::Labels;
use crate::metric::Direction;

/// A table of results. Templates see exactly these fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// The author's words, as sentences; may be empty.
    pub caption: String,
    /// What a reader must know: what is averaged, tests, mask and selection rules. Whole sentences.
    pub facts: Vec<String>,
    /// Sentences that go under the table: what is missing, which tests were impossible.
    pub notes: Vec<String>,
    /// Reference label (LaTeX `\label`).
    pub label: String,
    /// Title of the column of row titles.
    pub corner: String,
    /// Name of the axis that the rows stand for.
    pub row_axis: String,
    /// Names of the axes that group the columns, outermost first.
    pub column_axes: Vec<String>,
    /// Titles over the columns, outermost level first; the last level are the metrics.
    pub header: Vec<Vec<Span>>,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    pub improvement: Option<Improvement>,
    /// Whether the best values of a column are told; the legend for it is then shown.
    pub ranked: bool,
    /// Whether any cell has a standard deviation.
    pub has_sd: bool,
}

/// A title over neighbouring columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    pub title: String,
    /// First and last column, counted from 1.
    pub from: usize,
    pub to: usize,
}

/// A column: one metric for one combination of labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Titles of all levels of the header.
    pub titles: Vec<String>,
    /// Axis and label of the group.
    pub labels: Labels,
    /// Measure and cut-off, such as `recall` and 20.
    pub metric: String,
    pub k: u32,
    /// Which values are better, where the table is ranked: `higher_is_better` or `lower_is_better`.
    pub direction: Direction,
    /// Whether values are shown times 100.
    pub percent: bool,
}

impl Column {
    /// A value in the unit that is shown.
    pub(super) fn scaled(&self, value: f64) -> f64 {
        if self.percent { value * 100.0 } else { value }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub label: String,
    pub title: String,
    /// The author's own, as told by the layout.
    pub ours: bool,
    pub cells: Vec<Cell>,
}

/// A number with its standing in the column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// No number, or fewer of them than in other cells: shown as a dash.
    pub missing: bool,
    /// As spelled, when not missing.
    pub text: String,
    /// Standard deviation as spelled; empty for single values.
    pub sd_text: String,
    /// Unrounded mean, present also where too few values make the cell missing.
    pub mean: Option<f64>,
    pub sd: Option<f64>,
    /// How many values were averaged.
    pub n: usize,
    pub best: bool,
    pub second: bool,
    pub mark: Option<Mark>,
}

impl Cell {
    /// The unrounded mean of a cell that shows one.
    pub(super) fn shown(&self) -> Option<f64> {
        self.mean.filter(|_| !self.missing)
    }
}

/// A significant difference to the strongest baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    Better,
    Worse,
}

impl Mark {
    /// As templates and artifacts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}

/// The author's words as a sentence that others can follow: with a full stop, if they end without any.
pub(super) fn sentence(words: &str) -> String {
    let words = words.trim();
    let ended =
        words.trim_end_matches(['"', '\'', '”', '’', '»']).ends_with(['.', '!', '?', ':', ';', '…', '。', '！', '？']);
    if words.is_empty() || ended { words.to_owned() } else { format!("{words}.") }
}

/// The line with the change from the best baseline to the best own row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Improvement {
    pub title: String,
    /// Per column, such as `+3.10%`; empty where one side is missing. A minus is a gain where lower is better.
    pub cells: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn captions_end_in_a_full_stop() {
        for (words, expected) in [
            ("Results on Food", "Results on Food."),
            ("Results on Food. ", "Results on Food."),
            ("Who wins?", "Who wins?"),
            ("They say \"so.\"", "They say \"so.\""),
            ("Recall (percent)", "Recall (percent)."),
            ("結果。", "結果。"),
            (" ", ""),
        ] {
            assert_eq!(sentence(words), expected);
        }
    }
}
