//! Delimited text, such as CSV or TSV: any separator, with or without a header, columns by name or by number. Fields may
//! be quoted (RFC 4180), and then hold separators and line ends.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use memchr::memchr;
use memchr::memmem::Finder;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::byte_scan::ByteScan;
use super::lines::{LineFormat, Lines};
use super::{Block, FormatError, Row, RowSink, Scan, weight};
use crate::data::ids::TooManyKeys;
use crate::data::time::TimeUnit;

/// Delimited text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delimited {
    /// What stands between fields, such as `,`, a tab, or `::`.
    #[serde(default = "comma")]
    pub separator: String,
    /// Whether the first line names the columns. A first line that says otherwise is refused.
    #[serde(default = "yes")]
    pub header: bool,
    /// Whether fields may be quoted by `"`, and then hold separators and line ends; nothing may follow the closing quote. If
    /// not, `"` is like any other character.
    #[serde(default = "yes")]
    pub quoted: bool,
    /// Lines that start with this are passed over.
    #[serde(default)]
    pub comment: Option<String>,
    pub columns: TextColumns,
    /// How times are written.
    #[serde(default)]
    pub time_unit: TimeUnit,
}

/// Which column is what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextColumns {
    pub user: ColumnRef,
    pub item: ColumnRef,
    #[serde(default)]
    pub time: Option<ColumnRef>,
    /// A rating, watch ratio or count.
    #[serde(default)]
    pub weight: Option<ColumnRef>,
}

/// A column by name, or by number from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnRef {
    Name(String),
    Number(u64),
}

fn comma() -> String {
    ",".to_owned()
}

fn yes() -> bool {
    true
}

impl Delimited {
    pub(super) fn mistake(&self) -> Option<String> {
        if self.separator.is_empty() || self.separator.contains(['"', '\n', '\r']) {
            return Some("the separator must be at least one character, and neither a quote nor a line end".to_owned());
        }
        self.comment.as_ref().filter(|comment| comment.is_empty()).map(|_| "`comment` must not be empty".to_owned())
    }

    pub(super) fn read(&self, path: &Path, stream: impl Read + Send, sink: RowSink) -> Result<Scan, FormatError> {
        self.read_lines(path, Lines::new(path, stream)?, sink)
    }

    /// Reads what is left of a text.
    pub(super) fn read_lines(&self, path: &Path, mut lines: Lines, sink: RowSink) -> Result<Scan, FormatError> {
        if self.quoted {
            lines = lines.quoted(&self.separator, self.comment.as_deref());
        }
        let first = loop {
            match lines.next_line()? {
                None => return Ok(Scan::default()),
                Some(line) if self.is_comment(&line) => {}
                Some(line) => break line,
            }
        };
        let mut bound = self.bind(path, &first)?;
        let next = lines.peek().filter(|line| !self.is_comment(line));
        let mut supposed_header = None;
        match (self.header, bound.seems(&first, next)) {
            (true, FirstLine::Data) => {
                let line = super::cut(&first);
                let help = "say `header: false`, or give the columns by their names";
                let reason =
                    format!("the first line, which `header: true` takes for names, holds data: `{line}`; {help}");
                return Err(FormatError::read(path, reason));
            }
            (true, FirstLine::Either) => supposed_header = Some(super::cut(&first)),
            (true, FirstLine::Names) => {}
            (false, seems) => {
                bound.names = Some(first).filter(|_| seems == FirstLine::Names);
                lines.put_back();
            }
        }
        let scan = lines.read_timed(&bound, self.time_unit, sink)?;
        Ok(Scan { supposed_header, ..scan })
    }

    fn is_comment(&self, line: &str) -> bool {
        self.comment.as_deref().is_some_and(|comment| line.starts_with(comment))
    }

    /// Finds the columns in the first line.
    fn bind(&self, path: &Path, first: &str) -> Result<BoundColumns<'_>, FormatError> {
        let finder = Finder::new(&self.separator);
        let fields = fields(first, &finder, self.quoted).map_err(|reason| FormatError::read(path, reason))?;
        let names: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let index = |column: &ColumnRef| {
            let found = match column {
                ColumnRef::Name(name) => self.header.then(|| names.iter().position(|own| own == name)).flatten(),
                ColumnRef::Number(number) => {
                    usize::try_from(*number).ok().and_then(|number| number.checked_sub(1)).filter(|&i| i < names.len())
                }
            };
            found.ok_or_else(|| FormatError::NoColumn {
                path: path.to_owned(),
                column: column.to_string(),
                found: if self.header {
                    names.iter().map(|name| (*name).to_owned()).collect()
                } else {
                    (1..=names.len()).map(|number| number.to_string()).collect()
                },
            })
        };
        let mut places = vec![UNREAD; names.len()];
        let mut next = 0..UNREAD;
        let mut place = |column: &ColumnRef| -> Result<usize, FormatError> {
            let place = &mut places[index(column)?];
            // Two of them may be one column.
            if *place == UNREAD {
                *place = next.next().unwrap_or(UNREAD);
            }
            Ok(*place)
        };
        let (user, item) = (place(&self.columns.user)?, place(&self.columns.item)?);
        let time = self.columns.time.as_ref().map(&mut place).transpose()?;
        let weight = self.columns.weight.as_ref().map(&mut place).transpose()?;
        Ok(BoundColumns { format: self, finder, places, user, item, time, weight, names: None })
    }
}

