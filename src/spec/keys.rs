//! The keys of a pipeline file, declared once, each with its JSON Schema: the reader refuses every other key, and the
//! schema of pipeline files and its editor help are made from the same tables.

use serde_json::{Value, json};

/// A key of a map of the language.
pub(super) struct Key {
    pub name: &'static str,
    pub doc: &'static str,
    pub schema: fn() -> Value,
}

/// Names that templates use themselves.
pub(super) const RESERVED: &[&str] =
    &["vars", "label", "range", "dict", "true", "false", "none", "and", "or", "not", "in", "is", "if", "else"];

const DESCRIPTION: Key = Key { name: "description", doc: "What this file is for.", schema: text };
const EDITORS: Key = Key { name: "$schema", doc: "Where editors find the JSON Schema. Ignored.", schema: text };
const INCLUDE: Key = Key {
    name: "include",
    doc: "YAML files whose `vars`, `axes` and `stages` come before those of this file. Paths are relative to this file \
          and stay inside the folder of the pipeline.",
    schema: texts,
};
const VARS: Key =
    Key { name: "vars", doc: "Named constants: `{{ vars.name }}` in templates.", schema: || json!({"type": "object"}) };
const AXES: Key = Key {
    name: "axes",
    doc: "Named dimensions. A list of labels, or a map from label to parameters.",
    schema: || {
        json!({"type": "object", "additionalProperties": {"oneOf": [
            {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
            {"type": "object", "minProperties": 1},
        ]}})
    },
};
const STAGES: Key = Key {
    name: "stages",
    doc: "What is computed, by name. A stage is an array over its axes.",
    schema: || json!({"type": "object", "additionalProperties": {"$ref": "#/$defs/stage"}}),
};

/// The keys of a pipeline file.
pub(super) const TOP: &[Key] = &[
    EDITORS,
    Key {
        name: "pipeline",
        doc: "Name of the pipeline; reports go to `reports/<name>/`.",
        schema: || json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"}),
    },
    Key { name: "title", doc: "Title for people.", schema: text },
    DESCRIPTION,
    INCLUDE,
    VARS,
    AXES,
    STAGES,
];

/// The keys of an included file.
pub(super) const INCLUDED: &[Key] = &[EDITORS, DESCRIPTION, INCLUDE, VARS, AXES, STAGES];

/// The keys of a stage.
pub(super) const STAGE: &[Key] = &[
    Key { name: "kind", doc: "What the stage does.", schema: text },
    Key { name: "title", doc: "Title for people.", schema: text },
    Key { name: "doc", doc: "What the stage is for.", schema: text },
    Key { name: "over", doc: "Axes that the stage adds to those of its needs.", schema: texts },
    Key { name: "collapse", doc: "Axes of its needs that end here: it gets all their instances.", schema: texts },
    Key {
        name: "needs",
        doc: "Input port to `stage`, `stage.artifact` or `stage*` (all instances over axes that this stage lacks).",
        schema: || json!({"type": "object", "additionalProperties": texts()}),
    },
    Key {
        name: "where",
        doc: "Keeps the combinations for which the expression is true, or whose labels are listed.",
        schema: || json!({"oneOf": [{"type": "string", "pattern": "\\{\\{"}, matcher()]}),
    },
    Key { name: "except", doc: "Drops the combinations with these labels.", schema: || one_or_more(matcher()) },
    Key {
        name: "overrides",
        doc: "Parameters for combinations with certain labels, merged over `with` in this order.",
        schema: || one_or_more(object(OVERRIDE, &["when", "with"])),
    },
    Key { name: "with", doc: "Parameters of the kind.", schema: || json!({"type": ["object", "string"]}) },
];

/// The keys of an override.
pub(super) const OVERRIDE: &[Key] = &[
    Key { name: "when", doc: "Axis to label or labels.", schema: matcher },
    Key { name: "with", doc: "Parameters to merge.", schema: || json!({"type": ["object", "string"]}) },
];

/// The JSON Schema of a map with these keys.
pub(super) fn object(table: &[Key], required: &[&str]) -> Value {
    let properties = table.iter().map(|key| {
        let mut schema = (key.schema)();
        schema["description"] = key.doc.into();
        (key.name.to_owned(), schema)
    });
    let properties: serde_json::Map<_, _> = properties.collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn texts() -> Value {
    one_or_more(text())
}

fn matcher() -> Value {
    json!({"type": "object", "additionalProperties": one_or_more(json!({"type": ["string", "number", "boolean"]}))})
}

fn one_or_more(schema: Value) -> Value {
    json!({"oneOf": [schema, {"type": "array", "items": schema}]})
}
