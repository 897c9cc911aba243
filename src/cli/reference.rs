//! The generated documentation: docs/cli.md from the declared command line, docs/stages.md and the JSON Schema of
//! pipeline files from the registry of stage kinds.

use clap::{Arg, ArgAction, Command, CommandFactory};

use serde_json::Value;

use super::args::{Cli, EXIT_CODES};
use crate::spec::{self, Arity, Form, KindSpec};

/// The JSON Schema of pipeline files.
pub fn schema() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&spec::schema(&crate::stages::registry())).map(|text| text + "\n")
}

/// The command line reference as Markdown.
pub fn command_line() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = String::from("# Command line\n\nGenerated from the program; do not edit.\n");
    describe(&root, "cnsdiff-pipe", &mut text);
    let codes = EXIT_CODES.replacen("Exit codes:", "## Exit codes\n\n```", 1);
    text.push_str(&format!("\n{codes}\n```\n"));
    text
}

fn describe(command: &Command, path: &str, text: &mut String) {
    let nested = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect::<Vec<_>>();
    let about = command.get_long_about().or(command.get_about()).map(|about| about.to_string());
    let usage = command.clone().render_usage().to_string().replacen("Usage: ", "", 1);
    text.push_str(&format!("\n## `{path}`\n\n{}\n\n```\n{}\n```\n", about.unwrap_or_default(), usage.trim()));
    let root = !path.contains(' ');
    // The global options are the same everywhere: they stand with the program alone.
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && (root || !arg.is_global_set())).collect();
    if !arguments.is_empty() {
        text.push('\n');
    }
    for arg in arguments.into_iter().filter(|arg| root || arg.get_id() != "help") {
        text.push_str(&format!("- `{}`: {}\n", spelling(arg), explanation(arg)));
    }
    for sub in nested {
        describe(sub, &format!("{path} {}", sub.get_name()), text);
    }
}

/// `-j, --jobs <N>`.
fn spelling(arg: &Arg) -> String {
    let value = || {
        let names = arg.get_value_names().unwrap_or_default();
        names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ")
    };
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let flags = [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))];
    let flags = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match (flags.is_empty(), takes_value) {
        (true, _) => value(),
        (false, true) => format!("{flags} {}", value()),
        (false, false) => flags,
    }
}

fn explanation(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(|help| help.to_string()).unwrap_or_default();
    let mut parts = vec![help.replace('\n', " ")];
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        parts.push(format!("One of {}.", values.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        parts.push(format!("Default: {}.", defaults.join(", ")));
    }
    let ended = |part: String| if part.ends_with(['.', '`', ')']) { part } else { format!("{part}.") };
    parts.into_iter().map(ended).collect::<Vec<_>>().join(" ")
}

/// Every stage kind with its parameters, ports and artifacts as Markdown.
pub fn stages() -> String {
    let mut text = String::from("# Stage kinds\n\nGenerated from the program; do not edit.\n");
    for kind in crate::stages::registry().kinds() {
        stage(&kind.spec, kind.version, &mut text);
    }
    text
}

fn stage(kind: &KindSpec, version: u32, text: &mut String) {
    text.push_str(&format!("\n## `{}`\n\n{} Version {version}.\n", kind.name, sentence(kind.doc)));
    if !kind.ports.is_empty() {
        text.push_str("\n| port | takes | artifacts | |\n|---|---|---|---|\n");
    }
    for port in kind.ports {
        let arity = match port.arity {
            Arity::One => "one",
            Arity::Optional => "none or one",
            Arity::Many => "one or more",
            Arity::OptionalMany => "any number",
        };
        let names: Vec<String> = port.artifacts.iter().map(|name| format!("`{name}`")).collect();
        let artifacts = if names.is_empty() { "any one".to_owned() } else { names.join(", ") };
        text.push_str(&format!("| `{}` | {arity} | {artifacts} | {} |\n", port.name, cell(port.doc)));
    }
    parameters(&kind.schema, text);
    for output in kind.outputs {
        text.push_str(&format!("\n### `{}.{}`\n\n{}\n", kind.name, output.name, sentence(output.doc)));
        match output.form {
            Form::Files => {
                text.push_str("\nRendered files, published under `reports/`: a table `name: utf8, text: utf8`.\n")
            }
            Form::Table([]) => text.push_str("\nIts columns depend on the inputs.\n"),
            Form::Table(columns) => {
                text.push_str("\n| column | type | |\n|---|---|---|\n");
                for column in columns {
                    text.push_str(&format!("| `{}` | {} | {} |\n", column.name, column.dtype, cell(column.doc)));
                }
            }
        }
    }
}

/// The properties of `with:`; nested types are named and described below.
fn parameters(schema: &Value, text: &mut String) {
    properties("", schema, schema, text);
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        let variants = ["oneOf", "anyOf"].iter().find_map(|list| definition[*list].as_array());
        text.push_str(&format!(
            "\n<a id=\"{name}\"></a>**{name}**: {}\n",
            cell(definition["description"].as_str().unwrap_or(""))
        ));
        for variant in variants.into_iter().flatten() {
            let tag = variant["const"].as_str().map(str::to_owned).or_else(|| {
                let tags = variant["properties"]
                    .as_object()?
                    .iter()
                    .filter_map(|(name, value)| Some(format!("{name}: {}", value["const"].as_str()?)));
                Some(tags.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
            });
            let tag = tag.unwrap_or_else(|| type_of(variant));
            text.push_str(&format!("\n- `{tag}`: {}\n", cell(variant["description"].as_str().unwrap_or(""))));
            properties("  ", variant, schema, text);
        }
        properties("", definition, schema, text);
    }
}

/// A list of properties with types and defaults; the tag of a variant is told already.
fn properties(indent: &str, object: &Value, root: &Value, text: &mut String) {
    let Some(properties) = object["properties"].as_object() else { return };
    let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if std::ptr::eq(object, root) && !properties.is_empty() {
        text.push_str("\nParameters (`with:`):\n");
    }
    text.push('\n');
    for (name, property) in properties.iter().filter(|(_, property)| property.get("const").is_none()) {
        let default = match (property.get("default"), required.contains(&name.as_str())) {
            (Some(default), _) => format!(", default `{default}`"),
            (None, true) => ", required".to_owned(),
            (None, false) => String::new(),
        };
        let doc = cell(property["description"].as_str().unwrap_or(""));
        text.push_str(&format!("{indent}- `{name}` ({}{default}): {doc}\n", type_of(property)));
    }
}

/// A JSON Schema type in words; a reference links to its description.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{name})");
    }
    if let Some(text) = schema["const"].as_str() {
        return format!("`{text}`");
    }
    if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|list| schema[*list].as_array()) {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
    }
    let named = |name: &str| match name {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", type_of(&schema["additionalProperties"]))
        }
        name => name.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => named(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(named).collect::<Vec<_>>().join(" or "),
        _ => "any value".to_owned(),
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

/// On one line, without what would end a table's cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
