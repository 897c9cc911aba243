use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::digest::Digest;
use crate::spec::{Location, Need, Source, StageDef};

fn material(params: &Value) -> KeyMaterial<'_> {
    KeyMaterial {
        kind: "k",
        kind_version: 1,
        params: Cow::Borrowed(params),
        inputs: Vec::new(),
        files: Vec::new(),
        components: Vec::new(),
        facets: Vec::new(),
    }
}

/// JSON trees with names and texts that try to look like the encoding or like paths.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        prop_oneof![Just(0.0), Just(1.0), Just(-1.5), any::<f64>()].prop_map(|float| Value::from(float + 0.0)),
        "[a.\\[\\]0n]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a.\\[\\]0n]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn different_parameters_have_different_keys(a in tree(), b in tree()) {
        prop_assert_eq!(a == b, material(&a).key() == material(&b).key());
    }

    #[test]
    fn a_move_between_neighbouring_fields_changes_the_key(texts in prop::collection::vec("[ab]{0,3}", 3), cut in 0usize..3) {
        let moved = |texts: &[String]| {
            let mut texts = texts.to_vec();
            let rest: String = texts[0].chars().skip(cut).collect();
            texts[0] = texts[0].chars().take(cut).collect();
            texts[1] = rest + &texts[1];
            texts
        };
        let (before, after) = (json!(texts), json!(moved(&texts)));
        prop_assert_eq!(before == after, material(&before).key() == material(&after).key());
    }

    /// One traversal writes both, so whatever changes the key can be shown.
    #[test]
    fn keys_differ_exactly_when_the_explanation_does(
        a in prop::collection::btree_map("[a-c]", prop::collection::vec(-2i64..2, 0..3), 0..3),
        b in prop::collection::btree_map("[a-c]", prop::collection::vec(-2i64..2, 0..3), 0..3),
    ) {
        let (a, b) = (json!(a), json!(b));
        let (a, b) = (material(&a), material(&b));
        prop_assert_eq!(a.key() == b.key(), diff(&a.fields(), &b.fields()).is_empty());
    }

    #[test]
    fn order_has_sources_first_and_every_instance_once(edges in prop::collection::vec((0usize..12, 0usize..12), 0..30)) {
        let forward: Vec<(usize, usize)> = edges.into_iter().filter(|(a, b)| a < b).collect();
        let plan = Plan::new(pipeline(12, &forward)).unwrap();
        let position = |index| plan.order.iter().position(|&other| other == index).unwrap();
        prop_assert_eq!(plan.order.len(), 12);
        for (source, dependent) in forward {
            prop_assert!(position(source) < position(dependent));
            prop_assert!(plan.depth[source] < plan.depth[dependent]);
        }
    }
}

fn pipeline(count: usize, edges: &[(usize, usize)]) -> Pipeline {
    let source = |&(instance, _): &(usize, usize)| Source { instance, artifacts: Vec::new() };
    let instance = |index: usize| Instance {
        stage: 0,
        id: format!("s[x={index},y={}]", index % 2),
        labels: vec![("x".to_owned(), index.to_string()), ("y".to_owned(), (index % 2).to_string())],
        params: Value::Null,
        needs: vec![Need {
            port: "p".to_owned(),
            sources: edges.iter().filter(|(_, dependent)| *dependent == index).map(source).collect(),
        }],
    };
    Pipeline {
        name: "p".to_owned(),
        title: None,
        axes: Vec::new(),
        stages: vec![StageDef {
            name: "s".to_owned(),
            kind: "k".to_owned(),
            axes: vec!["x".to_owned(), "y".to_owned()],
            instances: 0..count,
            location: Location::default(),
        }],
        instances: (0..count).map(instance).collect(),
        changes: Vec::new(),
    }
}

