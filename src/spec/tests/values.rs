//! Parameters: templates, types, overrides, changes.

use serde_json::json;

use super::*;

/// The parameters of a stage `s` over an axis `x` at its first label.
fn value(with: &str) -> serde_json::Value {
    let text = format!(
        "pipeline: p\nvars: {{n: 3, name: food}}\naxes:\n  x:\n    one: {{a: 1, b: {{c: 0.5, d: [1, two]}}}}\n  \
         seed: [7, 8]\nstages:\n  s:\n    kind: literal\n    over: [x, seed]\n    with: {{value: {with}}}\n"
    );
    params(&load(&text), "s[x=one,seed=7]")["value"].clone()
}

#[test]
fn a_whole_expression_keeps_its_type() {
    assert_eq!(value(r#""{{ seed }}""#), json!(7));
    assert_eq!(value(r#""{{ x.b }}""#), json!({"c": 0.5, "d": [1, "two"]}));
    assert_eq!(value(r#"["{{ x.a == 1 }}", "{{ none }}", "{{ vars.n * 2 }}"]"#), json!([true, null, 6]));
    assert_eq!(value(r#""{{ {'deep': {'er': x.a}} }}""#), json!({"deep": {"er": 1}}));
}

#[test]
fn an_expression_inside_of_text_is_text() {
    assert_eq!(value(r#""data/{{ vars.name }}-{{ seed }}.txt""#), json!("data/food-7.txt"));
    assert_eq!(value(r#""{{ seed }} ""#), json!("7 "));
    assert_eq!(value(r#""{{ '{{' }} and }}""#), json!("{{ and }}"));
}

#[test]
fn labels_are_text_and_apart_from_values() {
    assert_eq!(value(r#"["{{ label.x }}", "{{ label.seed }}"]"#), json!(["one", "7"]));
}

#[test]
fn absence_can_be_allowed_for() {
    assert_eq!(value(r#"["{{ x.none | default(4) }}", "{{ x.none is defined }}"]"#), json!([4, false]));
}

#[test]
fn vars_reach_into_axis_parameters() {
    let text = r#"
pipeline: p
vars: { root: /data }
axes: { d: { food: { source: "{{ vars.root }}/food" } } }
stages:
  s: { kind: ingest, over: d, with: { source: "{{ d.source }}" } }
"#;
    assert_eq!(params(&load(text), "s[d=food]")["source"], "/data/food");
}

#[test]
fn defaults_are_written_out() {
    let text = "pipeline: p\nstages:\n  s: {kind: ingest, with: {source: x}}\n";
    assert_eq!(*params(&load(text), "s"), json!({"source": "x", "header": false, "digest": null}));
}

#[test]
fn overrides_merge_deeply_in_order() {
    let text = r#"
pipeline: p
axes: { d: [food, yelp, book], seed: [1, 2] }
stages:
  s:
    kind: literal
    over: [d, seed]
    overrides:
      - { when: { d: [food, yelp] }, with: { value: { lr: 0.1, deep: { b: 3 } } } }
      - { when: { d: yelp, seed: 2 }, with: { value: { lr: "{{ seed }}" } } }
    with: { value: { lr: 0.5, deep: { a: 1, b: 2 } } }
"#;
    let pipeline = load(text);
    let at = |labels: &str| params(&pipeline, &format!("s[{labels}]"))["value"].clone();
    assert_eq!(at("d=book,seed=1"), json!({"lr": 0.5, "deep": {"a": 1, "b": 2}}));
    assert_eq!(at("d=food,seed=2"), json!({"lr": 0.1, "deep": {"a": 1, "b": 3}}));
    assert_eq!(at("d=yelp,seed=1"), json!({"lr": 0.1, "deep": {"a": 1, "b": 3}}));
    assert_eq!(at("d=yelp,seed=2"), json!({"lr": 2, "deep": {"a": 1, "b": 3}}));
}

#[test]
fn aliases_share_values_and_bombs_do_not_go_off() {
    let text = "pipeline: p\nvars: {shared: &s {a: [1, 2]}}\nstages:\n  s: {kind: literal, with: {value: *s}}\n";
    assert_eq!(params(&load(text), "s")["value"], json!({"a": [1, 2]}));
    let mut bomb = "pipeline: p\nvars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("  a{level}: &a{level} [{aliases}]\n"));
    }
    let messages = mistakes(&bomb, &Options::default());
    assert!(messages[0].contains("expand to more than"), "{messages:?}");
}

#[test]
fn chains_of_aliases_cannot_nest_without_end() {
    let mut text = "pipeline: p\nvars:\n  a0: &a0 [x]\n".to_owned();
    (1..200).for_each(|level| text.push_str(&format!("  a{level}: &a{level} [*a{}]\n", level - 1)));
    assert!(mistakes(&text, &Options::default())[0].contains("levels deep"));
}

#[test]
fn messages_are_short_whatever_the_file_holds() {
    let long = "x".repeat(20 << 20);
    for text in [
        "#".repeat(33 << 20),
        format!("# {long}\n{long}: 1"),
        format!("pipeline: {long}"),
        format!("pipeline: p\n{long}: 1"),
        format!("pipeline: p\nstages: {{s: {{kind: {long}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: literal, over: {long}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: literal, needs: {{{long}: {long}}}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: ingest, with: {{source: [{long}]}}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: train, with: {{backbone: {long}, epochs: {long}}}}}}}"),
        format!("pipeline: p\naxes: {{a: [{long}]}}\nstages: {{s: {{kind: literal, over: a}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: literal, where: {long}, with: {long}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: literal, with: {{value: \"{{{{ {long} }}}}\"}}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: literal, with: {{value: \"{{{{ '{long}' * 'a' }}}}\"}}}}}}"),
        format!("pipeline: p\nstages: {{s: {{kind: literal, with: {{value: {}}}}}}}", "9".repeat(1 << 20)),
        format!("pipeline: p\ninclude: {long}\n"),
        format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("pipeline: !{long} p"),
        format!("pipeline: *{long}"),
        "a: b: c".repeat(100_000),
        (0..100_000).map(|n| format!("k{n}: 1\n")).collect(),
        (0..100_000).map(|n| format!("k{n}: 1, ")).collect::<String>(),
    ] {
        let mistakes = try_load(&text, &Options::default()).expect_err("no pipeline");
        let rendered = mistakes.render(false, 100);
        assert!(rendered.len() < 200_000, "{} bytes for {}", rendered.len(), &text[..40]);
    }
}

#[test]
fn expressions_cannot_run_forever() {
    let text = "pipeline: p\nstages:\n  s: {kind: literal, with: {value: \"{{ range(100000) | map('string') | join | length }}\"}}\n";
    let _ = try_load(text, &Options::default());
    let text = text.replace("range(100000)", "range(1000000000)");
    assert_eq!(mistakes(&text, &Options::default()).len(), 1);
    // Each alone is small.
    let many = format!("[{}]", vec![r#""{{ 'x' * 1000000 }}""#; 300].join(", "));
    let text = format!("pipeline: p\nstages:\n  s: {{kind: literal, with: {{value: {many}}}}}\n");
    assert!(mistakes(&text, &Options::default())[0].contains("256 MiB"));
}

#[test]
fn templates_see_no_files_environment_or_clock() {
    for name in ["env", "getenv", "now", "open", "include", "debug", "self"] {
        let text =
            format!("pipeline: p\nstages:\n  s: {{kind: literal, with: {{value: \"{{{{ {name}('HOME') }}}}\"}}}}\n");
        assert_eq!(mistakes(&text, &Options::default()).len(), 1, "{name}");
    }
}
