//! What every method keeps to. These tests are made from the lists, so that a method is tested by standing in one; what is
//! seen of whole trainings alone is tested beside the training loop.

use rand::RngExt;
use rand::seq::SliceRandom;
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::backbone::{Backbones, start_backbone};
use super::loss::{LossRows, LossTraits, Losses, Need, start_loss};
use super::optim::{Rule, Update};
use super::recommender::{Recommenders, start_recommender};
use super::sampler::{Negatives, Samplers, StepGradient, start_sampler};
use super::spec::List;
use super::*;
use crate::data::{Graph, Interactions};
use crate::kernel::Aligned;
use crate::rng;

pub const USERS: usize = 40;
pub const ITEMS: usize = 30;

/// The sizes of pools that results are compared over.
pub const THREADS: [usize; 3] = [1, 2, 4];

/// What is shortened in the defaults, wherever a method has it.
const SHORT: [(&str, u64); 3] = [("candidates", 3), ("length", 5), ("gen_warmup_epochs", 1)];

/// Interactions by chance with times, some of them equal: what is learnt from, and two held out of each user. The first user
/// has one item to learn from, the last item no user.
pub fn parts() -> (TrainingData, Interactions) {
    let mut rng = rng::stream(7, "test data", 0);
    let mut parts = [(); 2].map(|()| Interactions { time: Some(Vec::new()), ..Interactions::default() });
    for user in 0..USERS as u32 {
        let mut items: Vec<u32> = (0..ITEMS as u32 - 1).collect();
        items.shuffle(&mut rng);
        let learnt = if user == 0 { 1 } else { rng.random_range(4..12) };
        for (number, &item) in items[..learnt + 2].iter().enumerate() {
            let part = &mut parts[usize::from(number >= learnt)];
            part.user.push(user);
            part.item.push(item);
            part.time.iter_mut().for_each(|times| times.push(rng.random_range(0..50)));
        }
    }
    let [train, valid] = parts;
    (TrainingData::over(Graph::with_size(USERS, ITEMS, &train), train), valid)
}

/// A pool of so many threads.
pub fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// The schema of a method, and what it refers to.
fn schema<T>(entry: &Entry<T>) -> (Value, Map<String, Value>) {
    let mut generator = SchemaGenerator::default();
    let schema = (entry.schema)(&mut generator).to_value();
    (schema, generator.definitions().clone())
}

/// What a schema refers to, or itself.
fn resolved<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
    name.map_or(schema, |name| &definitions[name])
}

/// All values of a parameter that is yes or no, or one of some names; none for others.
fn alternatives(schema: &Value, definitions: &Map<String, Value>) -> Vec<Value> {
    let schema = resolved(schema, definitions);
    if schema["type"] == "boolean" {
        return vec![json!(false), json!(true)];
    }
    let of = |schema: &Value| match (&schema["enum"], &schema["const"]) {
        (Value::Array(names), _) => names.clone(),
        (_, name @ Value::String(_)) => vec![name.clone()],
        _ => Vec::new(),
    };
    let parts = schema["oneOf"].as_array().into_iter().flatten();
    of(schema).into_iter().chain(parts.flat_map(of)).collect()
}

/// The method with defaults, as short as a test needs, and then with each of its switches and names, one at a time, as the
/// defaults do not have them. Parameters within parameters count as well.
pub fn variants<L: List>(entry: &Entry<L::Traits>) -> Vec<Choice<L>> {
    let (schema, definitions) = schema(entry);
    let defaults = Choice::new(entry.name, &json!({})).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
    let short = SHORT.into_iter().fold(defaults, |choice: Choice<L>, (key, value)| {
        let mut params = choice.params().clone();
        params[key] = json!(value);
        Choice::new(entry.name, &params).unwrap_or(choice)
    });
    let mut places = vec![(String::new(), &schema)];
    let mut variants = vec![short.clone()];
    while let Some((place, schema)) = places.pop() {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}/{key}");
            for value in alternatives(inner, &definitions) {
                let mut params = short.params().clone();
                let Some(target) = params.pointer_mut(&place).filter(|default| **default != value) else { continue };
                *target = value;
                let variant = Choice::new(entry.name, &params).unwrap();
                variants.extend(variant.check().is_ok().then_some(variant));
            }
            places.push((place, resolved(inner, &definitions)));
        }
    }
    variants
}