/// The place of fields that nobody asks for, after those of user, item, time and weight.
const UNREAD: usize = 4;

/// The format of a file whose columns are known.
struct BoundColumns<'a> {
    format: &'a Delimited,
    finder: Finder<'a>,
    /// For each column the place at which its field is kept while a line is read.
    places: Vec<usize>,
    user: usize,
    item: usize,
    time: Option<usize>,
    weight: Option<usize>,
    /// A line that names the columns of a file which is said to have no header.
    names: Option<String>,
}

/// What a first line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLine {
    Names,
    Data,
    Either,
}

impl LineFormat for BoundColumns<'_> {
    fn line(&self, line: &str, emit: &mut dyn FnMut(Row<'_>)) -> Result<(), String> {
        if self.format.is_comment(line) {
            return Ok(());
        }
        if self.names.as_deref() == Some(line) {
            return Err("it names the columns, as it seems: say `header: true`".to_owned());
        }
        let mut quoted = false;
        let mut look = |field: &&str| quoted |= field.starts_with('"');
        let places = self.finder.find_iter(line.as_bytes());
        let row = self.row_of(split(line, places, self.format.separator.len()).inspect(&mut look));
        if quoted && self.format.quoted {
            let fields = fields(line, &self.finder, true)?;
            return self.row_of(fields.iter().map(|field| &**field)).map(emit);
        }
        row.map(emit)
    }

    fn plain_lines(&self, text: &str, block: &mut Block) -> Result<(usize, u64), TooManyKeys> {
        let (mut start, mut lines) = (0, 0);
        let &[separator] = self.format.separator.as_bytes() else { return Ok((start, lines)) };
        if self.format.comment.is_some() || self.names.is_some() {
            return Ok((start, lines));
        }
        let mut separators = ByteScan::new(text.as_bytes(), [separator, b'\n']);
        let last = self.places.len() - 1;
        loop {
            let (mut fields, mut at) = ([""; UNREAD + 1], start);
            for (index, &place) in self.places.iter().enumerate() {
                let Some(end) = separators.next() else { return Ok((start, lines)) };
                if (text.as_bytes()[end] == b'\n') != (index == last) {
                    return Ok((start, lines));
                }
                fields[place] = &text[at..end];
                at = end + 1;
            }
            let Ok(row) = self.row(fields) else { return Ok((start, lines)) };
            block.push(row)?;
            (start, lines) = (at, lines + 1);
        }
    }
}

impl BoundColumns<'_> {
    /// Whether the first line names columns or holds data, by what stands where times and weights are expected, else by
    /// the keys in it and in the line after it. Columns that are given by name, and were found, are named there.
    fn seems(&self, first: &str, next: Option<&str>) -> FirstLine {
        let TextColumns { user, item, time, weight: rating } = &self.format.columns;
        let mut columns = [Some(user), Some(item), time.as_ref(), rating.as_ref()].into_iter().flatten();
        if columns.any(|column| matches!(column, ColumnRef::Name(_))) {
            return FirstLine::Names;
        }
        let Some(read) = self.asked_for(first) else { return FirstLine::Either };
        let keys = |read: &[String], fits: fn(&u8) -> bool| {
            [self.user, self.item]
                .iter()
                .all(|&place| !read[place].is_empty() && read[place].as_bytes().iter().all(fits))
        };
        let words = |place: usize| read[place].contains(char::is_alphabetic);
        let time_fits = self.time.is_some_and(|place| self.format.time_unit.parse(&read[place]).is_ok());
        let weight_fits = self.weight.is_some_and(|place| weight(&read[place]).is_ok());
        let mut numbers = self.time.into_iter().chain(self.weight).peekable();
        if time_fits || weight_fits || keys(&read, u8::is_ascii_digit) {
            FirstLine::Data
        } else if numbers.peek().is_some() {
            if numbers.all(words) { FirstLine::Names } else { FirstLine::Either }
        } else {
            let counted =
                next.and_then(|next| self.asked_for(next)).is_some_and(|next| keys(&next, u8::is_ascii_digit));
            if counted && keys(&read, |byte| !byte.is_ascii_digit()) { FirstLine::Names } else { FirstLine::Either }
        }
    }

    /// The fields of a line that are asked for, by their places.
    fn asked_for(&self, line: &str) -> Option<[String; UNREAD]> {
        let mut read: [String; UNREAD] = Default::default();
        for (field, &place) in fields(line, &self.finder, self.format.quoted).ok()?.iter().zip(&self.places) {
            if let Some(read) = read.get_mut(place) {
                field.trim().clone_into(read);
            }
        }
        Some(read)
    }

    fn row_of<'a>(&self, fields: impl Iterator<Item = &'a str>) -> Result<Row<'a>, String> {
        let (mut read, mut width) = ([""; UNREAD + 1], 0);
        for field in fields {
            if let Some(&place) = self.places.get(width) {
                read[place] = field;
            }
            width += 1;
        }
        if width != self.places.len() {
            return Err(format!("{width} fields instead of {}", self.places.len()));
        }
        self.row(read)
    }

    /// The row of the fields at the places of user, item, time and weight.
    #[inline(always)] // The row is then not put together in memory, only to be taken apart again.
    fn row<'a>(&self, read: [&'a str; UNREAD + 1]) -> Result<Row<'a>, String> {
        let known = |place: usize, missing: &'static str| {
            let field = read[place].trim_ascii();
            if field.is_empty() { Err(missing.to_owned()) } else { Ok(field) }
        };
        Ok(Row {
            user: known(self.user, "no user")?,
            item: known(self.item, "no item")?,
            time: match self.time {
                Some(place) => Some(self.format.time_unit.parse(known(place, "no time")?)?),
                None => None,
            },
            weight: match self.weight {
                Some(place) => Some(weight(known(place, "no weight")?)?),
                None => None,
            },
        })
    }
}

