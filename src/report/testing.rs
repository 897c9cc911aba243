//! Scores, findings and layouts that the tests of this folder share.

use super::{Cell, Correction, Finding, Labels, Layout, Marks, Row, Score, Unit};
use crate::metric::Metric;

/// Three methods, two tests (the OOD one first), three seeds on one data set; CNSDiff wins.
pub fn scores() -> Vec<Score> {
    let mut scores = Vec::new();
    for (test, scale) in [("ood", 1.0), ("iid", 2.0)] {
        for (method, base) in [("rns", 0.01), ("dns", 0.02), ("cnsdiff", 0.031)] {
            for (seed, shift) in [("1", -0.001), ("2", 0.0), ("3", 0.001)] {
                for metric in ["recall", "ndcg"] {
                    let labels: Labels = [("dataset", "food"), ("test", test), ("method", method), ("seed", seed)]
                        .map(|(axis, label)| (axis.to_owned(), label.to_owned()))
                        .to_vec();
                    scores.push(Score { labels, metric: metric.to_owned(), k: 20, value: scale * (base + shift) });
                }
            }
        }
    }
    scores
}

pub fn metrics(texts: &[&str]) -> Vec<Metric> {
    texts.iter().map(|text| Metric::parse(text).unwrap()).collect()
}

pub fn layout() -> Layout {
    Layout {
        rows: "method".into(),
        columns: vec!["dataset".into(), "test".into()],
        over: Some("seed".into()),
        metrics: metrics(&["recall@20", "ndcg@20"]),
        digits: 4,
        titles: [("rns", "RNS"), ("cnsdiff", "CNSDiff"), ("food", "Food")]
            .map(|(label, title)| (label.to_owned(), title.to_owned()))
            .into(),
        ..Layout::default()
    }
}

pub fn marks() -> Marks {
    Marks { unit: Unit::User, test: "paired_t".into(), alpha: 0.05 }
}

/// CNSDiff against `baseline` by Recall@20 on the OOD test.
pub fn finding(baseline: &str, mean_baseline: f64, p_adjusted: Option<f64>) -> Finding {
    Finding {
        labels: vec![("dataset".into(), "food".into()), ("test".into(), "ood".into())],
        axis: "method".into(),
        unit: Unit::User,
        pair_by: "seed".into(),
        test: "paired_t".into(),
        test_title: "paired t-test".into(),
        metric: "recall".into(),
        k: 20,
        reference: "cnsdiff".into(),
        baseline: baseline.into(),
        mean_baseline,
        difference: 0.01,
        p_adjusted,
        correction: Correction::Holm,
        family: 4,
        note: String::new(),
    }
}

/// Rows of one cell each.
pub fn rows_of(means: &[Option<f64>]) -> Vec<Row> {
    let cell = |mean: &Option<f64>| Cell { missing: mean.is_none(), mean: *mean, ..Cell::default() };
    let row = |mean| Row { label: String::new(), title: String::new(), ours: false, cells: vec![cell(mean)] };
    means.iter().map(row).collect()
}

/// How many cells every line has, as a reader of the format counts them.
pub fn shape(text: &str, separator: char) -> Vec<usize> {
    let count = |line: &str| {
        let mut cells = 0;
        let mut characters = line.chars();
        while let Some(c) = characters.next() {
            match c {
                '\\' => drop(characters.next()),
                c if c == separator => cells += 1,
                _ => {}
            }
        }
        cells
    };
    text.lines().map(count).collect()
}