/// The parameters in a schema that nobody has described.
fn undescribed(schema: &Value, definitions: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let target = resolved(inner, definitions);
        if [inner, target].iter().all(|schema| schema["description"].as_str().is_none_or(str::is_empty)) {
            found.push(path.clone());
        }
        undescribed(target, definitions, &path, found);
    }
}

fn says_what_it_is<L: List>() {
    let entries = L::entries();
    for (number, entry) in entries.iter().enumerate() {
        let Entry { name, version, doc, source, .. } = *entry;
        let snake_case =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(name.split('_').all(snake_case) && name.as_bytes()[0].is_ascii_lowercase(), "{name}");
        assert!(entries[..number].iter().all(|other| other.name != name), "{name} stands in the list twice");
        assert!(version > 0 && !doc.trim().is_empty() && !source.trim().is_empty(), "{name}");

        let (schema, definitions) = schema(entry);
        let mut found = Vec::new();
        undescribed(&schema, &definitions, name, &mut found);
        assert!(found.is_empty(), "parameters without a description: {found:?}");
        assert_eq!(schema["additionalProperties"], false, "{name} takes unknown parameters");

        let defaults: Choice<L> = serde_json::from_value(json!(name)).unwrap();
        for choice in std::iter::once(defaults).chain(variants(entry)) {
            assert_eq!(choice.check(), Ok(()), "{choice:?}");
            let written = serde_json::to_value(&choice).unwrap();
            let read: Choice<L> = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(read, choice);
            assert_eq!(serde_json::to_value(&read).unwrap(), written, "{choice:?} is not canonical");
        }
    }
}

#[test]
fn every_method_says_what_it_is_and_its_parameters_round_trip() {
    says_what_it_is::<Backbones>();
    says_what_it_is::<Samplers>();
    says_what_it_is::<Losses>();
    says_what_it_is::<Recommenders>();
}

#[test]
fn variants_are_all_that_names_and_switches_allow() {
    let names = |entry: &Entry<_>, place: &str| -> Vec<Value> {
        let variants = variants::<Samplers>(entry).into_iter();
        variants.map(|choice| choice.params().pointer(place).unwrap().clone()).collect()
    };
    let cnsdiff = SAMPLERS.iter().find(|entry| entry.name == "cnsdiff").unwrap();
    for (place, other) in [
        ("/variant", json!("as_released")),
        ("/variant", json!("trained_joint")),
        ("/generate", json!(false)),
        ("/schedule/kind", json!("linear")),
        ("/start/pick", json!("random")),
    ] {
        let found = names(cnsdiff, place);
        assert_eq!(found.iter().filter(|&value| *value == other).count(), 1, "{place}: {found:?}");
    }
    assert!(names(cnsdiff, "/gen_warmup_epochs").iter().all(|epochs| *epochs == 1));
}

/// Gradient descent without momentum: what a step of rate 1 takes away is the gradient.
const PLAIN: Rule = Rule::Sgd { momentum: 0.0, decay: 0.0 };

fn setup(data: &TrainingData) -> Setup<'_> {
    Setup { rule: PLAIN, ..Setup::new(data, 3, 8) }
}

/// Uniform numbers between -0.5 and 0.5.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut rng = rng::stream(9, name, 0);
    (0..count).map(|_| rng.random_range(-0.5..0.5)).collect()
}

/// Half of what lies between the two points of a finite difference.
const DISTANCES: [f64; 3] = [8e-3, 2e-3, 5e-4];