/// The fields between separators of `width` bytes at `places`.
fn split(line: &str, places: impl Iterator<Item = usize>, width: usize) -> impl Iterator<Item = &str> {
    let mut start = 0;
    places.chain([line.len()]).map(move |end| {
        let field = &line[start..end];
        start = end + width;
        field
    })
}

const AFTER_QUOTE: &str = "text follows a closing quote; if quotes are ordinary characters there, say `quoted: false`";
const OPEN_QUOTE: &str = "a quote is not closed; if quotes are ordinary characters there, say `quoted: false`";

/// All fields of a record, without their quotes (RFC 4180).
fn fields<'a>(record: &'a str, separator: &Finder, quoted: bool) -> Result<Vec<Cow<'a, str>>, String> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (mut field, mut was_quoted) = (Cow::Borrowed(""), false);
        if let Some(inside) = rest.strip_prefix('"').filter(|_| quoted) {
            let end = closing_quote(inside.as_bytes()).ok_or(OPEN_QUOTE)?;
            field = Cow::Borrowed(&inside[..end]);
            if field.contains('"') {
                field = field.replace("\"\"", "\"").into();
            }
            rest = &inside[end + 1..];
            was_quoted = true;
        }
        let end = separator.find(rest.as_bytes());
        let plain = &rest[..end.unwrap_or(rest.len())];
        if !was_quoted {
            field = Cow::Borrowed(plain);
        } else if !plain.trim_ascii().is_empty() {
            return Err(AFTER_QUOTE.to_owned());
        }
        fields.push(field);
        match end {
            Some(end) => rest = &rest[end + separator.needle().len()..],
            None => return Ok(fields),
        }
    }
}

/// Where a quoted field ends, of what follows its opening quote. Two quotes stand for one.
pub(super) fn closing_quote(inside: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + memchr(b'"', &inside[from..])?;
        if inside.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

impl std::fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Serialize for ColumnRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Number(number) => serializer.serialize_u64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for ColumnRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ColumnRef;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a column, or its number from 1")
            }

            fn visit_str<E>(self, name: &str) -> Result<ColumnRef, E> {
                Ok(ColumnRef::Name(name.to_owned()))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<ColumnRef, E> {
                if number == 0 {
                    return Err(E::invalid_value(serde::de::Unexpected::Unsigned(0), &self));
                }
                Ok(ColumnRef::Number(number))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ColumnRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Column".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a column, or its number from 1.",
            "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 1, "maximum": 65_536 }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_count_only_where_a_field_begins() {
        let fields = |line| fields(line, &Finder::new(","), true);
        assert_eq!(
            fields("5\",\"a,b\",the \"weird\" al,\"c\"\"d\" ").unwrap(),
            ["5\"", "a,b", "the \"weird\" al", "c\"d"]
        );
        assert_eq!(fields("1,\"weird al\" yankovic,2"), Err(AFTER_QUOTE.to_owned()));
        assert_eq!(fields("1,\"\"weird\"\",2"), Err(AFTER_QUOTE.to_owned()));
        assert_eq!(fields("1,\"weird,2"), Err(OPEN_QUOTE.to_owned()));
    }
}
