//! Stage keys and their explanation. Both are written by one traversal of the key's material, so that whatever
//! enters the key can be shown, and whatever is shown has entered the key.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::digest::Digest;

/// To be bumped when the encoding below changes.
const FORMAT: u32 = 1;

/// What a key is made of, for people: the path of each field and its value.
pub type Fields = Vec<(String, String)>;

/// Everything that a stage's result depends on. Not its name, not file times, not thread counts.
#[derive(Clone, Debug)]
pub struct KeyMaterial<'a> {
    pub kind: &'a str,
    pub kind_version: u32,
    /// Canonical parameters, defaults written out. Paths of raw files are not among them: their bytes are, as `files`.
    pub params: Cow<'a, Value>,
    /// In the order of the kind's ports, then of their sources.
    pub inputs: Vec<InputMaterial<'a>>,
    /// Identities of raw files, such as `blake3:<hex>`, in the kind's order.
    pub files: Vec<String>,
    /// Name and version of the parts of the code that the parameters choose.
    pub components: Vec<(String, u32)>,
    /// Name and value of the parts of the environment that the kind declares.
    pub facets: Vec<(&'static str, String)>,
}

/// What one source brings to one port.
#[derive(Clone, Debug)]
pub struct InputMaterial<'a> {
    pub port: &'a str,
    /// The source's labels, for ports that take many (their results name the labels); else absent.
    pub labels: Option<&'a [(String, String)]>,
    /// Name and content of each artifact.
    pub artifacts: Vec<(&'a str, Digest)>,
}

/// A field's value.
enum Leaf<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    Digest(Digest),
    /// Opens a list or map of this many elements.
    List(usize),
    Map(usize),
}

/// One step of the path to a field.
#[derive(Clone, Copy)]
enum PathStep<'a> {
    Name(&'a str),
    Index(usize),
    /// A source of a port, told apart by its labels.
    Labels(&'a [(String, String)]),
}

/// Receives the fields of a key in a fixed order, as a bracketed sequence.
trait FieldSink {
    fn enter(&mut self, step: PathStep);
    fn leaf(&mut self, leaf: Leaf);
    fn leave(&mut self);
}

impl KeyMaterial<'_> {
    /// The stage key: BLAKE3 over an unambiguous encoding of every field.
    pub fn key(&self) -> Digest {
        let mut writer = KeyWriter(blake3::Hasher::new_derive_key("cnsdiff-pipe stage key"));
        self.visit(&mut writer);
        writer.0.finalize().into()
    }

    /// The same fields for people: path and value, in the order in which they enter the key.
    pub fn fields(&self) -> Fields {
        let mut writer = FieldWriter::default();
        self.visit(&mut writer);
        writer.fields
    }

    fn visit(&self, sink: &mut dyn FieldSink) {
        field(sink, "format", Leaf::Integer(FORMAT.into()));
        field(sink, "kind", Leaf::Text(self.kind));
        field(sink, "kind_version", Leaf::Integer(self.kind_version.into()));
        if !self.components.is_empty() {
            within(sink, PathStep::Name("components"), |sink| {
                sink.leaf(Leaf::List(self.components.len()));
                self.components.iter().for_each(|(name, version)| field(sink, name, Leaf::Integer((*version).into())));
            });
        }
        within(sink, PathStep::Name("with"), |sink| value(sink, &self.params));
        within(sink, PathStep::Name("needs"), |sink| {
            sink.leaf(Leaf::List(self.inputs.len()));
            for input in &self.inputs {
                within(sink, PathStep::Name(input.port), |sink| match input.labels {
                    Some(labels) => within(sink, PathStep::Labels(labels), |sink| artifacts(sink, input)),
                    None => artifacts(sink, input),
                });
            }
        });
        within(sink, PathStep::Name("files"), |sink| {
            sink.leaf(Leaf::List(self.files.len()));
            for (index, file) in self.files.iter().enumerate() {
                within(sink, PathStep::Index(index), |sink| sink.leaf(Leaf::Text(file)));
            }
        });
        within(sink, PathStep::Name("environment"), |sink| {
            sink.leaf(Leaf::List(self.facets.len()));
            self.facets.iter().for_each(|(name, value)| field(sink, name, Leaf::Text(value)));
        });
    }
}

fn within(sink: &mut dyn FieldSink, step: PathStep, body: impl FnOnce(&mut dyn FieldSink)) {
    sink.enter(step);
    body(sink);
    sink.leave();
}

fn field(sink: &mut dyn FieldSink, name: &str, leaf: Leaf) {
    within(sink, PathStep::Name(name), |sink| sink.leaf(leaf));
}

fn artifacts(sink: &mut dyn FieldSink, input: &InputMaterial) {
    sink.leaf(Leaf::List(input.artifacts.len()));
    input.artifacts.iter().for_each(|(name, digest)| field(sink, name, Leaf::Digest(*digest)));
}