/// Whether a derivative is the slope of `value` at 0: over one of some distances, since a method may have a kink or a jump
/// within a long one, and rounding blurs a short one.
fn is_slope(derivative: f64, tolerance: f64, mut value: impl FnMut(f64) -> f64) -> Result<(), f64> {
    let mut nearest = f64::INFINITY;
    let here = value(0.0);
    for distance in DISTANCES {
        let [after, before] = [value(distance), value(-distance)];
        // Where a rectifier changes over within the distance, one side has the slope of the point.
        let sides = [(after - before) / (2.0 * distance), (after - here) / distance, (here - before) / distance];
        for slope in sides {
            if (slope - derivative).abs() <= tolerance {
                return Ok(());
            }
            if (slope - derivative).abs() < (nearest - derivative).abs() {
                nearest = slope;
            }
        }
    }
    Err(nearest)
}

/// The rows of a step: some users and items several times.
struct Sample {
    width: usize,
    per_row: usize,
    /// Queries, positives and negatives.
    rows: [Vec<f32>; 3],
    users: Vec<u32>,
    items: Vec<u32>,
    log_q: Vec<f32>,
}

impl Sample {
    fn new(count: usize, width: usize, per_row: usize) -> Self {
        let mut rng = rng::stream(1, "test rows", width as u64);
        let mut ids = |bound: usize| (0..count).map(|_| rng.random_range(0..bound as u32)).collect();
        let (users, items) = (ids(count.div_ceil(2)), ids(ITEMS));
        let rows = [("queries", 1), ("positives", 1), ("negatives", per_row)]
            .map(|(name, per_row)| numbers(name, count * per_row * width));
        let log_q = numbers("log q", count * per_row).into_iter().map(|value| value - 3.0).collect();
        Self { width, per_row, rows, users, items, log_q }
    }

    fn rows(&self) -> LossRows<'_> {
        let Self { width, per_row, rows, users, items, log_q } = self;
        let [queries, positives, negatives] = rows.each_ref().map(|rows| Gathered::all(rows, *width));
        LossRows { width: *width, per_row: *per_row, queries, positives, negatives, log_q: Some(log_q), users, items }
    }
}

/// How many negatives a loss is tried with.
fn per_row(traits: LossTraits) -> &'static [usize] {
    match traits.negatives {
        Need::Required => &[1, 3],
        Need::Forbidden => &[0],
    }
}

