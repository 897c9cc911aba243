//! Axes, broadcasting, gathering, conditions.

use super::*;

pub(super) const PAPER: &str = r#"
pipeline: paper
axes:
  dataset:
    food: { source: food.txt, has_time: false }
    yelp: { source: yelp.txt, has_time: true }
  scenario: [popularity, temporal]
  method:
    rns: { sampler: { kind: uniform } }
    dns: { sampler: { kind: dns, candidates: 32 } }
  seed: [1, 2]
stages:
  paper: { kind: report, collapse: [dataset, scenario], needs: { scores: score*, tests: tests } }
  raw: { kind: ingest, over: dataset, with: { source: "{{ dataset.source }}" } }
  split:
    kind: split
    over: [scenario]
    where: "{{ scenario != 'temporal' or dataset.has_time }}"
    needs: { data: raw }
    with: { method: { kind: given } }
  model:
    kind: train
    over: [seed, method]
    needs: { split: split }
    with: { backbone: mf, sampler: "{{ method.sampler }}", seed: "{{ seed }}" }
  score: { kind: evaluate, needs: { model: model, split: split }, with: { metrics: [recall], at: [20] } }
  tests: { kind: compare, collapse: [method, seed], needs: { scores: score }, with: { reference: rns } }
"#;

#[test]
fn axes_come_from_needs_in_the_order_of_the_file() {
    let pipeline = load(PAPER);
    let axes: Vec<_> = pipeline.stages.iter().map(|stage| (stage.name.as_str(), stage.axes.join(","))).collect();
    assert_eq!(axes[0], ("paper", String::new()));
    assert_eq!(axes[1], ("raw", "dataset".into()));
    assert_eq!(axes[2], ("split", "dataset,scenario".into()));
    assert_eq!(axes[3], ("model", "dataset,scenario,method,seed".into()));
    assert_eq!(axes[5], ("tests", "dataset,scenario".into()));
}

#[test]
fn where_drops_combinations_and_what_needs_them() {
    let pipeline = load(PAPER);
    let split =
        ["dataset=food,scenario=popularity", "dataset=yelp,scenario=popularity", "dataset=yelp,scenario=temporal"];
    assert_eq!(ids(&pipeline, "split"), split.map(|labels| format!("split[{labels}]")));
    assert_eq!(ids(&pipeline, "tests"), split.map(|labels| format!("tests[{labels}]")));
    assert_eq!(ids(&pipeline, "model").len(), 3 * 2 * 2);
    assert_eq!(ids(&pipeline, "paper"), ["paper"]);
}

#[test]
fn needs_agree_on_shared_axes_and_gather_collapsed_ones_in_axis_order() {
    let pipeline = load(PAPER);
    let model = "model[dataset=yelp,scenario=temporal,method=dns,seed=2]";
    assert_eq!(sources(&pipeline, model, "split"), ["split[dataset=yelp,scenario=temporal]"]);
    let cell = "dataset=food,scenario=popularity";
    let gathered = ["method=rns,seed=1", "method=rns,seed=2", "method=dns,seed=1", "method=dns,seed=2"];
    assert_eq!(
        sources(&pipeline, &format!("tests[{cell}]"), "scores"),
        gathered.map(|labels| format!("score[{cell},{labels}]"))
    );
    assert_eq!(sources(&pipeline, "paper", "scores").len(), 12);
    assert_eq!(sources(&pipeline, "paper", "tests").len(), 3);
}

#[test]
fn needs_stand_in_port_order_with_the_artifacts_of_the_port() {
    let pipeline = load(PAPER);
    let score = &pipeline.instances[pipeline.stages[4].instances.start];
    let ports: Vec<_> =
        score.needs.iter().map(|need| (need.port.as_str(), need.sources[0].artifacts.join(","))).collect();
    assert_eq!(ports, [("split", "test".to_owned()), ("model", "recommendations".to_owned())]);
}

#[test]
fn a_port_of_many_takes_what_is_left_and_one_of_one_is_a_missing_cell() {
    let text = r#"
pipeline: p
axes: { x: [a, b, c], y: [u, v] }
stages:
  first: { kind: literal, over: [x, y], except: [{ x: a, y: u }, { x: b }] }
  second: { kind: concat, needs: { tables: first } }
  third: { kind: concat, collapse: [y], needs: { tables: [second, first.table] } }
"#;
    let pipeline = load(text);
    assert_eq!(ids(&pipeline, "first"), ["first[x=a,y=v]", "first[x=c,y=u]", "first[x=c,y=v]"]);
    assert_eq!(ids(&pipeline, "second").len(), 3);
    assert_eq!(ids(&pipeline, "third"), ["third[x=a]", "third[x=c]"]);
    let expected = ["second[x=c,y=u]", "second[x=c,y=v]", "first[x=c,y=u]", "first[x=c,y=v]"];
    assert_eq!(sources(&pipeline, "third[x=c]", "tables"), expected);
}

