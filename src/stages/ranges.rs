//! Every number that a pipeline can give has a least and a largest value.

use serde_json::{Map, Value};

use super::registry;
use crate::spec::KindTable;

/// The places in a schema where a number is allowed without both bounds.
fn unbounded(schema: &Value, path: &str, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if is_number(map) {
                let bounded = |inclusive: &str, exclusive: &str| {
                    [inclusive, exclusive].iter().any(|key| map.get(*key).is_some_and(Value::is_number))
                };
                if !bounded("minimum", "exclusiveMinimum") || !bounded("maximum", "exclusiveMaximum") {
                    found.push(path.to_owned());
                }
            }
            map.iter().for_each(|(key, inner)| unbounded(inner, &format!("{path}/{key}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, inner)| unbounded(inner, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

fn is_number(schema: &Map<String, Value>) -> bool {
    let number = |name: &Value| name == "integer" || name == "number";
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(number),
        Some(name) => number(name),
        None => false,
    }
}

#[test]
fn every_number_of_every_kind_has_a_range() {
    let mut found = Vec::new();
    let registry = registry();
    for kind in KindTable::kinds(&registry) {
        unbounded(&kind.schema, kind.name, &mut found);
    }
    assert!(found.is_empty(), "numbers without minimum and maximum (`#[schemars(range(...))]`):\n{}", found.join("\n"));
}

#[test]
fn a_missing_bound_is_found() {
    let mut found = Vec::new();
    let schema = serde_json::json!({
        "properties": {
            "a": {"type": "integer", "minimum": 0},
            "b": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 1},
            "c": {"type": "array", "items": {"type": "number"}},
        }
    });
    unbounded(&schema, "s", &mut found);
    assert_eq!(found, ["s/properties/a", "s/properties/c/items"]);
}
