//! The JSON Schema against what the reader accepts.

use serde_json::Value;

use super::expansion::PAPER;
use super::*;
use crate::spec::mistake::{Files, Findings};
use crate::spec::{conversions, yaml};

fn json(text: &str) -> Value {
    let node = yaml::read("test.yaml", text.as_bytes(), &mut Files::default(), &mut Findings::default());
    conversions::plain(&node.expect("valid YAML"))
}

fn errors(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&spec::schema(&*kinds::KINDS)).expect("a valid schema");
    validator.iter_errors(&json(text)).map(|error| error.to_string()).collect()
}

#[test]
fn a_sound_pipeline_fits() {
    assert_eq!(errors(PAPER), Vec::<String>::new());
}

#[test]
fn unknown_keys_kinds_ports_and_parameters_do_not_fit() {
    let slips = [
        ("pipeline: paper", "pipline: paper"),
        ("kind: evaluate", "kind: evaluat"),
        ("needs: { data: raw }", "needs: { date: raw }"),
        ("backbone: mf", "backbone: mv"),
        ("at: [20]", "at: twenty"),
    ];
    for (right, wrong) in slips {
        assert!(!errors(&PAPER.replace(right, wrong)).is_empty(), "{wrong}");
    }
}

#[test]
fn every_key_of_the_tables_is_read() {
    let text = r#"
$schema: x
pipeline: p
title: t
description: d
include: []
vars: {}
axes: { x: [1, 2] }
stages:
  a: { kind: literal, over: x }
  s:
    kind: concat
    title: t
    doc: d
    over: []
    collapse: [x]
    needs: { tables: a }
    where: {}
    except: []
    overrides: { when: {}, with: {} }
    with: {}
"#;
    assert_eq!(load(text).instances.len(), 3);
    assert_eq!(errors(text), Vec::<String>::new());
    let known = |table: &[crate::spec::keys::Key]| table.iter().map(|known| known.name).collect::<Vec<_>>();
    let root = json(text);
    let has = |value: &Value, name: &str| value.get(name).is_some();
    assert!(known(crate::spec::keys::TOP).iter().all(|name| has(&root, name)));
    assert!(known(crate::spec::keys::STAGE).iter().all(|name| has(&root["stages"]["s"], name)));
}
