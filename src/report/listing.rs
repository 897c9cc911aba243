//! Tables of plain values: what data sets hold, what audits measured. Nothing is averaged or ranked; the rows and columns
//! come as they are to be shown, and the same templates spell them.

use super::number::grouped;
use super::table::{Cell, Column, Row, Span, Table, sentence};
use crate::metric::Direction;

/// What is listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub caption: String,
    /// What a reader must know. Whole sentences.
    pub facts: Vec<String>,
    /// Sentences under the table.
    pub notes: Vec<String>,
    /// LaTeX label.
    pub label: String,
    /// Title of the first column, and its name in CSV files.
    pub corner: (String, String),
    pub fields: Vec<Field>,
    /// Label, title and values of each row.
    pub rows: Vec<(String, String, Vec<Value>)>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// In CSV files.
    pub name: String,
    /// Title over neighbouring columns, where they share one.
    pub group: String,
    pub title: String,
    /// Digits after the point.
    pub digits: usize,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Text(String),
    /// There is none: a dash.
    Missing,
}

/// The table of a listing.
pub fn list(listing: Listing) -> Table {
    let columns: Vec<Column> = listing
        .fields
        .iter()
        .map(|field| {
            let titles = [&field.group, &field.title].into_iter().filter(|title| !title.is_empty()).cloned().collect();
            Column {
                titles,
                labels: Vec::new(),
                metric: field.name.clone(),
                k: 0,
                direction: Direction::HigherIsBetter,
                percent: false,
            }
        })
        .collect();
    let mut groups: Vec<Span> = Vec::new();
    for (field, column) in listing.fields.iter().zip(1..) {
        match groups.last_mut() {
            Some(last) if !field.group.is_empty() && last.title == field.group => last.to = column,
            _ => groups.push(Span { title: field.group.clone(), from: column, to: column }),
        }
    }
    let titles = listing.fields.iter().zip(1..);
    let titles = titles.map(|(field, column)| Span { title: field.title.clone(), from: column, to: column }).collect();
    let grouped = groups.iter().any(|group| !group.title.is_empty());
    let header = if grouped { vec![groups, titles] } else { vec![titles] };
    let row = |(label, title, values): (String, String, Vec<Value>)| Row {
        label,
        title,
        ours: false,
        cells: values.into_iter().zip(&listing.fields).map(|(value, field)| cell(value, field.digits)).collect(),
    };
    Table {
        caption: sentence(&listing.caption),
        facts: listing.facts,
        notes: listing.notes,
        label: listing.label,
        corner: listing.corner.0,
        row_axis: listing.corner.1,
        column_axes: Vec::new(),
        header,
        columns,
        rows: listing.rows.into_iter().map(row).collect(),
        improvement: None,
        ranked: false,
        has_sd: false,
    }
}

fn cell(value: Value, digits: usize) -> Cell {
    match value {
        Value::Number(value) => Cell { text: grouped(value, digits), mean: Some(value), n: 1, ..Cell::default() },
        Value::Text(text) => Cell { text, n: 1, ..Cell::default() },
        Value::Missing => Cell { missing: true, ..Cell::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, render};
    use super::*;

    fn table() -> Table {
        let field = |name: &str, digits| {
            let group = if name == "part" { String::new() } else { "N".into() };
            Field { name: name.into(), group, title: name.to_uppercase(), digits }
        };
        list(Listing {
            caption: "Data".into(),
            facts: vec!["Counts.".into()],
            label: "tab:data".into(),
            corner: ("Data set".into(), "data".into()),
            fields: vec![field("rows", 0), field("gini", 3), field("part", 0)],
            rows: vec![
                (
                    "a".into(),
                    "A_1".into(),
                    vec![Value::Number(1_234_567.0), Value::Number(0.25), Value::Text("x|y".into())],
                ),
                ("b".into(), "B".into(), vec![Value::Number(12.0), Value::Missing, Value::Missing]),
            ],
            ..Listing::default()
        })
    }

    #[test]
    fn listings_have_no_legend_of_ranks() {
        let text = render(&table(), Format::Md, None).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].trim_end(), "**Data.** Counts.");
        assert_eq!(lines[2], "| Data set |  N · ROWS | N · GINI | PART |");
        assert_eq!(lines[4], "| A\\_1     | 1,234,567 |    0.250 | x\\|y |");
        assert_eq!(lines[5], "| B        |        12 |        — |    — |");
        for format in Format::ALL {
            assert!(!render(&table(), format, None).unwrap().to_lowercase().contains("best"));
        }
        let csv = render(&table(), Format::Csv, None).unwrap();
        assert_eq!(csv, "data,rows,gini,part\na,1234567,0.25,x|y\nb,12,,\n");
        let txt = render(&table(), Format::Txt, None).unwrap();
        assert!(txt.contains("Data set      N ROWS     N GINI     PART"), "{txt}");
        let tex = render(&table(), Format::Tex, None).unwrap();
        assert!(tex.contains("A\\_1 & 1,234,567 & 0.250 & x\\textbar{}y \\\\\n"), "{tex}");
        assert!(tex.contains(" & \\multicolumn{2}{c}{N} & \\multicolumn{1}{c}{} \\\\\n\\cmidrule(lr){2-3}\n"), "{tex}");
    }
}
