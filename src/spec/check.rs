//! Parameters against the JSON Schema of a stage kind: every problem, in words for people, with the path of keys that
//! leads to it. Covers what schemars writes for parameter types (tagged enums, options, bounds), not all of JSON
//! Schema; the kind's own parser decides in the end.

mod types;

use serde_json::{Map, Value};

use self::types::{expected, found, is_yaml_1_1_bool, type_fits};
use super::suggest::{self, clipped};

/// Something wrong with a parameter.
#[derive(Debug, PartialEq)]
pub(super) struct ParamProblem {
    /// Keys and indices below `with`.
    pub path: Vec<String>,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
    /// Whether the key is wrong rather than its value.
    pub at_key: bool,
}

/// All problems of `value`.
pub(super) fn check(schema: &Value, value: &Value) -> Vec<ParamProblem> {
    let mut checker = Checker { root: schema, path: Vec::new(), problems: Vec::new() };
    checker.value(schema, value);
    checker.problems
}

struct Checker<'a> {
    root: &'a Value,
    path: Vec<String>,
    problems: Vec<ParamProblem>,
}

/// What an object may hold: properties of a schema and of what it refers to.
struct Shape<'a> {
    properties: Vec<&'a Map<String, Value>>,
    required: Vec<&'a str>,
    closed: bool,
    /// The schema of keys that are not listed.
    others: Option<&'a Value>,
}

