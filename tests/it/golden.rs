//! Every byte of every kind: digests of what `tests/golden/artifacts.yaml` makes, kept in `artifacts.txt` with the version
//! of the kind. Bytes that change without a new version would leave stale results in caches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use cnsdiff_pipe::method::{BACKBONES, Entry, LOSSES, SAMPLERS};
use cnsdiff_pipe::spec::{self, Options, Pipeline};
use cnsdiff_pipe::stages::registry;
use serde_json::Value;

use crate::lab::Lab;

const PIPELINE: &str = include_str!("../golden/artifacts.yaml");
const RENEW: &str = "UPDATE_GOLDEN=1 cargo test --release --test it golden";

/// Choices whose results depend on the machine: devices, and parameters of methods that libtorch computes.
const ELSEWHERE: [(&str, &str); 8] = [
    ("Device", "auto"),
    ("Device", "cuda"),
    ("Adjacency", "rw_self"),
    ("Adjacency", "sym"),
    ("Form", "official"),
    ("Form", "joint"),
    ("Padding", "left"),
    ("Padding", "right"),
];

/// Whether libtorch computes what this choice makes: its bits depend on its version and on the processor.
fn by_libtorch(key: &str, name: &str) -> bool {
    fn is<T>(list: &[Entry<T>], name: &str, libtorch: fn(&T) -> bool) -> bool {
        list.iter().any(|entry| entry.name == name && libtorch(&(entry.traits)(&Value::Object(Default::default()))))
    }
    match key {
        "backbone" => is(BACKBONES, name, |traits| traits.libtorch),
        "loss" => is(LOSSES, name, |traits| traits.libtorch),
        "sampler" => is(SAMPLERS, name, |traits| traits.by_hops),
        _ => false,
    }
}

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn pipeline() -> Pipeline {
    let read = |_: &str| Ok(PIPELINE.as_bytes().to_vec());
    spec::load("artifacts.yaml", &read, &registry(), &Options::default()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Lines `user,item,time,weight`: 40 users with 12 of 50 items each, and every tenth line twice.
fn log(item_prefix: &str, step: u32) -> String {
    let line = |user: u32, turn: u32| {
        let (item, time) = ((user * 7 + turn * turn * step) % 50, 1_000_000 + turn * 31 + user);
        format!("u{user},{item_prefix}{item},{time},{}\n", 1 + (user + turn) % 5)
    };
    let pairs = (0..40).flat_map(|user| (0..12).map(move |turn| (user, turn)));
    pairs.map(|(user, turn)| line(user, turn).repeat(if (user + turn) % 10 == 0 { 2 } else { 1 })).collect()
}

/// The project with all raw files.
fn lab() -> Lab {
    let lab = Lab::with(PIPELINE);
    for entry in fs::read_dir(file("../../src/data/format/fixtures")).unwrap().flatten() {
        fs::copy(entry.path(), lab.path(entry.file_name().to_str().unwrap())).unwrap();
    }
    lab.write("log.csv", &log("i", 1));
    lab.write("keys.txt", &(0..25).map(|item| format!("i{item}\n")).collect::<String>());
    let pairs = (0..40).flat_map(|user| (0..25).map(move |item| format!("u{user} i{}\n", (user + item) % 50)));
    lab.write("pairs.txt", &pairs.collect::<String>());
    lab.write("exposed.csv", &log("i", 3));
    lab.write("other.csv", &log("j", 2));
    let columns: [(&str, ArrayRef); 4] = [
        ("reviewer", Arc::new(StringArray::from(vec!["a", "b", "a"]))),
        ("product", Arc::new(Int64Array::from(vec![1, 2, 2]))),
        ("moment", Arc::new(Int64Array::from(vec![10, 20, 30]))),
        ("stars", Arc::new(Float64Array::from(vec![1.0, 2.5, 5.0]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(lab.path("reviews.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    lab
}

/// What one instance made, by which version of its kind.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    kind: String,
    version: u32,
    /// `name=digest` of each artifact, separated by spaces.
    artifacts: String,
}

type Golden = BTreeMap<String, Made>;

fn render(golden: &Golden) -> String {
    let head =
        "# Instance, kind, version of the kind, digests of its artifacts. Renewed, for kinds with a new version, by\n";
    let lines =
        golden.iter().map(|(id, Made { kind, version, artifacts })| format!("{id} {kind} {version} {artifacts}\n"));
    format!("{head}#   {RENEW}\n{}", lines.collect::<String>())
}

fn parse(text: &str) -> Golden {
    let made = |line: &str| {
        let mut fields = line.splitn(4, ' ').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_else(|| panic!("too few fields: {line}"));
        (next(), Made { kind: next(), version: next().parse().unwrap(), artifacts: next() })
    };
    text.lines().filter(|line| !line.starts_with('#')).map(made).collect()
}

/// Runs the pipeline and reads its lock file.
fn found(pipeline: &Pipeline) -> Golden {
    let lab = lab();
    lab.run(&[]);
    let registry = registry();
    let lock = lab.read("pipeline.lock");
    // Lines of the lock file: `id key artifact=digest{columns} ...`.
    let artifacts: BTreeMap<&str, String> = lock
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split(' ');
            let id = fields.next().unwrap();
            let digests: Vec<&str> = fields.skip(1).map(|field| &field[..field.find('=').unwrap() + 17]).collect();
            (id, digests.join(" "))
        })
        .collect();
    let made = |instance: &spec::Instance| {
        let kind = &pipeline.stages[instance.stage].kind;
        let version = registry.get(kind).unwrap().version;
        let artifacts = artifacts[instance.id.as_str()].clone();
        (instance.id.clone(), Made { kind: kind.clone(), version, artifacts })
    };
    pipeline.instances.iter().map(made).collect()
}

/// Instances whose bytes are others, although neither their kind has a new version nor their inputs are others.
fn unannounced(pipeline: &Pipeline, old: &Golden, new: &Golden) -> Vec<String> {
    let changed = |id: &str| old.get(id) != new.get(id);
    let announced = |instance: &spec::Instance| {
        let (Some(before), Some(now)) = (old.get(&instance.id), new.get(&instance.id)) else { return true };
        let mut sources = instance.needs.iter().flat_map(|need| &need.sources);
        before.version != now.version || sources.any(|source| changed(&pipeline.instances[source.instance].id))
    };
    let wrong = pipeline.instances.iter().filter(|instance| changed(&instance.id) && !announced(instance));
    wrong.map(|instance| instance.id.clone()).collect()
}

#[test]
fn golden_artifacts_change_only_with_the_version_of_their_kind() {
    let pipeline = pipeline();
    let old = parse(&fs::read_to_string(file("artifacts.txt")).unwrap_or_default());
    let new = found(&pipeline);
    let wrong = unannounced(&pipeline, &old, &new);
    let kinds: BTreeSet<&str> = wrong.iter().map(|id| new[id].kind.as_str()).collect();
    assert!(
        wrong.is_empty(),
        "bytes of {kinds:?} changed without a version bump: bump VERSION or undo\n{}",
        wrong
            .iter()
            .map(|id| format!("{id}\n  was {}\n  is  {}", old[id].artifacts, new[id].artifacts))
            .collect::<String>()
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file("artifacts.txt"), render(&new)).unwrap();
    } else {
        let differ = new.keys().chain(old.keys()).filter(|id| old.get(*id) != new.get(*id)).collect::<BTreeSet<_>>();
        assert!(differ.is_empty(), "tests/golden/artifacts.txt is out of date in {differ:?}; renew it with\n  {RENEW}");
    }
}

#[test]
fn golden_update_refuses_changed_bytes_of_an_old_version() {
    let pipeline = pipeline();
    let made = |artifacts: &str, version| Made { kind: "k".to_owned(), version, artifacts: artifacts.to_owned() };
    let all = |artifacts: &str| -> Golden {
        pipeline.instances.iter().map(|instance| (instance.id.clone(), made(artifacts, 1))).collect()
    };
    let old = all("a=1");
    assert!(unannounced(&pipeline, &old, &old).is_empty());
    // A kind without inputs that changes by itself, and what follows from it.
    let mut new = old.clone();
    new.insert("note".to_owned(), made("a=2", 1));
    new.insert("notes".to_owned(), made("a=2", 1));
    assert_eq!(unannounced(&pipeline, &old, &new), ["note"]);
    new.insert("note".to_owned(), made("a=2", 2));
    assert!(unannounced(&pipeline, &old, &new).is_empty());
    assert!(unannounced(&pipeline, &Golden::new(), &new).is_empty(), "a new instance has nothing to differ from");
    assert_eq!(parse(&render(&new)), new);
}

/// Choices as pairs of a type and a name. Given no value, all that a schema has; else those that the value makes.
fn choices(root: &Value, schema: &Value, name: &str, value: Option<&Value>, found: &mut BTreeSet<(String, String)>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        return choices(root, target, reference.rsplit('/').next().unwrap_or(name), value, found);
    }
    let mut choose = |choice: &Value| {
        if value.is_none_or(|value| value == choice)
            && let Some(choice) = choice.as_str()
        {
            found.insert((name.to_owned(), choice.to_owned()));
        }
    };
    schema["enum"].as_array().into_iter().flatten().for_each(&mut choose);
    schema.get("const").into_iter().for_each(&mut choose);
    for alternative in ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten() {
        let required = alternative["required"].as_array().filter(|required| required.len() == 1);
        match required.and_then(|required| required[0].as_str()) {
            // `name: { parameters }`.
            Some(tag) if value.is_none_or(|value| value.get(tag).is_some()) => {
                found.insert((name.to_owned(), tag.to_owned()));
                choices(root, &alternative["properties"][tag], tag, value.map(|value| &value[tag]), found);
            }
            Some(_) => {}
            None => choices(root, alternative, name, value, found),
        }
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        match value {
            None => choices(root, property, key, None, found),
            Some(value) => value.get(key).into_iter().for_each(|v| choices(root, property, key, Some(v), found)),
        }
    }
    if let Some(items) = schema.get("items") {
        match value {
            None => choices(root, items, name, None, found),
            Some(value) => {
                value.as_array().into_iter().flatten().for_each(|v| choices(root, items, name, Some(v), found));
            }
        }
    }
}

#[test]
fn golden_artifacts_cover_every_kind_and_every_choice_of_its_parameters() {
    let pipeline = pipeline();
    for kind in registry().kinds() {
        let name = kind.spec.name;
        let instances = pipeline.instances.iter().filter(|instance| pipeline.stages[instance.stage].kind == name);
        let (mut all, mut made) = (BTreeSet::new(), BTreeSet::new());
        choices(&kind.spec.schema, &kind.spec.schema, name, None, &mut all);
        let mut used = false;
        for instance in instances {
            used = true;
            choices(&kind.spec.schema, &kind.spec.schema, name, Some(&instance.params), &mut made);
        }
        assert!(used, "tests/golden/artifacts.yaml has no stage of kind `{name}`");
        let elsewhere = |(of, choice): &(String, String)| ELSEWHERE.contains(&(of.as_str(), choice.as_str()));
        let missing: Vec<_> =
            all.difference(&made).filter(|choice| !elsewhere(choice) && !by_libtorch(&choice.0, &choice.1)).collect();
        assert!(missing.is_empty(), "tests/golden/artifacts.yaml has no `{name}` with {missing:?}");
    }
}
