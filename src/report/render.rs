//! Spells a table by a template (minijinja). Templates see the table and nothing else: no files, no environment, no
//! clock; they stop when they run too long. Whatever a template prints is escaped for its format unless it says `safe`.

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, Value};
use minijinja::{AutoEscape, ErrorKind, Output, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Table, escape};
use crate::jinja::{self, Limits};

/// What a template may use: thousands of cells need a small part of it.
const LIMITS: Limits = Limits { steps: 20_000_000, value: 64 << 20, work: 512 << 20 };

/// A format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Markdown with a pipe table.
    Md,
    /// LaTeX with booktabs.
    Tex,
    /// Comma-separated values: one line per cell, unrounded.
    Csv,
    /// Plain text for the terminal.
    Txt,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Md, Self::Tex, Self::Csv, Self::Txt];

    /// Ending of file names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::Tex => "tex",
            Self::Csv => "csv",
            Self::Txt => "txt",
        }
    }

    /// The built-in template: what authors copy and change.
    pub fn template(self) -> &'static str {
        match self {
            Self::Md => include_str!("templates/table.md.jinja"),
            Self::Tex => include_str!("templates/table.tex.jinja"),
            Self::Csv => include_str!("templates/table.csv.jinja"),
            Self::Txt => include_str!("templates/table.txt.jinja"),
        }
    }

    fn escape(self, text: &str) -> String {
        match self {
            Self::Md => escape::markdown(text),
            Self::Tex => escape::latex(text),
            Self::Csv => escape::csv(text),
            Self::Txt => escape::plain(text),
        }
    }

    /// LaTeX is full of braces, hence its templates are written `<< value >>` and `<% block %>`.
    fn syntax(self) -> Result<SyntaxConfig, minijinja::Error> {
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        if self == Self::Tex {
            syntax.variable_delimiters("<<", ">>").block_delimiters("<%", "%>").comment_delimiters("<#", "#>");
        }
        syntax.build()
    }
}

/// A template is wrong or failed.
#[derive(Debug, thiserror::Error)]
#[error("the {format} template is wrong{place}: {message}", format = .format.extension())]
pub struct TemplateError {
    format: Format,
    place: String,
    message: String,
}

impl TemplateError {
    fn new(format: Format, error: minijinja::Error) -> Self {
        let place = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
        let mut message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        if error.kind() == ErrorKind::OutOfFuel {
            message = "it does not come to an end, or prints too much".to_owned();
        }
        Self { format, place, message }
    }
}

/// Spells `table` in `format` by `template`, or by the built-in one.
pub fn render(table: &Table, format: Format, template: Option<&str>) -> Result<String, TemplateError> {
    let wrong = |error| TemplateError::new(format, error);
    let mut environment = jinja::environment(LIMITS);
    environment.set_formatter(move |out, state, value| write(format, out, state, value));
    environment.add_filter("columns", columns);
    let syntax = format.syntax().map_err(wrong)?;
    let source = template.unwrap_or_else(|| format.template());
    let escape = AutoEscape::Custom("table".into());
    jinja::render(&environment, LIMITS, syntax, escape, source, Serde(table).into()).map_err(wrong)
}

fn write(format: Format, out: &mut Output, state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    if value.is_none() {
        return Ok(());
    }
    jinja::weigh(value)?;
    let text = value.to_string();
    let raw = value.is_safe() || *state.auto_escape() == AutoEscape::None;
    let text = if raw { text } else { format.escape(&text) };
    jinja::charge(text.len() as u64)?;
    fmt::Write::write_str(out, &text).map_err(minijinja::Error::from)
}