/// What a loss makes of some rows: the mean and its parts by name, and the gradient.
fn evaluate(loss: &mut dyn Loss, rows: &LossRows) -> (Vec<(&'static str, f64)>, [Vec<f32>; 3]) {
    let mut gradient = StepGradient::default();
    let parts = loss.evaluate(rows, &mut gradient).unwrap();
    let StepGradient { queries, positives, negatives } = gradient;
    (parts, [queries, positives, negatives])
}

/// Does `test` with every loss and every number of negatives that it takes.
fn for_every_loss(test: impl Fn(&mut dyn Loss, usize, &str)) {
    let (data, _) = parts();
    backend::torch::one_thread();
    for choice in LOSSES.iter().flat_map(variants::<Losses>) {
        for &per_row in per_row(choice.traits()) {
            let mut loss = start_loss(&choice, &setup(&data)).unwrap();
            test(&mut *loss, per_row, &format!("{choice:?}, {per_row} negatives"));
        }
    }
}

#[test]
fn the_gradient_of_every_loss_is_that_of_finite_differences() {
    const TOLERANCE: f64 = 1e-3;
    for_every_loss(|loss, per_row, what| {
        for width in [5, 16] {
            let mut sample = Sample::new(6, width, per_row);
            let (parts, gradient) = evaluate(loss, &sample.rows());
            assert!(parts.iter().all(|(_, value)| value.is_finite()) && !parts.is_empty(), "{what}: {parts:?}");
            let of_all = gradient.iter().map(|values| largest(values)).fold(0.0, f64::max);
            assert!(of_all > 0.0, "{what} has no gradient");
            for (kind, gradient) in gradient.iter().enumerate() {
                assert_eq!(gradient.len(), sample.rows[kind].len(), "{what}");
                for (at, &derivative) in gradient.iter().enumerate() {
                    let start = sample.rows[kind][at];
                    let slope = is_slope(f64::from(derivative), TOLERANCE * of_all, |distance| {
                        sample.rows[kind][at] = start + distance as f32;
                        let value = evaluate(loss, &sample.rows()).0[0].1;
                        sample.rows[kind][at] = start;
                        value
                    });
                    assert_eq!(slope, Ok(()), "{what}: {derivative} at {at} of kind {kind}, width {width}");
                }
            }
        }
    });
}

#[test]
fn every_loss_reads_rows_where_they_lie() {
    for_every_loss(|loss, per_row, what| {
        let sample = Sample::new(50, 5, per_row);
        let expected = evaluate(loss, &sample.rows());
        // Backwards in their matrices.
        let turned = sample.rows.each_ref().map(|rows| rows.chunks(5).rev().flatten().copied().collect::<Vec<f32>>());
        let ids = turned.each_ref().map(|rows| (0..rows.len() as u32 / 5).rev().collect::<Vec<u32>>());
        let gathered = |kind: usize| Gathered { matrix: &turned[kind], width: 5, ids: Some(&ids[kind]) };
        let rows = LossRows { queries: gathered(0), positives: gathered(1), negatives: gathered(2), ..sample.rows() };
        assert_eq!(evaluate(loss, &rows), expected, "{what}");
    });
}

#[test]
fn no_loss_depends_on_the_number_of_threads() {
    let pools = THREADS.map(pool);
    for_every_loss(|loss, per_row, what| {
        let sample = Sample::new(700, 16, per_row);
        let loss = std::sync::Mutex::new(loss);
        let found = pools.each_ref().map(|pool| {
            pool.install(|| {
                backend::torch::one_thread();
                evaluate(&mut **loss.lock().unwrap(), &sample.rows())
            })
        });
        assert!(found.iter().all(|other| *other == found[0]), "{what}");
    });
}

/// The rows of a step, by what the queries are.
struct Drawn {
    users: Vec<u32>,
    queries: Vec<u32>,
    positives: Vec<u32>,
    sequences: Vec<u32>,
}

impl Drawn {
    fn new(unit: Unit, data: &TrainingData, number: u64) -> Self {
        let mut rng = rng::stream(2, "test batch", number);
        let of_users = |user: u32| data.graph.items_of(user).iter().map(move |&item| (user, item));
        let mut users: Vec<u32> = (1..USERS as u32).collect();
        users.shuffle(&mut rng);
        let (pairs, sequences): (Vec<(u32, u32)>, Vec<u32>) = match unit {
            Unit::Pair => {
                let mut pairs: Vec<(u32, u32)> = (0..USERS as u32).flat_map(of_users).collect();
                pairs.shuffle(&mut rng);
                pairs.truncate(25);
                (pairs, Vec::new())
            }
            Unit::Sequence { length } => {
                users.truncate(6);
                let sequences = data.sequences().unwrap();
                let positives = |&user: &u32| {
                    Sequences::positions(sequences.of(user), length).1.iter().map(move |&item| (user, item))
                };
                (users.iter().flat_map(positives).collect(), users)
            }
        };
        let (users, positives): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let queries = if sequences.is_empty() { users.clone() } else { (0..users.len() as u32).collect() };
        Self { users, queries, positives, sequences }
    }

    fn batch(&self, step: u64) -> Batch<'_> {
        let Self { users, queries, positives, sequences } = self;
        Batch { seed: 3, epoch: 1, epochs: 2, step, lr: 0.1, users, queries, positives, sequences }
    }
}

/// A backbone in the step of a batch, compared with some more items.
struct AtWork<'a> {
    backbone: Box<dyn Backbone + 'a>,
    data: &'a TrainingData,
    drawn: Drawn,
    negatives: Vec<u32>,
    marks: Vec<bool>,
    vectors: Vectors,
    /// The gradient of the vectors of queries, positives and negatives, row by row.
    of_rows: [Vec<f32>; 3],
}

