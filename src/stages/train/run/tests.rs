//! The stage on files: what it writes, and that neither threads nor an interruption show in the bytes.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::datatypes::{Float64Type, UInt32Type};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::data::ids::keys_to_batch;
use crate::engine::stage::{Input, Job, Notice};
use crate::kernel::Aligned;
use crate::method::Device as Computes;
use crate::metric::{Metric, Relevance, evaluate};
use crate::train::{Candidates, Ranking, Scorer, recommend};

const OUTPUTS: [&str; 5] = ["recommendations", "candidates", "embeddings", "curve", "summary"];

fn interactions(pairs: impl Iterator<Item = (u32, u32)>) -> Interactions {
    let (user, item) = pairs.unzip();
    Interactions { user, item, ..Interactions::default() }
}

/// Where items stand in the parts of a split.
fn catalogue() -> RecordBatch {
    let rows = |occurs: fn(u32) -> bool| UInt32Array::from_iter_values((0..15).map(|item| u32::from(occurs(item))));
    let columns = [("train", rows(|_| true)), ("valid", rows(|item| item < 2)), ("iid", rows(|item| item < 9))];
    let ood = ("ood", rows(|item| item == 4 || item == 11));
    RecordBatch::try_from_iter(
        columns.into_iter().chain([ood]).map(|(name, rows)| (name, Arc::new(rows) as Arc<dyn Array>)),
    )
    .unwrap()
}

/// The items `i0` to `i14` of a split; with `domains`, every third is of the target domain.
fn items(domains: bool) -> RecordBatch {
    let domain = |item: u32| domains.then_some(if item.is_multiple_of(3) { "target" } else { "source" });
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(UInt32Array::from_iter_values(0..15)) as Arc<dyn Array>, false),
        ("key", Arc::new(StringArray::from_iter_values((0..15).map(|item| format!("i{item}")))), false),
        ("domain", Arc::new((0..15).map(domain).collect::<StringArray>()), true),
    ])
    .unwrap()
}

/// A split of 20 users and 15 items in `dir`; every other row of the test is `iid`.
fn split(dir: &Path) -> BTreeMap<String, PathBuf> {
    let train = interactions(
        (0..20).flat_map(|user| (0..15).filter(move |item| (user + item) % 3 == 0).map(move |item| (user, item))),
    );
    let valid = interactions((0..20).map(|user| (user, (user + 1) % 15)));
    let test = interactions((0..20).map(|user| (user, (user + 4) % 15))).into_batch().unwrap();
    let sets = StringArray::from_iter_values((0..20).map(|row| if row % 2 == 0 { "iid" } else { "ood" }));
    let schema = test.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).zip(test.columns().to_vec());
    let test =
        RecordBatch::try_from_iter(columns.chain([("set".to_owned(), Arc::new(sets) as Arc<dyn Array>)])).unwrap();
    [
        ("train", train.into_batch().unwrap()),
        ("valid", valid.into_batch().unwrap()),
        ("test", test),
        ("items", items(false)),
        ("catalogue", catalogue()),
        (
            "users",
            keys_to_batch((0..20).map(|user| format!("u{user}")).collect::<Vec<_>>().iter().map(String::as_str))
                .unwrap(),
        ),
    ]
    .map(|(name, batch)| {
        let path = dir.join(format!("{name}.parquet"));
        parquet::write(&path, &batch, &[]).unwrap();
        (name.to_owned(), path)
    })
    .into()
}

fn job(dir: &Path, ports: &[&str], changes: Value) -> Job {
    let artifacts = split(dir);
    let mut params = json!({ "backbone": "mf", "dim": 4, "epochs": 5, "seed": 3, "top_k": 6, "batch_size": 64 });
    params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let out_dir = dir.join("out");
    fs::create_dir_all(&out_dir).unwrap();
    Job {
        kind: "train".into(),
        id: "model".into(),
        params,
        inputs: ports
            .iter()
            .map(|port| Input { port: port.to_string(), labels: Vec::new(), artifacts: artifacts.clone() })
            .collect(),
        files: Vec::new(),
        digests: Vec::new(),
        out_dir,
        scratch: dir.join("scratch"),
        threads: 2,
        gpus: Vec::new(),
    }
}

