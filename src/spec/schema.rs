//! The JSON Schema of a pipeline file: the keys of the language and the parameters of every stage kind, so that editors
//! complete and check what people write.

use serde_json::{Map, Value, json};

use super::keys;
use super::kind::{KindSpec, KindTable};

/// JSON Schema (draft 2020-12) of a pipeline file, for editors. Parameters may be templates wherever they stand, and
/// may be completed by overrides: a file that fits the schema can still be wrong, but not the other way round.
pub fn schema(kinds: &dyn KindTable) -> Value {
    let kinds = kinds.kinds();
    let mut definitions = Map::new();
    let mut cases = Vec::new();
    for kind in &kinds {
        let name = format!("with.{}", kind.name);
        cases.push(json!({
            "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
            "then": {"properties": {"with": {"$ref": format!("#/$defs/{name}")}, "needs": needs(kind)}},
        }));
        let mut parameters = templated(&kind.schema, &name);
        if let Some(Value::Object(inner)) = parameters.as_object_mut().and_then(|map| map.remove("$defs")) {
            definitions.extend(inner.into_iter().map(|(inner, schema)| (format!("{name}.{inner}"), schema)));
        }
        if let Some(map) = parameters.as_object_mut() {
            map.remove("$schema");
            map.remove("title");
        }
        definitions.insert(name, or_template(parameters));
    }
    let mut stage = keys::object(keys::STAGE, &["kind"]);
    let listed = kinds.iter().map(|kind| json!({"const": kind.name, "description": kind.doc}));
    stage["properties"]["kind"] = json!({"description": "What the stage does.", "oneOf": listed.collect::<Vec<_>>()});
    stage["allOf"] = Value::Array(cases);
    definitions.insert("stage".to_owned(), stage);
    let mut root = keys::object(keys::TOP, &["pipeline"]);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Pipeline of cnsdiff-pipe".into();
    root["$defs"] = Value::Object(definitions);
    root
}

fn needs(kind: &KindSpec) -> Value {
    let ports = kind.ports.iter().map(|port| (port.name.to_owned(), json!({"description": port.doc})));
    json!({"properties": ports.collect::<Map<_, _>>(), "additionalProperties": false})
}

fn or_template(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "string", "pattern": "\\{\\{"}]})
}

/// A kind's schema in which every value may be a template instead, nothing is required, and references lead to the
/// definitions below `name`.
fn templated(schema: &Value, name: &str) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    let mut result = Map::new();
    for (key, value) in map {
        let value = match (key.as_str(), value) {
            ("$ref", Value::String(path)) => path.replace("#/$defs/", &format!("#/$defs/{name}.")).into(),
            // The tag of an alternative stays required: without it every alternative would fit.
            ("required", Value::Array(names)) => {
                let is_tag = |name: &Value| {
                    let property = name.as_str().and_then(|name| map.get("properties")?.get(name));
                    property.is_some_and(|property| property.get("const").is_some())
                };
                Value::Array(names.iter().filter(|name| is_tag(name)).cloned().collect())
            }
            ("properties", Value::Object(properties)) => {
                let inner = properties.iter().map(|(key, schema)| {
                    let inner = templated(schema, name);
                    (key.clone(), if schema.get("const").is_some() { inner } else { or_template(inner) })
                });
                Value::Object(inner.collect())
            }
            ("$defs", Value::Object(definitions)) => {
                Value::Object(definitions.iter().map(|(key, schema)| (key.clone(), templated(schema, name))).collect())
            }
            ("items" | "additionalProperties", Value::Object(_)) => or_template(templated(value, name)),
            ("oneOf" | "anyOf" | "allOf" | "prefixItems", Value::Array(items)) => {
                Value::Array(items.iter().map(|item| templated(item, name)).collect())
            }
            _ => value.clone(),
        };
        // Alternatives that differ in a tag only overlap once the tag may be a template.
        result.insert(if key == "oneOf" { "anyOf".to_owned() } else { key.clone() }, value);
    }
    Value::Object(result)
}