#[test]
fn every_part_of_the_material_enters_the_key() {
    let params = json!({ "a": 1 });
    let labels = [[("seed".to_owned(), "1".to_owned())], [("seed".to_owned(), "2".to_owned())]];
    let input = |port, labels, name, text: &str| InputMaterial {
        port,
        labels,
        artifacts: vec![(name, Digest::of(text.as_bytes()))],
    };
    let base = || KeyMaterial { inputs: vec![input("p", None, "t", "x")], ..material(&params) };
    let variants = [
        base(),
        KeyMaterial { kind: "other", ..base() },
        KeyMaterial { kind_version: 2, ..base() },
        KeyMaterial { params: Cow::Owned(Value::Null), ..base() },
        KeyMaterial { inputs: Vec::new(), ..base() },
        KeyMaterial { inputs: vec![input("q", None, "t", "x")], ..base() },
        KeyMaterial { inputs: vec![input("p", None, "u", "x")], ..base() },
        KeyMaterial { inputs: vec![input("p", None, "t", "y")], ..base() },
        KeyMaterial { inputs: vec![input("p", Some(&labels[0]), "t", "x")], ..base() },
        KeyMaterial { inputs: vec![input("p", Some(&labels[1]), "t", "x")], ..base() },
        KeyMaterial { files: vec!["blake3:0".to_owned()], ..base() },
        KeyMaterial { components: vec![("backbone.mf".to_owned(), 1)], ..base() },
        KeyMaterial { components: vec![("backbone.mf".to_owned(), 2)], ..base() },
        KeyMaterial { components: vec![("sampler.mf".to_owned(), 1)], ..base() },
        KeyMaterial { facets: vec![("device", "cpu".to_owned())], ..base() },
        KeyMaterial { facets: vec![("device", "cuda".to_owned())], ..base() },
    ];
    let mut keys: Vec<_> = variants.iter().map(KeyMaterial::key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), variants.len());
    assert_eq!(variants[9].fields()[4], ("needs.p[seed=2].t".to_owned(), Digest::of(b"x").to_string()));
}

#[test]
fn numbers_keep_their_type_and_every_bit() {
    let texts = ["1", "1.0", "-0.0", "0.0", "0", "18446744073709551615", "5e-324", "0.1", "0.10000000000000002"];
    let mut keys: Vec<_> = texts.iter().map(|text| material(&serde_json::from_str(text).unwrap()).key()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), texts.len());
}

#[test]
fn cycles_are_refused() {
    let error = Plan::new(pipeline(3, &[(0, 1), (1, 2), (2, 1)])).unwrap_err();
    assert_eq!(error, PlanError::Cycle("s[x=1,y=1]".to_owned()));
}

#[test]
fn select_takes_stages_instances_and_some_labels() {
    let plan = Plan::new(pipeline(4, &[])).unwrap();
    assert_eq!(plan.select("s").unwrap(), [0, 1, 2, 3]);
    assert_eq!(plan.select("s[x=2,y=0]").unwrap(), [2]);
    assert_eq!(plan.select("s[y=1]").unwrap(), [1, 3]);
    assert_eq!(plan.select("s[ y = 1 , x=3 ]").unwrap(), [3]);
}

#[test]
fn select_refuses_what_is_named_wrongly_and_says_what_is_right() {
    let plan = Plan::new(pipeline(4, &[])).unwrap();
    for (name, message, help) in [
        ("t", "there is no stage `t`", "stages: s"),
        ("", "there is no stage ``", "stages: s"),
        ("s[1]", "does not say which axis `1` is of", "write axis and label, as in `s[x="),
        ("s[]", "does not say which axis `` is of", "as in `s[x="),
        ("s[x=1,]", "does not say which axis `` is of", "as in `s[x="),
        ("s[", "does not end with `]`", "as in `s[x="),
        ("s[x=1", "does not end with `]`", "as in `s[x="),
        ("s[x=1]]", "has the label `1]` on `x`", "its labels"),
        ("s[x=1]y", "does not end with `]`", "as in `s[x="),
        ("s[z=1]", "the stage `s` has no axis `z`", "its axes: x, y"),
        ("s[x=9]", "no instance of `s` has the label `9` on `x`", "its labels"),
        ("s[x=1,x=1]", "names the axis `x` twice", "as in `s[x="),
        ("s[x=2,y=1]", "there is no instance `s[x=2,y=1]`", "this combination of them was dropped"),
        ("s.x", "there is no stage `s.x`", "stages: s"),
    ] {
        match plan.select(name) {
            Err(PlanError::Selection { message: found, help: advice }) => {
                assert!(found.contains(message), "{name}: {found}");
                assert!(advice.contains(help), "{name}: {advice}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let long = format!("s[{}]", "x".repeat(1_000_000));
    assert!(plan.select(&long).unwrap_err().to_string().len() < 1_000);
}

#[test]
fn differences_name_what_changed_came_and_went() {
    let field = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let old = [field("a", "1"), field("b", "2"), field("c", "3")];
    let new = [field("a", "1"), field("b", "4"), field("d", "5")];
    let change = |field: &str, old: Option<&str>, new: Option<&str>| Change {
        field: field.to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
    };
    assert_eq!(
        diff(&old, &new),
        [change("b", Some("2"), Some("4")), change("d", None, Some("5")), change("c", Some("3"), None)]
    );
}