/// Filter for blocks: lines of cells separated by tabs become aligned columns, the first to the left, the others to the
/// right. Arguments: what stands before, between and after the cells of a line.
fn columns(block: String, ends: Rest<String>) -> Result<Value, minijinja::Error> {
    let end = |index: usize| ends.get(index).map_or("", String::as_str);
    let lines: Vec<Vec<&str>> = block.lines().map(|line| line.split('\t').collect()).collect();
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    // A single wide cell widens its column in every line.
    let between = ends.iter().map(String::len).sum::<usize>() + 1;
    let line: u64 = widths.iter().map(|width| (width + between) as u64).sum();
    jinja::charge(line.saturating_mul(lines.len() as u64))?;
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        let line = format!("{}{}{}", end(0), cells.join(end(1)), end(2));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    Ok(Value::from_safe_string(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::super::{Layout, build};
    use super::*;

    fn table() -> Table {
        let layout = Layout {
            caption: "Food & more".into(),
            ours: vec!["cnsdiff".into()],
            marks: Some(marks()),
            label: "tab:food_1".into(),
            ..layout()
        };
        let mut scores = scores();
        scores.retain(|score| score.labels[2].1 != "dns" || score.labels[3].1 != "3");
        build(&layout, &scores, &[finding("rns", 0.01, Some(0.01))], &[]).unwrap()
    }

    #[test]
    fn markdown() {
        let text = render(&table(), Format::Md, None).unwrap();
        assert!(text.starts_with("**Food &amp; more.** Mean ± standard deviation over 3 seeds."), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines.len(), 6);
        // Aligned to the eye, and the same number of cells everywhere.
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
        assert!(lines.iter().all(|line| line.matches('|').count() == 6), "{text}");
        assert!(lines[2].contains("RNS") && lines[2].contains("0.0100 ± 0.0010"), "{text}");
        assert!(lines[3].contains("—"), "{text}");
        assert!(lines[4].contains("**0.0310**\\* ± 0.0010"), "{text}");
        assert!(lines[5].contains("+210.00%"), "{text}");
        assert!(text.contains("Missing (—): 4 of 12 cells"), "{text}");
    }

    #[test]
    fn latex() {
        let text = render(&table(), Format::Tex, None).unwrap();
        assert!(text.contains("\\caption[Food \\& more.]{Food \\& more. Mean \\ensuremath{\\pm}"), "{text}");
        assert!(text.contains("\\label{tab:food_1}"), "{text}");
        assert!(text.contains(" & \\multicolumn{4}{c}{Food} \\\\\n\\cmidrule(lr){2-5}"), "{text}");
        assert!(text.contains("\\textbf{0.0310}$^{*}${\\scriptsize\\,$\\pm$\\,0.0010}"), "{text}");
        assert!(text.contains("& +210.00\\% "), "{text}");
        let ends = text.lines().filter(|line| line.ends_with("\\\\")).count();
        assert_eq!(ends, 3 + 3 + 1, "{text}");
    }

    #[test]
    fn csv() {
        let text = render(&table(), Format::Csv, None).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "method,dataset,test,metric,mean,sd,n,missing,best,second,mark");
        assert_eq!(lines.len(), 1 + 12);
        assert!(lines.iter().all(|line| line.matches(',').count() == 10), "{text}");
        assert!(lines[9].starts_with("cnsdiff,food,ood,recall@20,0.03"), "{text}");
        assert!(lines[9].ends_with(",3,false,true,false,better"), "{text}");
    }

    #[test]
    fn plain_text() {
        let text = render(&table(), Format::Txt, None).unwrap();
        // One block per group of columns.
        let block = |title: &str| text.lines().skip_while(|line| !line.starts_with(title)).take(4).collect::<Vec<_>>();
        let rows = block("Food, ood");
        assert_eq!(block("Food, iid").len(), 4, "{text}");
        assert!(rows[3].starts_with("CNSDiff") && rows[3].contains("0.0310 ± 0.0010*¹"), "{text}");
        assert!(rows[1].contains("0.0100 ± 0.0010"), "{text}");
        assert!(rows[2].contains("—"), "{text}");
        assert!(!text.contains('\t'));
    }

    #[test]
    fn equal_tables_are_equal_bytes() {
        for format in Format::ALL {
            assert_eq!(render(&table(), format, None).unwrap(), render(&table(), format, None).unwrap());
        }
    }

    #[test]
    fn own_templates() {
        let own = "<% for row in rows %><< row.title >>;<% endfor %>";
        assert_eq!(render(&table(), Format::Tex, Some(own)).unwrap(), "RNS;dns;CNSDiff;");
    }

    #[test]
    fn templates_see_nothing_but_the_table() {
        for template in ["{% include '/etc/hostname' %}", "{% import 'x' as x %}", "{{ env('HOME') }}", "{{ titel }}"] {
            let message = render(&table(), Format::Md, Some(template)).unwrap_err().to_string();
            assert!(message.starts_with("the md template is wrong in line 1"), "{message}");
        }
        let endless = "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}";
        let message = render(&table(), Format::Md, Some(endless)).unwrap_err().to_string();
        assert!(message.contains("does not come to an end"), "{message}");
        let wide = "x".repeat(1_000_000);
        let wide = format!(
            "{{% filter columns %}}{wide}\t{wide}\n{{% for i in range(10000) %}}a\tb\n{{% endfor %}}{{% endfilter %}}"
        );
        assert!(render(&table(), Format::Md, Some(&wide)).is_err());
        let doubled = format!("{{% set s = 'x' %}}{}{{{{ s }}}}", "{% set s = s ~ s %}".repeat(50));
        assert!(render(&table(), Format::Md, Some(&doubled)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_label_breaks_a_table(label in "\\PC*|[\\\\&%$#_{}~^\\[\\]*\n|\"<>,a\t]*") {
            let mut table = table();
            table.rows[1].title = label.clone();
            table.rows[1].label = label.clone();
            let plain = shape(&render(&self::table(), Format::Md, None).unwrap(), '|');
            prop_assert_eq!(shape(&render(&table, Format::Md, None).unwrap(), '|'), plain);
            let plain = shape(&render(&self::table(), Format::Tex, None).unwrap(), '&');
            prop_assert_eq!(shape(&render(&table, Format::Tex, None).unwrap(), '&'), plain);
            let lines = render(&table, Format::Txt, None).unwrap().lines().count();
            prop_assert_eq!(lines, render(&self::table(), Format::Txt, None).unwrap().lines().count());
        }
    }
}