fn run_job(job: &Job) -> Result<Vec<Vec<u8>>, StageError> {
    let notify = |_: Notice| ();
    let context = Context { job, notify: &notify };
    run(&job.params, &context)?;
    Ok(OUTPUTS.map(|name| fs::read(context.output(name)).unwrap()).into())
}

#[test]
fn artifacts_have_the_declared_columns() {
    let dir = TempDir::new().unwrap();
    let job = job(dir.path(), &["split"], json!({}));
    run_job(&job).unwrap();
    for output in <Train as crate::engine::stage::Stage>::OUTPUTS {
        let batch = parquet::read(&job.out_dir.join(format!("{}.parquet", output.name))).unwrap();
        let crate::spec::Form::Table(columns) = output.form else { panic!("{} is a table", output.name) };
        let found: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(found, columns.iter().map(|column| column.name).collect::<Vec<_>>());
        assert!(batch.num_rows() > 0, "{}", output.name);
    }
    let embeddings = parquet::read(&job.out_dir.join("embeddings.parquet")).unwrap();
    assert_eq!(embeddings.num_rows(), 35);
}

#[test]
fn threads_do_not_show_in_the_bytes() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let single = Job { threads: 1, ..job(one.path(), &["split"], json!({})) };
    assert_eq!(run_job(&single).unwrap(), run_job(&job(two.path(), &["split"], json!({}))).unwrap());
}

/// Stops a followed training after its second epoch.
struct Stop<'a>(Follow<'a>);

