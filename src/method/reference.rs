//! The reference of methods as Markdown, made from the lists: what each is, where it comes from, its version and parameters.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::spec::Entry;
use super::{BACKBONES, LOSSES, RECOMMENDERS, SAMPLERS};

/// docs/method-reference.md.
pub fn reference() -> String {
    let mut text = String::from(
        "# Methods\n\nGenerated from the program; do not edit. What they compute, and how they are combined, is told in \
         [training](methods.md); how to add one in [adding a method](adding-a-method.md).\n",
    );
    list(&mut text, "Backbones", "backbone", BACKBONES);
    list(&mut text, "Samplers", "sampler", SAMPLERS);
    list(&mut text, "Losses", "loss", LOSSES);
    list(&mut text, "Recommenders without gradient", "recommender", RECOMMENDERS);
    text
}

fn list<T>(text: &mut String, title: &str, key: &str, entries: &[Entry<T>]) {
    text.push_str(&format!("\n## {title}\n"));
    for entry in entries {
        let Entry { name, version, doc, source, .. } = entry;
        text.push_str(&format!("\n### `{key}: {name}`\n\n{doc}\n\nSource: {source} Version {version}.\n"));
        let mut generator = SchemaGenerator::default();
        let schema = (entry.schema)(&mut generator).to_value();
        let definitions = generator.take_definitions(true);
        let defaults = (entry.canonical)(&Value::Object(Default::default())).unwrap_or_default();
        parameters(text, "", &schema, &definitions, &defaults);
    }
}

/// A list of the properties of a schema, those of nested objects below them.
fn parameters(
    text: &mut String,
    indent: &str,
    schema: &Value,
    definitions: &serde_json::Map<String, Value>,
    defaults: &Value,
) {
    let properties: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
    if indent.is_empty() && !properties.is_empty() {
        text.push('\n');
    }
    for (name, property) in properties {
        let target = property["$ref"].as_str().and_then(|path| definitions.get(path.rsplit('/').next()?));
        let own = target.unwrap_or(property);
        let doc = property["description"].as_str().or(own["description"].as_str()).unwrap_or_default();
        let default = match &defaults[name] {
            Value::Null | Value::Object(_) => String::new(),
            value => format!(" (default `{value}`)"),
        };
        text.push_str(&format!("{indent}- `{name}`{default}: {}\n", doc.replace('\n', " ")));
        for variant in own["oneOf"].as_array().into_iter().flatten() {
            if let Some(value) = variant["const"].as_str() {
                let doc = variant["description"].as_str().unwrap_or_default().replace('\n', " ");
                text.push_str(&format!("{indent}  - `{value}`{}{doc}\n", if doc.is_empty() { "" } else { ": " }));
            }
        }
        parameters(text, &format!("{indent}  "), own, definitions, &defaults[name]);
    }
}