impl<'a> AtWork<'a> {
    fn new(choice: &Choice<Backbones>, by_hops: bool, rule: &Rule, data: &'a TrainingData) -> Self {
        backend::torch::one_thread();
        let traits = choice.traits();
        let setup = Setup { by_hops, hops: traits.hops, pooling: traits.pooling, rule: rule.clone(), ..setup(data) };
        let backbone = start_backbone(choice, &setup).unwrap();
        let (drawn, width) = (Drawn::new(traits.unit, data, 0), backbone.width());
        let mut rng = rng::stream(4, "test negatives", 0);
        let negatives: Vec<u32> = drawn.users.iter().map(|_| rng.random_range(0..ITEMS as u32)).collect();
        let mut marks = vec![false; USERS + ITEMS];
        drawn.users.iter().for_each(|&user| marks[user as usize] = true);
        drawn.positives.iter().chain(&negatives).for_each(|&item| marks[USERS + item as usize] = true);
        let of_rows =
            ["of queries", "of positives", "of negatives"].map(|name| numbers(name, drawn.users.len() * width));
        Self { backbone, data, drawn, negatives, marks, vectors: Vectors::new(USERS, ITEMS, width), of_rows }
    }

    /// The sum of the products of the vectors of a step with [`Self::of_rows`], and the backbone's own terms.
    fn forward(&mut self, step: u64) -> (f64, Vec<(&'static str, f64)>) {
        let Self { backbone, drawn, negatives, marks, vectors, of_rows, .. } = self;
        let batch = drawn.batch(step);
        backbone.forward(&batch, Nodes::Marked(marks), vectors).unwrap();
        let terms = backbone.own_terms(&batch).unwrap();
        let items = |ids: &[u32]| ids.iter().flat_map(|&item| vectors.item(item)).copied().collect::<Vec<f32>>();
        let queries = drawn.queries.iter().flat_map(|&row| vectors.query(row)).copied().collect();
        let rows = [queries, items(&drawn.positives), items(negatives)];
        let products = rows.iter().flatten().zip(of_rows.iter().flatten());
        let sum = products.map(|(&value, &weight)| f64::from(value) * f64::from(weight)).sum();
        (sum, terms)
    }

    /// The gradient of `factor` times the sum of the last [`Self::forward`], and of the own terms with their weights.
    fn backward(&mut self, factor: f32) {
        let Self { backbone, drawn, negatives, marks, of_rows, .. } = self;
        let scaled = of_rows.each_ref().map(|rows| rows.iter().map(|value| factor * value).collect::<Vec<f32>>());
        let summands = |ids, kind: usize| Summands { ids, values: &scaled[kind] };
        let items = [summands(&drawn.positives, 1), summands(negatives, 2)];
        let row_gradient = RowGradient { queries: summands(&drawn.queries, 0), items: &items };
        backbone.backward(&row_gradient, Nodes::Marked(marks)).unwrap();
    }

    /// The gradient that [`Self::backward`] leaves for the step [`STEP`].
    fn gradient(&mut self, factor: f32) -> Vec<NamedTensor> {
        self.forward(STEP);
        self.backward(factor);
        let parameters = self.backbone.parameters();
        let values = parameters.values();
        // From 0, so that nothing of the gradient is rounded away.
        let mut zeros = values.clone();
        zeros.iter_mut().for_each(|tensor| tensor.values.fill(0.0));
        assert!(parameters.restore(&zeros, false));
        parameters.update(&Update { rule: &PLAIN, lr: 1.0, step: 1, scale: 1.0 });
        let mut gradient = parameters.values();
        gradient.iter_mut().flat_map(|tensor| &mut tensor.values).for_each(|value| *value = -*value);
        assert!(parameters.restore(&values, false));
        gradient
    }

    /// [`Self::forward`] where one number of a tensor is another: the sum, and the sum of the own terms.
    fn forward_at(&mut self, start: &[NamedTensor], (tensor, at): (usize, usize), distance: f64) -> [f64; 2] {
        let mut moved = start.to_vec();
        moved[tensor].values[at] += distance as f32;
        assert!(self.backbone.parameters().restore(&moved, false));
        let (sum, terms) = self.forward(STEP);
        [sum, terms.iter().map(|(_, value)| value).sum()]
    }

    /// Some steps of an optimiser.
    fn train(&mut self, rule: &Rule, steps: std::ops::Range<u64>) {
        for number in steps {
            self.forward(number);
            self.backward(1.0);
            self.backbone.parameters().update(&Update { rule, lr: 0.05, step: number + 1, scale: 1.0 });
        }
    }

    /// What is trained, the moments, and the vectors that items are ranked by.
    fn state(&mut self) -> (Vec<NamedTensor>, Vec<NamedTensor>, Vectors) {
        let mut vectors = Vectors::new(USERS, ITEMS, self.backbone.width());
        self.backbone.encode_all(&Histories { train: self.data, then: None }, &mut vectors).unwrap();
        let parameters = self.backbone.parameters();
        (parameters.values(), parameters.moments(), vectors)
    }
}

/// Does `test` with every backbone, and hop by hop where it has hops.
fn for_every_backbone(rule: &Rule, test: impl Fn(&mut AtWork, &Choice<Backbones>, &str)) {
    let (data, _) = parts();
    for choice in BACKBONES.iter().flat_map(variants::<Backbones>) {
        for by_hops in [false, true] {
            if !by_hops || choice.traits().hops > 0 {
                let hops = if by_hops { ", hop by hop" } else { "" };
                test(&mut AtWork::new(&choice, by_hops, rule, &data), &choice, &format!("{choice:?}{hops}"));
            }
        }
    }
}

/// The step whose gradients are compared.
const STEP: u64 = 5;

/// Places in tensors: of each the `count` largest numbers, and as many of any.
fn places(tensors: &[NamedTensor], count: usize) -> Vec<(usize, usize)> {
    let of = |(number, tensor): (usize, &NamedTensor)| {
        let mut order: Vec<usize> = (0..tensor.values.len()).collect();
        order.sort_by(|&a, &b| tensor.values[b].abs().total_cmp(&tensor.values[a].abs()));
        let mut rng = rng::stream(6, &tensor.name, 0);
        let any: Vec<usize> = (0..count).map(|_| rng.random_range(0..order.len())).collect();
        let chosen: Vec<usize> = order.into_iter().take(count).chain(any).collect();
        chosen.into_iter().map(move |at| (number, at))
    };
    tensors.iter().enumerate().flat_map(of).collect()
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |max, value| f64::from(value.abs()).max(max))
}

