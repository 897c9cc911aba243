//! JSON types: whether a value fits, and how people call them.

use serde_json::Value;

use crate::spec::suggest::clipped;

/// Whether a value has the type, or is one of the constants, of a schema.
pub(super) fn type_fits(schema: &Value, value: &Value) -> bool {
    let fits = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    match schema.get("type") {
        Some(Value::String(name)) => fits(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(fits),
        _ => match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
            (Some(constant), _) => constant == value,
            (None, Some(names)) => names.contains(value),
            (None, None) => true,
        },
    }
}

/// What a schema asks for, in words.
pub(super) fn expected(schema: &Value) -> String {
    let word = |name: &str| match name {
        "null" => "nothing",
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a text",
        "array" => "a list",
        _ => "a map",
    };
    match schema.get("type") {
        Some(Value::String(name)) => word(name).to_owned(),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|&name| name != "null").map(word);
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "another value".to_owned(),
    }
}

/// What was found, in words.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", clipped(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// Words that older YAML takes for booleans.
pub(super) fn is_yaml_1_1_bool(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "yes" | "no" | "on" | "off" | "y" | "n")
}