impl Watch for Stop<'_> {
    fn epoch(&mut self, end: &EpochEnd, checkpoint: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()> {
        match self.0.epoch(end, checkpoint) {
            ControlFlow::Continue(()) if end.done < 2 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

#[test]
fn an_interruption_does_not_show_in_the_bytes() {
    let dir = TempDir::new().unwrap();
    let job = job(dir.path(), &["split"], json!({}));
    let whole = run_job(&job).unwrap();

    let context = Context { job: &job, notify: &|_| () };
    let [train, valid] = ["train", "valid"]
        .map(|name| Interactions::from_batch(&parquet::read(&job.inputs[0].artifacts[name]).unwrap()).unwrap());
    let config = parse::<Train>(&job.params).unwrap();
    let train = TrainingData::new(train);
    let candidates = choose(&config, &context, &train.graph, &valid).unwrap().candidates;
    let data = Data { train: &train, valid: &valid, oracle: None, candidates: &candidates, sets: None };
    let mut stop = Stop(Follow::new(&context, Duration::ZERO).unwrap());
    fit(&config, &data, Computes::Cpu, None, &mut stop).unwrap_err();
    assert!(stop.0.path.exists());

    let epochs = std::sync::Mutex::new(Vec::new());
    let notify = |notice: Notice| {
        if let Notice::Progress(progress) = notice {
            epochs.lock().unwrap().push(progress.done);
        }
    };
    run(&job.params, &Context { job: &job, notify: &notify }).unwrap();
    assert_eq!(*epochs.lock().unwrap(), [3, 4, 5]);
    let resumed: Vec<Vec<u8>> = OUTPUTS.map(|name| fs::read(context.output(name)).unwrap()).into();
    assert_eq!(resumed, whole);
}

#[test]
fn the_test_set_is_seen_only_by_the_oracle() {
    let run_with = |ports: &[&str], select: Value| {
        let dir = TempDir::new().unwrap();
        run_job(&job(dir.path(), ports, json!({ "select": select }))).map(|_| ())
    };
    run_with(&["split", "oracle"], json!("test_oracle")).unwrap();
    let missing = run_with(&["split"], json!("test_oracle")).unwrap_err();
    assert!(missing.message.contains("needs a test"), "{missing}");
    let unasked = run_with(&["split", "oracle"], json!("last")).unwrap_err();
    assert!(unasked.message.contains("does not ask"), "{unasked}");
    let set = run_with(&["split", "oracle"], json!({ "test_oracle": { "set": "tail" } })).unwrap_err();
    assert!(set.message.contains("`tail`"), "{set}");
}

/// The items that were ranked, and the rule that the summary states.
fn ranked(job: &Job) -> Result<(Vec<u32>, String), StageError> {
    run_job(job)?;
    let read = |name: &str| parquet::read(&job.out_dir.join(format!("{name}.parquet"))).unwrap();
    let (lists, candidates, summary) = (read("recommendations"), read("candidates"), read("summary"));
    let items = candidates["item"].as_primitive::<UInt32Type>().values().to_vec();
    let listed = lists["item"].as_primitive::<UInt32Type>().values();
    assert!(listed.len() > 20 && listed.iter().all(|item| items.contains(item)), "{listed:?} are not all of {items:?}");
    let (names, values) = (summary["name"].as_string::<i32>(), summary["value"].as_primitive::<Float64Type>());
    let fact = |name: &str| values.value(names.iter().position(|own| own == Some(name)).unwrap());
    assert_eq!(fact("candidates"), items.len() as f64);
    let rules = names.iter().flatten().filter(|name| name.starts_with("candidates_") && fact(name) == 1.0);
    Ok((items, rules.collect::<Vec<_>>().join(" ")))
}

fn with_candidates(dir: &TempDir, ports: &[&str], candidates: Value) -> Job {
    job(dir.path(), ports, json!({ "candidates": candidates, "top_k": 3 }))
}

#[test]
fn items_of_the_target_domain_are_ranked_where_there_are_two() {
    let dir = TempDir::new().unwrap();
    let job_of = |candidates| with_candidates(&dir, &["split"], candidates);
    let all = ((0..15).collect(), "candidates_all".to_owned());
    assert_eq!(ranked(&job_of(json!("auto"))).unwrap(), all);
    let job = job_of(json!("auto"));
    parquet::write(&job.inputs[0].artifacts["items"], &items(true), &[]).unwrap();
    assert_eq!(ranked(&job).unwrap(), (vec![0, 3, 6, 9, 12], "candidates_target".to_owned()));
    let job = job_of(json!("all"));
    parquet::write(&job.inputs[0].artifacts["items"], &items(true), &[]).unwrap();
    assert_eq!(ranked(&job).unwrap(), all);
}

#[test]
fn items_of_parts_are_ranked_where_they_are_asked_for() {
    let dir = TempDir::new().unwrap();
    let of = |ports: &[&str], candidates| ranked(&with_candidates(&dir, ports, candidates));
    let both = of(&["split", "catalogue"], json!({ "items_of": ["ood", "valid"] })).unwrap();
    assert_eq!(both, (vec![0, 1, 4, 11], "candidates_of_valid candidates_of_ood".to_owned()));
    let missing = of(&["split"], json!({ "items_of": ["ood"] })).unwrap_err();
    assert!(missing.help.unwrap().contains("port `catalogue`"));
    let unasked = of(&["split", "catalogue"], json!("all")).unwrap_err();
    assert!(unasked.message.contains("does not ask for"), "{unasked}");
}

#[test]
fn a_file_lists_the_candidates_or_the_other_items() {
    let dir = TempDir::new().unwrap();
    let list = dir.path().join("list.txt");
    let of = |rule: &str, text: &str| {
        fs::write(&list, text).unwrap();
        let job = with_candidates(&dir, &["split"], json!({ rule: { "source": "list.txt" } }));
        ranked(&Job { files: vec![list.clone()], ..job })
    };
    let rule = "candidates_listed".to_owned();
    // Lines of another system, a blank one, an item that is not there.
    let text = "i3\r\ni4 \n\ni10\ni99\ni12\ni3\n";
    assert_eq!(of("only", text).unwrap(), (vec![3, 4, 10, 12], rule.clone()));
    let others = (0..15).filter(|item| ![3, 4, 10, 12].contains(item)).collect();
    assert_eq!(of("except", text).unwrap(), (others, rule));
    let foreign = of("except", "3\n4\n").unwrap_err();
    assert!(foreign.message.contains("none of the 2 items in `list.txt`"), "{foreign}");
    assert!(foreign.help.unwrap().contains("`i0`"));
    let all: String = (0..15).map(|item| format!("i{item}\n")).collect();
    let nothing = of("except", &all).unwrap_err();
    assert!(nothing.message.contains("no item"), "{nothing}");
}

/// The pairs of users and items that were ranked, and the recommended ones.
fn ranked_pairs(job: &Job) -> Result<[Vec<(u32, u32)>; 2], StageError> {
    run_job(job)?;
    Ok(["candidates", "recommendations"].map(|name| {
        let batch = parquet::read(&job.out_dir.join(format!("{name}.parquet"))).unwrap();
        let column = |name: &str| batch[name].as_primitive::<UInt32Type>().values().to_vec();
        column("user").into_iter().zip(column("item")).collect()
    }))
}

/// Whether a user of the test split has an item in training or validation.
fn has(user: u32, item: u32) -> bool {
    (user + item).is_multiple_of(3) || item == (user + 1) % 15
}

/// The OOD test has the item `(user + 4) % 15` of every odd user; 14 negatives are more than anybody has left.
#[test]
fn test_items_and_all_that_is_not_the_users_are_ranked_where_negatives_do_not_run_out() {
    let dir = TempDir::new().unwrap();
    let rule = |negatives: u32| json!({ "sampled": { "of": ["ood"], "negatives": negatives } });
    let whole = job(dir.path(), &["split", "targets"], json!({ "candidates": rule(14), "top_k": 15 }));
    let [candidates, recommended] = ranked_pairs(&whole).unwrap();
    let test = |user: u32| (user + 4) % 15;
    let odd = || (1..20).step_by(2);
    let expected: Vec<(u32, u32)> = odd()
        .flat_map(|user| (0..15).map(move |item| (user, item)))
        .filter(|&(user, item)| item == test(user) || !has(user, item))
        .collect();
    assert_eq!(candidates, expected);
    // All are recommended, but for what the masks hide.
    let mut recommended = recommended;
    recommended.sort_unstable();
    assert_eq!(recommended, expected.into_iter().filter(|&(user, item)| !has(user, item)).collect::<Vec<_>>());
    // With fewer negatives, some of these.
    let some = job(dir.path(), &["split", "targets"], json!({ "candidates": rule(3), "top_k": 15 }));
    let [some, _] = ranked_pairs(&some).unwrap();
    assert!(some.iter().all(|pair| candidates.contains(pair)));
    for user in odd() {
        let own: Vec<u32> = some.iter().filter(|pair| pair.0 == user).map(|pair| pair.1).collect();
        assert!(own.len() == 4 && own.contains(&test(user)), "{user}: {own:?}");
    }
}

#[test]
fn methods_and_seeds_share_their_negatives() {
    let dir = TempDir::new().unwrap();
    let of = |sampled: Value, changes: Value| {
        let mut params = json!({ "seed": 3, "top_k": 6, "candidates": { "sampled": sampled } });
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let job = Job { params, ..job(dir.path(), &["split", "targets"], json!({})) };
        ranked_pairs(&job).unwrap()[0].clone()
    };
    let mf = json!({ "backbone": "mf", "dim": 4, "epochs": 1 });
    for popularity in [false, true] {
        let sampled = json!({ "of": ["iid", "ood"], "negatives": 3, "popularity": popularity });
        let first = of(sampled.clone(), mf.clone());
        assert_eq!(first.len(), 20 * 4);
        assert_eq!(of(sampled.clone(), json!({ "backbone": "mf", "dim": 4, "epochs": 1, "seed": 4 })), first);
        assert_eq!(of(sampled.clone(), json!({ "recommender": "popularity" })), first);
        let other = json!({ "of": ["iid", "ood"], "negatives": 3, "popularity": popularity, "seed": 2 });
        assert_ne!(of(other, mf.clone()), first);
    }
}

#[test]
fn threads_do_not_show_in_the_bytes_of_sampled_candidates() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let changes = json!({ "candidates": { "sampled": { "of": ["iid"], "negatives": 4 } } });
    let [one, two] = [(1, &dirs[0]), (2, &dirs[1])].map(|(threads, dir)| {
        run_job(&Job { threads, ..job(dir.path(), &["split", "targets"], changes.clone()) }).unwrap()
    });
    assert_eq!(one, two);
}

#[test]
fn sampled_candidates_need_the_tests_and_nothing_else_may_have_them() {
    let dir = TempDir::new().unwrap();
    let of = |ports: &[&str], candidates| run_job(&with_candidates(&dir, ports, candidates)).map(|_| ());
    let sampled = |negatives: u32| json!({ "sampled": { "of": ["ood"], "negatives": negatives } });
    of(&["split", "targets"], sampled(3)).unwrap();
    let missing = of(&["split"], sampled(3)).unwrap_err();
    assert!(missing.help.unwrap().contains("port `targets`"));
    let unasked = of(&["split", "targets"], json!("all")).unwrap_err();
    assert!(unasked.message.contains("does not ask for"), "{unasked}");
    let many = of(&["split", "targets"], sampled(15)).unwrap_err();
    assert_eq!(many.message, "15 negatives per user are asked for, but there are 15 items");
    let job = with_candidates(&dir, &["split", "targets"], json!({ "sampled": { "of": ["ood"], "negatives": 3 } }));
    let test = parquet::read(&job.inputs[1].artifacts["test"]).unwrap();
    let schema = test.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).zip(test.columns().to_vec());
    let iid = columns.map(|(name, column)| match name.as_str() {
        "set" => (name, Arc::new(StringArray::from(vec!["iid"; 20])) as Arc<dyn Array>),
        _ => (name, column),
    });
    parquet::write(&job.inputs[1].artifacts["test"], &RecordBatch::try_from_iter(iid).unwrap(), &[]).unwrap();
    let none = run_job(&job).unwrap_err();
    assert_eq!(none.message, "no user has a test item that is ranked in `ood`");
}

#[test]
fn a_file_lists_the_candidates_of_each_user() {
    let dir = TempDir::new().unwrap();
    let list = dir.path().join("list.txt");
    let of = |text: &str| {
        fs::write(&list, text).unwrap();
        let job = with_candidates(&dir, &["split", "targets"], json!({ "per_user": { "source": "list.txt" } }));
        ranked_pairs(&Job { files: vec![list.clone()], ..job })
    };
    // Items 3 and 6 are in training for user 0, who gets 2 and 4; the order of lines and repetitions are nothing.
    let pairs = [vec![(0, 2), (0, 3), (0, 4), (0, 6), (7, 9)], vec![(0, 2), (0, 4), (7, 9)]];
    for text in [
        "u7 i9
u0 i4
u0  i3

u0 i6
u0 i2
u99 i1
u0 i99
u0 i4
",
        "u0	i2
u0	i4 
u7	i9
u0	i3
u0	i6",
    ] {
        let [candidates, mut recommended] = of(text).unwrap();
        recommended.sort_unstable();
        assert_eq!([candidates, recommended], pairs);
    }
    let malformed = of("u0 i4
u7
")
    .unwrap_err();
    assert_eq!(malformed.message, "line 2 of `list.txt` is not a user and an item: `u7`");
    let foreign = of("i4 u0
7 9
")
    .unwrap_err();
    assert!(foreign.message.contains("none of the 2 lines of `list.txt`"), "{foreign}");
    assert!(foreign.help.unwrap().contains("`u0 i0`"));
}

/// The best epoch is chosen by what will be ranked: a validation part without candidates decides nothing.
#[test]
fn validation_ranks_the_same_candidates() {
    let dir = TempDir::new().unwrap();
    let job = with_candidates(&dir, &["split", "catalogue"], json!({ "items_of": ["ood"] }));
    run_job(&job).unwrap();
    let curve = parquet::read(&job.out_dir.join("curve.parquet")).unwrap();
    let (measures, values) = (curve["measure"].as_string::<i32>(), curve["value"].as_primitive::<Float64Type>());
    // Two candidates: whoever has one of them in validation finds it among the first ten.
    let recall = measures.iter().position(|name| name == Some("valid_recall@10")).unwrap();
    assert_eq!(values.value(recall), 1.0);
    let valid = interactions([(0, 5), (3, 7)].into_iter()).into_batch().unwrap();
    let job = with_candidates(&dir, &["split", "catalogue"], json!({ "items_of": ["ood"] }));
    parquet::write(&job.inputs[0].artifacts["valid"], &valid, &[]).unwrap();
    let error = run_job(&job).unwrap_err();
    assert!(error.message.contains("nothing to choose the best epoch by"), "{error}");
}

#[test]
fn a_key_names_the_device_only_where_results_depend_on_it() {
    use crate::engine::stage::{Facet, Stage};
    let facets = |device: &str| {
        Train::facets(&parse::<Train>(&json!({ "backbone": "mf", "seed": 1, "device": device })).unwrap())
    };
    assert_eq!(facets("cpu"), []);
    assert_eq!((facets("auto"), facets("cuda")), (vec![Facet::Device], vec![Facet::Device]));
}

/// Recall@20 on the IID test of Yelp2018 of a model that gives every item the same score: that of chance, 20 of 13,879
/// items, not the .0053 of the items that come first in the training file.
#[test]
#[ignore = "needs the public data"]
fn a_constant_model_scores_like_chance_on_yelp2018() {
    let root = crate::stages::testing::public_data();
    let read = |name: &str| fs::read_to_string(root.join(format!("yelp2018/{name}.txt"))).unwrap();
    let mut ids = crate::data::ids::IdMap::default();
    let mut pairs = |name: &str| -> Vec<(u32, u32)> {
        let text = read(name);
        let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|fields| fields.len() == 3);
        fields.map(|fields| (fields[0].parse().unwrap(), ids.id(fields[1]).unwrap())).collect()
    };
    let (train, test) = (pairs("train"), pairs("test_iid"));
    let graph = Graph::from_interactions(&interactions(train.iter().copied()));
    let relevance = Relevance::new(graph.n_users, test);
    let users: Vec<u32> = (0..graph.n_users as u32).collect();
    let recall = |seed| {
        let candidates = Candidates::new(seed, ids.keys().take(graph.n_items), |_| true);
        let ranking = Ranking { candidates: &candidates, masks: &[&graph], k: 20 };
        let ones = |count: usize| Aligned::from(&vec![1.0; count][..]);
        let vectors = Vectors { width: 1, queries: ones(graph.n_users), items: ones(graph.n_items) };
        let lists = recommend(&Scorer::Vectors { vectors: &vectors, device: Computes::Cpu }, &users, &ranking).unwrap();
        assert!(lists.iter().flatten().all(|scored| scored.tied));
        let lists: Vec<Vec<u32>> = lists.into_iter().map(|list| list.iter().map(|one| one.item).collect()).collect();
        let metrics = [Metric::parse("recall@20").unwrap()];
        evaluate(&metrics, &relevance, &[], |user| &lists[user as usize]).mean(0)
    };
    let found = (1..=20).map(recall).sum::<f64>() / 20.0;
    assert!((0.0011..0.0019).contains(&found), "{found}");
}