/// How far the gradient of a backbone may be from a finite difference, as a share of the largest value in its tensor, or of a
/// tenth of the largest of all.
const TOLERANCE: f64 = 4e-3;

#[test]
fn the_gradient_of_every_backbone_is_that_of_finite_differences() {
    for_every_backbone(&PLAIN, |work, choice, what| {
        let start = work.backbone.parameters().values();
        let (own, both) = (work.gradient(0.0), work.gradient(1.0));
        let names: Vec<&str> = work.forward(STEP).1.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, choice.traits().terms, "{what}");
        assert!(names.len() <= 1, "{what}: a weight that nobody tells can be found for one term alone");
        let of_all = both.iter().map(|tensor| largest(&tensor.values)).fold(0.0, f64::max);
        assert!(of_all > 0.0, "{what} has no gradient");
        let value = |tensors: &[NamedTensor], (tensor, at): (usize, usize)| f64::from(tensors[tensor].values[at]);

        // What the own term is weighted by: where it is steepest, its gradient by its slope, over each distance.
        let steepest =
            places(&own, 1).into_iter().max_by(|&a, &b| value(&own, a).abs().total_cmp(&value(&own, b).abs()));
        let steepest = steepest.unwrap();
        let mut weight = |distance: f64| {
            let [after, before] = [distance, -distance].map(|distance| work.forward_at(&start, steepest, distance)[1]);
            value(&own, steepest) * 2.0 * distance / (after - before)
        };
        let weights = if names.is_empty() { vec![0.0] } else { DISTANCES.map(&mut weight).to_vec() };
        let mut wrong = |weight: f64| -> Vec<String> {
            let compared = places(&both, 4).into_iter().filter_map(|place| {
                let tensor = &both[place.0];
                let tolerance = TOLERANCE * largest(&tensor.values).max(0.1 * of_all);
                let slope = is_slope(value(&both, place), tolerance, |distance| {
                    let [sum, term] = work.forward_at(&start, place, distance);
                    sum + weight * term
                });
                slope.err().map(|slope| format!("`{}` {place:?}: {} is not {slope}", tensor.name, value(&both, place)))
            });
            compared.collect()
        };
        let wrong: Vec<Vec<String>> = weights.iter().map(|&weight| wrong(weight)).collect();
        assert!(wrong.iter().any(Vec::is_empty), "{what}, of {of_all}: {wrong:#?}");
    });
}