#[test]
fn a_starred_need_gathers_what_the_stage_lacks_and_adds_no_axes() {
    let text = r#"
pipeline: p
axes: { x: [a, b], y: [u, v] }
stages:
  first: { kind: literal, over: [x, y] }
  second: { kind: concat, over: [y], needs: { tables: first* } }
"#;
    let pipeline = load(text);
    assert_eq!(ids(&pipeline, "second"), ["second[y=u]", "second[y=v]"]);
    assert_eq!(sources(&pipeline, "second[y=v]", "tables"), ["first[x=a,y=v]", "first[x=b,y=v]"]);
}

#[test]
fn only_and_seeds_narrow_axes_and_are_recorded() {
    let options = Options {
        only: vec![("method".into(), vec!["dns".into()])],
        seeds: Some(vec![7, 8, 9]),
        set: vec![("stages.model.with.epochs".into(), "3".into())],
    };
    let pipeline = try_load(PAPER, &options).expect("a sound pipeline");
    let model = "model[dataset=food,scenario=popularity,method=dns,seed=9]";
    assert_eq!(params(&pipeline, model)["epochs"], 3);
    assert_eq!(params(&pipeline, model)["seed"], 9);
    assert_eq!(ids(&pipeline, "model").len(), 3 * 3);
    assert_eq!(pipeline.changes, ["--set stages.model.with.epochs=3", "--only method=dns", "--seeds 7,8,9"]);
}

#[test]
fn narrowed_axes_may_leave_stages_without_instances() {
    let text = "
pipeline: p
axes: { x: [a, b] }
stages:
  first: { kind: literal, over: x, where: { x: a } }
  second: { kind: concat, collapse: x, needs: { tables: first } }
  third: { kind: literal, over: x }
";
    let options = Options { only: vec![("x".into(), vec!["b".into()])], ..Options::default() };
    let pipeline = try_load(text, &options).expect("known labels");
    assert_eq!(pipeline.instances.len(), 1);
    assert!(ids(&pipeline, "second").is_empty());
}

#[test]
fn included_files_come_first_and_relative_to_their_includer() {
    let files = [
        ("dir/root.yaml", "pipeline: p\ninclude: sub/a.yaml\nstages: {last: {kind: literal, over: [x]}}"),
        ("dir/sub/a.yaml", "include: [b.yaml, ../c.yaml]\nstages: {middle: {kind: literal}}"),
        ("dir/sub/b.yaml", "include: ../c.yaml\naxes: {x: [1, 2]}"),
        ("dir/c.yaml", "stages: {first: {kind: literal}}"),
    ];
    let pipeline = load_files(&files, &Options::default()).expect("a sound pipeline");
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["first", "middle", "last"]);
    assert_eq!(pipeline.stages[0].location.file, "dir/c.yaml");
    assert_eq!(pipeline.instances.len(), 4);
}

#[test]
fn every_mistake_is_reported_once_however_many_instances_have_it() {
    let text = r#"
pipeline: p
axes: { seed: [1, 2, 3] }
stages:
  a: { kind: literal, over: seed, with: { valeu: 1 } }
  b: { kind: concat, needs: { tables: c } }
  d: { kind: ingest, over: sed, with: { source: 5, header: no } }
"#;
    let messages = mistakes(text, &Options::default());
    assert_eq!(messages.len(), 5, "{messages:#?}");
}

#[test]
fn parameters_are_checked_also_where_a_need_is_broken() {
    let text = |condition: &str| {
        format!(
            "pipeline: p\naxes: {{ seed: [1, 2] }}\nstages:\n  tests: {{ kind: compare, over: seed, {condition} \
             needs: {{ scores: nothing }}, with: {{ reference: \"{{{{ seed }}}}\" }} }}"
        )
    };
    let messages = mistakes(&text(""), &Options::default());
    assert_eq!(messages.len(), 2, "{messages:#?}");
    // Which combinations exist is not known here, so nothing is said of any.
    assert_eq!(mistakes(&text("where: { seed: 1 },"), &Options::default()).len(), 1);
}