impl<'a> Checker<'a> {
    fn value(&mut self, schema: &'a Value, value: &'a Value) {
        let schema = self.target(schema);
        if let Some(alternatives) = alternatives(schema) {
            self.alternatives(schema, alternatives, value);
            return;
        }
        if let Some(constant) = schema.get("const") {
            if constant != value {
                self.problem(format!("is {}", found(value)), format!("{constant} is needed"), None);
            }
            return;
        }
        if let Some(names) = schema.get("enum").and_then(Value::as_array) {
            self.choice(&names.iter().filter_map(Value::as_str).collect::<Vec<_>>(), names, value);
            return;
        }
        if !type_fits(schema, value) {
            self.wrong_type(schema, value);
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map),
            Value::Array(items) => self.list(schema, items),
            Value::Number(number) => self.bounds(schema, number.as_f64().unwrap_or(f64::NAN), value),
            Value::String(text) => {
                if let Some(least) = schema.get("minLength").and_then(Value::as_u64)
                    && (text.chars().count() as u64) < least
                {
                    self.problem("is too short".into(), format!("at least {least} characters"), None);
                }
            }
            _ => {}
        }
    }

    /// Follows a reference that stands alone.
    fn target(&self, mut schema: &'a Value) -> &'a Value {
        while let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|path| self.lookup(path)) {
            if schema.get("properties").is_some() {
                break;
            }
            schema = target;
        }
        schema
    }

    fn lookup(&self, path: &str) -> Option<&'a Value> {
        self.root.pointer(path.strip_prefix('#')?)
    }

    fn object(&mut self, schema: &'a Value, map: &'a Map<String, Value>) {
        let shape = self.shape(schema);
        let missing: Vec<&str> = shape.required.iter().copied().filter(|&name| !map.contains_key(name)).collect();
        // A misspelt key explains why the right one is missing.
        let mut meant = Vec::new();
        for (name, value) in map {
            self.path.push(name.clone());
            match (shape.properties.iter().find_map(|properties| properties.get(name)), shape.others) {
                (Some(schema), _) | (None, Some(schema)) => self.value(schema, value),
                (None, None) if shape.closed => {
                    let names = shape.properties.iter().flat_map(|properties| properties.keys()).map(String::as_str);
                    meant.extend(suggest::nearest(name, missing.iter().copied()));
                    let help = suggest::help(name, "valid here", names);
                    self.problems.push(ParamProblem {
                        path: self.path.clone(),
                        message: format!("there is no parameter `{}`", clipped(name)),
                        label: "unknown parameter".into(),
                        help: Some(help),
                        at_key: true,
                    });
                }
                (None, None) => {}
            }
            self.path.pop();
        }
        for name in missing.iter().filter(|name| !meant.contains(name)) {
            let doc =
                shape.properties.iter().find_map(|properties| properties.get(*name)?.get("description")?.as_str());
            self.problems.push(ParamProblem {
                path: self.path.clone(),
                message: format!("the parameter `{name}` is missing"),
                label: format!("needs `{name}`"),
                help: doc.map(|doc| format!("`{name}`: {doc}")),
                at_key: true,
            });
        }
    }

    fn shape(&self, schema: &'a Value) -> Shape<'a> {
        let mut shape = Shape { properties: Vec::new(), required: Vec::new(), closed: false, others: None };
        let mut open = vec![schema];
        while let Some(schema) = open.pop() {
            shape.properties.extend(schema.get("properties").and_then(Value::as_object));
            let required = schema.get("required").and_then(Value::as_array);
            shape.required.extend(required.into_iter().flatten().filter_map(Value::as_str));
            for key in ["additionalProperties", "unevaluatedProperties"] {
                match schema.get(key) {
                    Some(Value::Bool(false)) => shape.closed = true,
                    Some(others @ Value::Object(_)) => shape.others = Some(others),
                    _ => {}
                }
            }
            open.extend(schema.get("$ref").and_then(Value::as_str).and_then(|path| self.lookup(path)));
            open.extend(schema.get("allOf").and_then(Value::as_array).into_iter().flatten());
        }
        shape
    }

    fn list(&mut self, schema: &'a Value, items: &'a [Value]) {
        let prefix = schema.get("prefixItems").and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let schema = prefix.and_then(|prefix| prefix.get(index)).or_else(|| schema.get("items"));
            if let Some(schema) = schema {
                self.path.push(index.to_string());
                self.value(schema, item);
                self.path.pop();
            }
        }
        let count = items.len() as u64;
        if let Some(least) = schema.get("minItems").and_then(Value::as_u64).filter(|&least| count < least) {
            self.problem(format!("has {count} items"), format!("at least {least} are needed"), None);
        }
        if let Some(most) = schema.get("maxItems").and_then(Value::as_u64).filter(|&most| count > most) {
            self.problem(format!("has {count} items"), format!("at most {most} fit"), None);
        }
    }

    fn bounds(&mut self, schema: &Value, number: f64, value: &Value) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let broken = [
            (bound("minimum"), "at least", number < bound("minimum").unwrap_or(f64::MIN)),
            (bound("maximum"), "at most", number > bound("maximum").unwrap_or(f64::MAX)),
            (bound("exclusiveMinimum"), "more than", number <= bound("exclusiveMinimum").unwrap_or(f64::NEG_INFINITY)),
            (bound("exclusiveMaximum"), "less than", number >= bound("exclusiveMaximum").unwrap_or(f64::INFINITY)),
        ];
        for (bound, word, broken) in broken {
            if let (Some(bound), true) = (bound, broken) {
                self.problem(format!("is {value}"), format!("{word} {bound} is needed"), None);
            }
        }
    }

    fn choice(&mut self, names: &[&str], all: &[Value], value: &Value) {
        if all.contains(value) {
            return;
        }
        let given = value.as_str().unwrap_or_default();
        let help = suggest::help(given, "choices", names.iter().copied());
        self.no_choice(found(value), help);
    }

    /// `oneOf` and `anyOf`: options, tagged enums, enums of names.
    fn alternatives(&mut self, schema: &'a Value, alternatives: &'a [Value], value: &'a Value) {
        let resolved = self.flattened(alternatives);
        if let Value::Object(map) = value {
            if let Some(tag) = tag(&resolved) {
                self.tagged(schema, &resolved, tag, map);
                return;
            }
            if let (Some(names), 1) = (variants(&resolved), map.len()) {
                let key = map.keys().next().map_or("", String::as_str);
                match resolved.iter().find(|schema| schema["properties"].get(key).is_some()) {
                    Some(schema) => self.value(schema, value),
                    None => {
                        let help = suggest::help(key, "choices", names.iter().copied());
                        self.no_choice(format!("`{key}`"), help);
                    }
                }
                return;
            }
        }
        let fits: Vec<&&Value> = resolved.iter().filter(|schema| type_fits(schema, value)).collect();
        match (fits.as_slice(), value) {
            (_, Value::String(_)) if !names(&resolved).is_empty() => {
                let names = names(&resolved);
                let all: Vec<Value> = names.iter().map(|&name| name.into()).collect();
                if !fits.iter().any(|schema| schema.get("const").is_none() && schema.get("enum").is_none()) {
                    self.choice(&names, &all, value);
                }
            }
            ([], _) => {
                let expected: Vec<String> = resolved.iter().map(|schema| expected(schema)).collect();
                self.mismatch(&expected.join(" or "), value);
            }
            ([schema], _) => self.value(schema, value),
            (several, _) => {
                // No tag tells which one was meant: the one with the fewest problems.
                let checked = several.iter().map(|schema| {
                    let mut checker = Checker { root: self.root, path: self.path.clone(), problems: Vec::new() };
                    checker.value(schema, value);
                    checker.problems
                });
                self.problems.extend(checked.min_by_key(Vec::len).unwrap_or_default());
            }
        }
    }

    /// Alternatives of alternatives, such as an optional choice or one with a short spelling, stand side by side.
    fn flattened(&self, outer: &'a [Value]) -> Vec<&'a Value> {
        let targets = outer.iter().map(|schema| self.target(schema));
        targets
            .flat_map(|schema| match alternatives(schema) {
                Some(inner) if schema.get("properties").is_none() => self.flattened(inner),
                _ => vec![schema],
            })
            .collect()
    }

    fn tagged(&mut self, outer: &'a Value, alternatives: &[&'a Value], tag: &str, map: &'a Map<String, Value>) {
        let constant = |schema: &'a Value| schema["properties"][tag]["const"].as_str();
        let names: Vec<&str> = alternatives.iter().filter_map(|schema| constant(schema)).collect();
        let Some(given) = map.get(tag) else {
            let message = format!("the parameter `{tag}` is missing");
            let help = format!("`{tag}` is one of: {}", suggest::listed(names));
            let (path, label) = (self.path.clone(), format!("needs `{tag}`"));
            self.problems.push(ParamProblem { path, message, label, help: Some(help), at_key: true });
            return;
        };
        match alternatives.iter().find(|schema| constant(schema).is_some_and(|name| given == name)) {
            Some(schema) => {
                let shape = self.shape(schema);
                let common = outer.get("properties").and_then(Value::as_object);
                // Properties beside `oneOf` belong to every alternative.
                let known = |name: &String| common.is_some_and(|common| common.contains_key(name));
                if shape.closed && !map.keys().any(known) {
                    self.object(schema, map);
                } else {
                    let own = map.iter().filter(|(name, _)| shape.properties.iter().any(|p| p.contains_key(*name)));
                    for (name, value) in own {
                        self.path.push(name.clone());
                        if let Some(schema) = shape.properties.iter().find_map(|properties| properties.get(name)) {
                            self.value(schema, value);
                        }
                        self.path.pop();
                    }
                }
            }
            None => {
                self.path.push(tag.to_owned());
                let all: Vec<Value> = names.iter().map(|&name| name.into()).collect();
                self.choice(&names, &all, given);
                self.path.pop();
            }
        }
    }

    fn wrong_type(&mut self, schema: &Value, value: &Value) {
        self.mismatch(&expected(schema), value);
    }

    fn mismatch(&mut self, expected: &str, value: &Value) {
        let help = match value {
            Value::String(text) if expected.contains("true or false") && is_yaml_1_1_bool(text) => {
                Some(format!("YAML 1.2 reads `{text}` as text; write `true` or `false`"))
            }
            Value::String(text) if expected.contains("number") || expected.contains("integer") => {
                let digits = clipped(&text.replace('_', ""));
                let number = digits.parse::<f64>().is_ok_and(f64::is_finite);
                number.then(|| format!("write {digits}, without quotes and separators"))
            }
            Value::Number(number) if expected.contains("integer") && number.is_f64() => {
                Some("in an expression, `//` divides to an integer and `| int` cuts the fraction off".to_owned())
            }
            Value::Number(_) | Value::Bool(_) if expected.contains("text") => {
                Some(format!("to mean the text, quote it: \"{value}\""))
            }
            _ => None,
        };
        self.problem(format!("is {}", found(value)), format!("{expected} is needed"), help);
    }

    fn no_choice(&mut self, found: String, help: String) {
        let message = format!("{} is {found}, which is not one of the choices", self.subject());
        let label = "not one of the choices".to_owned();
        self.problems.push(ParamProblem { path: self.path.clone(), message, label, help: Some(help), at_key: false });
    }

    fn problem(&mut self, is: String, label: String, help: Option<String>) {
        let message = format!("{} {is}, but {label}", self.subject());
        self.problems.push(ParamProblem { path: self.path.clone(), message, label, help, at_key: false });
    }

    /// The value that is being looked at; people count from one.
    fn subject(&self) -> String {
        let index = self.path.last().and_then(|name| name.parse::<usize>().ok());
        match (self.path.as_slice(), index) {
            ([], _) => "`with`".to_owned(),
            ([.., list, _], Some(index)) => format!("item {} of `{list}`", index + 1),
            ([.., name], _) => format!("`{}`", clipped(name)),
        }
    }
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array).map(Vec::as_slice)
}