fn value(sink: &mut dyn FieldSink, json: &Value) {
    match json {
        Value::Null => sink.leaf(Leaf::Null),
        Value::Bool(bool) => sink.leaf(Leaf::Bool(*bool)),
        Value::String(text) => sink.leaf(Leaf::Text(text)),
        Value::Number(number) => sink.leaf(match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), _, _) => Leaf::Integer(integer.into()),
            (_, Some(integer), _) => Leaf::Integer(integer.into()),
            (_, _, float) => Leaf::Float(float.unwrap_or(f64::NAN)),
        }),
        Value::Array(items) => {
            sink.leaf(Leaf::List(items.len()));
            for (index, item) in items.iter().enumerate() {
                within(sink, PathStep::Index(index), |sink| value(sink, item));
            }
        }
        Value::Object(map) => {
            sink.leaf(Leaf::Map(map.len()));
            // Sorted here, so that keys never depend on how the map happens to be stored.
            for (name, item) in map.iter().collect::<BTreeMap<_, _>>() {
                within(sink, PathStep::Name(name), |sink| value(sink, item));
            }
        }
    }
}

/// Hashes a prefix-free encoding: every step and leaf starts with a tag of its type; texts carry their length.
struct KeyWriter(blake3::Hasher);

impl KeyWriter {
    fn put(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update(&[tag]).update(bytes);
    }

    fn text(&mut self, tag: u8, text: &str) {
        self.put(tag, &(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }
}

impl FieldSink for KeyWriter {
    fn enter(&mut self, step: PathStep) {
        match step {
            PathStep::Name(name) => self.text(b'n', name),
            PathStep::Index(index) => self.put(b'i', &(index as u64).to_le_bytes()),
            PathStep::Labels(labels) => {
                self.put(b'l', &(labels.len() as u64).to_le_bytes());
                for (axis, label) in labels {
                    self.text(b'a', axis);
                    self.text(b'v', label);
                }
            }
        }
    }

    fn leaf(&mut self, leaf: Leaf) {
        match leaf {
            Leaf::Null => self.put(b'0', &[]),
            Leaf::Bool(bool) => self.put(b'b', &[bool.into()]),
            Leaf::Integer(integer) => self.put(b'z', &integer.to_le_bytes()),
            Leaf::Float(float) => self.put(b'f', &float.to_bits().to_le_bytes()),
            Leaf::Text(text) => self.text(b't', text),
            Leaf::Digest(digest) => self.put(b'd', digest.as_bytes()),
            Leaf::List(count) => self.put(b'[', &(count as u64).to_le_bytes()),
            Leaf::Map(count) => self.put(b'{', &(count as u64).to_le_bytes()),
        }
    }

    fn leave(&mut self) {
        self.put(b'.', &[]);
    }
}

/// Writes fields as `with.sampler.kind` and a text. Lists and maps show by their elements unless empty.
#[derive(Default)]
struct FieldWriter {
    path: String,
    /// Length of `path` before each step.
    starts: Vec<usize>,
    fields: Vec<(String, String)>,
}

impl FieldSink for FieldWriter {
    fn enter(&mut self, step: PathStep) {
        self.starts.push(self.path.len());
        match step {
            PathStep::Name(name) => {
                if !self.path.is_empty() {
                    self.path.push('.');
                }
                self.path.push_str(name);
            }
            PathStep::Index(index) => self.path.push_str(&format!("[{index}]")),
            PathStep::Labels(labels) => {
                let labels: Vec<String> = labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect();
                self.path.push_str(&format!("[{}]", labels.join(",")));
            }
        }
    }

    fn leaf(&mut self, leaf: Leaf) {
        let text = match leaf {
            Leaf::Null => "null".to_owned(),
            Leaf::Bool(bool) => bool.to_string(),
            Leaf::Integer(integer) => integer.to_string(),
            Leaf::Float(float) => format!("{float:?}"),
            Leaf::Text(text) => Value::from(text).to_string(),
            Leaf::Digest(digest) => digest.to_string(),
            Leaf::List(0) => "[]".to_owned(),
            Leaf::Map(0) => "{}".to_owned(),
            Leaf::List(_) | Leaf::Map(_) => return,
        };
        self.fields.push((self.path.clone(), text));
    }

    fn leave(&mut self) {
        self.path.truncate(self.starts.pop().unwrap_or(0));
    }
}

/// A field that differs between two keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub field: String,
    /// Absent: the field is new.
    pub old: Option<String>,
    /// Absent: the field is gone.
    pub new: Option<String>,
}

/// What differs between the fields of two keys: changed and new fields in the new order, then those that are gone.
pub fn diff(old: &[(String, String)], new: &[(String, String)]) -> Vec<Change> {
    let before: BTreeMap<&str, &str> = old.iter().map(|(field, text)| (field.as_str(), text.as_str())).collect();
    let after: BTreeMap<&str, &str> = new.iter().map(|(field, text)| (field.as_str(), text.as_str())).collect();
    let changed =
        new.iter().filter(|(field, text)| before.get(field.as_str()) != Some(&text.as_str())).map(|(field, text)| {
            Change {
                field: field.clone(),
                old: before.get(field.as_str()).map(|&text| text.to_owned()),
                new: Some(text.clone()),
            }
        });
    let gone = old.iter().filter(|(field, _)| !after.contains_key(field.as_str())).map(|(field, text)| Change {
        field: field.clone(),
        old: Some(text.clone()),
        new: None,
    });
    changed.chain(gone).collect()
}