/// As the best epoch and a checkpoint do it.
#[test]
fn every_backbone_is_what_its_parameters_are_restored_to() {
    let rule = Rule::default();
    for_every_backbone(&rule, |work, _, what| {
        work.train(&rule, 0..2);
        let then = work.state();
        work.train(&rule, 2..4);
        let later = work.state();
        for (then, later) in then.0.iter().zip(&later.0) {
            assert_ne!(then.values, later.values, "{what} does not train `{}`", then.name);
        }
        assert_ne!(then.2, later.2, "{what}");
        let parameters = work.backbone.parameters();
        assert!(!parameters.restore(&then.0[1..], false) && !parameters.restore(&then.1[1..], true), "{what}");
        assert!(work.state() == later, "{what} takes over parts of what it refuses");
        let parameters = work.backbone.parameters();
        assert!(parameters.restore(&then.0, false) && parameters.restore(&then.1, true), "{what}");
        assert!(work.state() == then, "{what} is not what it was");
        work.train(&rule, 2..4);
        assert!(work.state() == later, "{what} goes on in another way");
    });
}

/// Some steps of a sampler, in a pool of so many threads: what it proposes, chooses and adds.
fn sample(
    choice: &Choice<Samplers>,
    negatives: usize,
    data: &TrainingData,
    threads: usize,
) -> Vec<(Vec<u32>, Negatives, sampler::SamplerOutcome)> {
    let traits = choice.traits();
    let hops = if traits.by_hops { 3 } else { 1 };
    let setup = Setup { by_hops: traits.by_hops, hops, negatives, ..setup(data) };
    let width = setup.dim * hops;
    let vectors = Vectors {
        width,
        queries: Aligned::from(&numbers("users", USERS * width)[..]),
        items: Aligned::from(&numbers("items", ITEMS * width)[..]),
    };
    let steps = || {
        backend::torch::one_thread();
        let mut sampler = start_sampler(choice, &setup).unwrap();
        let step = |number: u64| {
            let drawn = Drawn::new(Unit::Pair, data, number);
            let batch = Batch { epoch: number as usize / 2, ..drawn.batch(number) };
            let (mut candidates, rows) = (Vec::new(), batch.len());
            sampler.propose(&batch, &mut candidates).unwrap();
            let per_row = candidates.len() / rows;
            let step = Step { batch, vectors: &vectors, candidates: &candidates, per_row };
            let chosen = sampler.choose(&step).unwrap();
            let mut gradient = StepGradient {
                queries: numbers("of queries", rows * width),
                positives: numbers("of positives", rows * width),
                negatives: numbers("of negatives", rows * negatives * setup.dim),
            };
            let outcome = sampler.after(&step, &mut gradient).unwrap();
            assert!(gradient.queries.len() == rows * width && gradient.positives.len() == rows * width, "{choice:?}");
            assert!(gradient.queries.iter().chain(&gradient.positives).all(|value| value.is_finite()), "{choice:?}");
            (candidates, chosen, outcome)
        };
        (0..4).map(step).collect()
    };
    pool(threads).install(steps)
}

