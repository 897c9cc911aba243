//! Result tables: built once from plain scores and findings ([`build`]), then only spelled by templates
//! ([`render`]); listings of plain values ([`list`]); figures ([`popularity`]). Knows nothing of how numbers were made, of files or of stages.

mod build;
mod escape;
mod figure;
mod listing;
mod marks;
mod number;
mod protocol;
mod render;
mod table;
#[cfg(test)]
mod testing;

pub use build::{Layout, Score, TableError, build};
pub use figure::{Popularity, popularity};
pub use listing::{Field, Listing, Value, list};
pub use marks::{Correction, Finding, Marks, Unit};
pub use protocol::{Candidates, Evaluation, Model, Selection, evaluation_facts};
pub use render::{Format, TemplateError, render};
pub use table::{Cell, Column, Improvement, Mark, Row, Span, Table};

use std::collections::BTreeMap;

/// Labels of one source, as axis and label, in axis order.
pub type Labels = Vec<(String, String)>;

fn label_of<'a>(labels: &'a Labels, axis: &str) -> Option<&'a str> {
    labels.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str())
}

/// Whether two sources agree on every axis that both have.
fn agree(a: &Labels, b: &Labels) -> bool {
    a.iter().all(|(axis, label)| label_of(b, axis).is_none_or(|other| other == label))
}

/// How a label is shown: by its title, or as it is.
fn shown(titles: &BTreeMap<String, String>, label: &str) -> String {
    titles.get(label).cloned().unwrap_or_else(|| label.to_owned())
}

/// Distinct values in the order of their first appearance.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}
