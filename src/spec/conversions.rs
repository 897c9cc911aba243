//! Conversions between the three forms of a value: as written, as JSON, and in expressions.

use minijinja::value::ValueKind;
use serde_json::{Number, Value};

use super::yaml::{Node, Tree};

/// The value as written.
pub(super) fn plain(node: &Node) -> Value {
    match &node.value {
        Tree::Null | Tree::Broken => Value::Null,
        Tree::Bool(value) => Value::Bool(*value),
        Tree::Number(number) => Value::Number(number.clone()),
        Tree::Text(text) => Value::String(text.clone()),
        Tree::List(items) => Value::Array(items.iter().map(plain).collect()),
        Tree::Map(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.text.clone(), plain(node))).collect())
        }
    }
}

/// About how many bytes a value takes.
pub(super) fn weight(value: &Value) -> usize {
    let own = size_of::<Value>();
    match value {
        Value::String(text) => own + text.len(),
        Value::Array(items) => own + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => own + map.iter().map(|(key, value)| own + key.len() + weight(value)).sum::<usize>(),
        _ => own,
    }
}

/// The result of an expression as JSON; the error says why it cannot be a parameter.
pub(super) fn json(value: &minijinja::Value) -> Result<Value, String> {
    Ok(match value.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::String => Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number if value.is_integer() => {
            let number = u64::try_from(value.clone()).map(Number::from);
            let number = number.or_else(|_| i64::try_from(value.clone()).map(Number::from));
            Value::Number(number.map_err(|_| format!("the number {value} does not fit into 64 bits"))?)
        }
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).ok().and_then(Number::from_f64);
            Value::Number(number.ok_or_else(|| format!("the result is {value}, which is not a finite number"))?)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| error.to_string())?;
            Value::Array(items.map(|item| json(&item)).collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|error| error.to_string())?;
            let entries = keys.map(|key| {
                let inner = value.get_item(&key).map_err(|error| error.to_string())?;
                Ok::<_, String>((key.to_string(), json(&inner)?))
            });
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
        kind => return Err(format!("a {kind} cannot be a parameter")),
    })
}