/// The property that is a constant in every alternative that is a map.
fn tag<'a>(alternatives: &[&'a Value]) -> Option<&'a str> {
    let mut maps = alternatives.iter().filter_map(|schema| schema.get("properties").and_then(Value::as_object));
    let constants = maps.next()?.iter().filter(|(_, schema)| schema.get("const").is_some());
    let rest: Vec<_> = maps.collect();
    let shared =
        |name: &String| rest.iter().all(|map| map.get(name).is_some_and(|schema| schema.get("const").is_some()));
    constants.map(|(name, _)| name).find(|name| shared(name)).map(String::as_str)
}

/// The names of an externally tagged enum: every alternative is a name or a map with one required key.
fn variants<'a>(alternatives: &[&'a Value]) -> Option<Vec<&'a str>> {
    let mut all = names(alternatives);
    for schema in alternatives.iter().filter(|schema| schema.get("properties").is_some()) {
        match schema["required"].as_array().map(Vec::as_slice) {
            Some([Value::String(name)]) if schema["properties"].as_object().is_some_and(|map| map.len() == 1) => {
                all.push(name);
            }
            _ => return None,
        }
    }
    (!all.is_empty()).then_some(all)
}

/// The texts that alternatives allow.
fn names<'a>(alternatives: &[&'a Value]) -> Vec<&'a str> {
    let listed = |schema: &&'a Value| {
        let several = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        several.iter().chain(schema.get("const")).filter_map(Value::as_str).collect::<Vec<_>>()
    };
    alternatives.iter().flat_map(listed).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(schema: &Value, value: Value) -> Vec<String> {
        check(schema, &value).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn choices_are_names_or_maps_with_one_name_and_may_be_optional() {
        let schema = json!({
            "$defs": {"Layers": {"type": "object", "additionalProperties": false, "properties": {"layers": {"type": "integer"}}}},
            "anyOf": [
                {"enum": ["mf", "lightgcn"]},
                {"oneOf": [
                    {"type": "object", "required": ["mf"], "properties": {"mf": {"type": "object"}}},
                    {"type": "object", "required": ["lightgcn"], "properties": {"lightgcn": {"$ref": "#/$defs/Layers"}}},
                ]},
                {"type": "null"},
            ],
        });
        for sound in [json!("mf"), json!({"mf": {}}), json!({"lightgcn": {"layers": 2}}), json!(null)] {
            assert_eq!(messages(&schema, sound.clone()), Vec::<String>::new(), "{sound}");
        }
        assert_eq!(messages(&schema, json!("mv")), ["`with` is the text `mv`, which is not one of the choices"]);
        assert_eq!(messages(&schema, json!({"mff": {}})), ["`with` is `mff`, which is not one of the choices"]);
        assert_eq!(messages(&schema, json!({"lightgcn": {"layer": 2}})), ["there is no parameter `layer`"]);
        assert_eq!(
            messages(&schema, json!({"lightgcn": {"layers": 2.5}})),
            ["`layers` is the number 2.5, but an integer is needed"]
        );
        assert_eq!(messages(&schema, json!(3)).len(), 1);
    }
}