#[test]
fn every_sampler_gives_as_many_negatives_as_it_says_and_no_positives() {
    let (data, _) = parts();
    let graph = &data.graph;
    for choice in SAMPLERS.iter().flat_map(variants::<Samplers>) {
        let traits = choice.traits();
        for negatives in if traits.many { &[1, 3][..] } else { &[1] } {
            let steps = sample(&choice, *negatives, &data, 1);
            for (number, (candidates, chosen, outcome)) in steps.iter().enumerate() {
                let drawn = Drawn::new(Unit::Pair, &data, number as u64);
                let (rows, width) = (drawn.users.len(), 8 * if traits.by_hops { 3 } else { 1 });
                assert_eq!(candidates.len(), rows * negatives * traits.candidates, "{choice:?}");
                assert!(candidates.iter().all(|&item| (item as usize) < ITEMS), "{choice:?}");
                let of_row =
                    |row: usize| &candidates[row * negatives * traits.candidates..][..negatives * traits.candidates];
                let (ids, log_q) = match chosen {
                    Negatives::Candidates { log_q } => (candidates, log_q),
                    Negatives::Items { ids, log_q } => (ids, log_q),
                    Negatives::Vectors(vectors) => {
                        assert!(traits.makes_vectors && vectors.len() == rows * negatives * 8, "{choice:?}");
                        assert!(vectors.iter().all(|value| value.is_finite()), "{choice:?}");
                        assert!(!outcome.items.is_empty(), "{choice:?} says nothing of where its gradient goes");
                        (&Vec::new(), &None)
                    }
                };
                if !matches!(chosen, Negatives::Vectors(_)) {
                    assert_eq!(ids.len(), rows * negatives, "{choice:?}");
                }
                for (place, item) in ids.iter().enumerate() {
                    let row = place / negatives;
                    assert!(of_row(row).contains(item), "{choice:?} chooses what it has not proposed");
                    let positive = graph.contains(drawn.users[row], *item);
                    assert!(!positive, "{choice:?} gives a positive");
                }
                if let Some(log_q) = log_q {
                    assert!(log_q.len() == ids.len() && log_q.iter().all(|q| q.is_finite() && *q <= 0.0), "{choice:?}");
                }
                for (ids, values) in &outcome.items {
                    assert_eq!(values.len(), ids.len() * width, "{choice:?}");
                    assert!(ids.iter().all(|&item| (item as usize) < ITEMS), "{choice:?}");
                    assert!(values.iter().all(|value| value.is_finite()), "{choice:?}");
                }
                assert!(outcome.terms.iter().all(|(name, _)| traits.terms.contains(name)), "{choice:?}: {outcome:?}");
                let told = outcome.terms.iter().chain(&outcome.diagnostics);
                assert!(told.clone().all(|(_, value)| value.is_finite()), "{choice:?}: {outcome:?}");
            }
            for threads in &THREADS[1..] {
                assert!(sample(&choice, *negatives, &data, *threads) == steps, "{choice:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn every_recommender_scores_all_items_the_same_each_time() {
    let (data, _) = parts();
    for choice in RECOMMENDERS.iter().flat_map(variants::<Recommenders>) {
        let scores = THREADS.map(|threads| {
            pool(threads).install(|| {
                let recommender = start_recommender(&choice, &setup(&data)).unwrap();
                let of = |user: u32| {
                    let [first, again] = [f32::NAN, 7.0].map(|before| {
                        let mut scores = vec![before; ITEMS];
                        recommender.scores(user, data.graph.items_of(user), &mut scores);
                        scores
                    });
                    assert_eq!(first, again, "{choice:?}");
                    assert!(first.iter().all(|score| score.is_finite()), "{choice:?}: {first:?}");
                    first
                };
                (0..USERS as u32).map(of).collect::<Vec<_>>()
            })
        });
        assert!(scores.iter().all(|other| *other == scores[0]), "{choice:?} depends on the number of threads");
    }
}
