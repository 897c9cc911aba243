//! What holds for the repository as a whole: linking, generated files, shipped pipelines, registries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cnsdiff_pipe::cli::reference;
use cnsdiff_pipe::spec::Form;
use cnsdiff_pipe::stages::registry;
use granit_parser::{Event, Parser, ScalarStyle};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn only_the_worker_loads_libtorch() {
    let linked = |program: &str| {
        let output = Command::new("ldd").arg(program).output().expect("ldd");
        String::from_utf8_lossy(&output.stdout).contains("libtorch")
    };
    assert!(!linked(env!("CARGO_BIN_EXE_cnsdiff-pipe")));
    assert_eq!(linked(env!("CARGO_BIN_EXE_cnsdiff-pipe-worker")), cfg!(feature = "torch"));
}

#[test]
fn generated_files_are_current() {
    let files = [
        ("docs/cli.md", reference::command_line()),
        ("docs/stages.md", reference::stages()),
        ("docs/method-reference.md", cnsdiff_pipe::method::reference()),
        ("docs/schema/pipeline.schema.json", reference::schema().unwrap()),
    ];
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    for (name, expected) in files {
        let path = root().join(name);
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &expected).unwrap();
        }
        let current = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            current == expected,
            "{name} is out of date; write it anew with\n  UPDATE_GENERATED=1 cargo test --release --test it generated_files_are_current"
        );
    }
}

/// The samples of docs/adding-a-method.md are those that the unit tests compile and train.
#[test]
fn documented_sample_methods_are_the_compiled_ones() {
    let page = fs::read_to_string(root().join("docs/adding-a-method.md")).unwrap();
    let blocks: BTreeSet<&str> = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let files = fs::read_dir(root().join("docs/samples")).unwrap();
    let files: BTreeSet<String> = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(blocks, files.iter().map(String::as_str).collect());
    assert_eq!(blocks.len(), 3);
}

fn shipped() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("pipelines")).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn shipped_pipelines_have_no_mistake() {
    for path in shipped() {
        let output = Command::new(env!("CARGO_BIN_EXE_cnsdiff-pipe")).arg("graph").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}\n{}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
}

/// The next value of a YAML file without anchors and tags; `None` at the end of a list or map.
fn json<'a>(events: &mut impl Iterator<Item = Event<'a>>) -> Option<serde_json::Value> {
    loop {
        match events.next()? {
            Event::Scalar(text, style, ..) => {
                let plain = if style == ScalarStyle::Plain { serde_json::from_str(&text).ok() } else { None };
                return Some(plain.unwrap_or_else(|| text.into_owned().into()));
            }
            Event::SequenceStart(..) => return Some(std::iter::from_fn(|| json(events)).collect()),
            Event::MappingStart(..) => {
                let pair = || Some((json(events)?.as_str()?.to_owned(), json(events)?));
                return Some(std::iter::from_fn(pair).collect::<serde_json::Map<_, _>>().into());
            }
            Event::SequenceEnd | Event::MappingEnd => return None,
            _ => {}
        }
    }
}

#[test]
fn shipped_pipelines_follow_the_schema_and_name_it() {
    let schema: serde_json::Value = serde_json::from_str(&reference::schema().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for path in shipped() {
        let text = fs::read_to_string(&path).unwrap();
        let pipeline = json(&mut Parser::new_from_str(&text).map(|event| event.unwrap().0)).expect("a value");
        let errors: Vec<String> =
            validator.iter_errors(&pipeline).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}\n{}", path.display(), errors.join("\n"));
        assert!(text.contains("$schema="), "{} names no schema", path.display());
    }
}

#[test]
fn stage_kinds_have_unique_names_and_docs() {
    fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str) {
        let mut seen = BTreeSet::new();
        names.for_each(|name| assert!(seen.insert(name), "{what} `{name}` twice"));
    }
    let documented = |doc: &str, what: &str| assert!(doc.trim().len() > 3, "{what} has no docs");
    let registry = registry();
    unique(registry.kinds().iter().map(|kind| kind.spec.name), "kind");
    for kind in registry.kinds() {
        let name = kind.spec.name;
        documented(kind.spec.doc, name);
        assert!(kind.version > 0 && !kind.spec.outputs.is_empty(), "{name}");
        unique(kind.spec.ports.iter().map(|port| port.name), name);
        unique(kind.spec.outputs.iter().map(|output| output.name), name);
        kind.spec.ports.iter().for_each(|port| documented(port.doc, &format!("{name}.{}", port.name)));
        for output in kind.spec.outputs {
            documented(output.doc, &format!("{name}.{}", output.name));
            if let Form::Table(columns) = output.form {
                unique(columns.iter().map(|column| column.name), output.name);
                columns
                    .iter()
                    .for_each(|column| documented(column.doc, &format!("{name}.{}.{}", output.name, column.name)));
            }
        }
        let parameters = kind.spec.schema["properties"].as_object().into_iter().flatten();
        let bare: Vec<&String> = parameters
            .filter(|(_, schema)| schema["description"].is_null() && schema["$ref"].is_null())
            .map(|(name, _)| name)
            .collect();
        assert!(bare.is_empty(), "parameters of {name} without docs: {bare:?}");
    }
}
