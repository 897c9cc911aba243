//! Against numbers of the public reference code `user683/CNSDiff` (commit aca2aa1): tests/golden/cnsdiff.json holds its
//! inputs and outputs with dropout off and every Gaussian draw replaced by `inputs.noise`.
//!
//! Tolerance: 1e-12 for the f64 schedule, relative to the value; 1e-5 for f32 tensors, relative to the largest absolute
//! value of the expected tensor.

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::kernel::{Lanes, Unit};
use crate::method::backend::fast::bpr;
use crate::method::backend::fast::cnsdiff::chain as by_tiles;
use crate::method::backend::fast::cnsdiff::contrast::{Negatives, contrast};
use crate::method::backend::fast::cnsdiff::network::Network;
use crate::method::backend::torch::cnsdiff::chain as by_tensors;
use crate::method::backend::torch::cnsdiff::contrastive;
use crate::method::backend::torch::cnsdiff::denoiser::Denoiser;
use crate::method::backend::torch::cnsdiff::diffusion::Coefficients;
use crate::method::backend::torch::tensor::{normalize, values};
use crate::method::sampler::cnsdiff::{Chain, Cnsdiff, Schedule, ScheduleKind, ScheduleParams, Shape, time_embedding};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/golden/cnsdiff.json")).unwrap()
}

/// The numbers of a nested list, in order.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn floats(value: &Value) -> Vec<f32> {
    flat(value).into_iter().map(|x| x as f32).collect()
}

fn tensor(value: &Value) -> Tensor {
    let rows = value.as_array().unwrap().len() as i64;
    Tensor::from_slice(&floats(value)).view([rows, -1])
}

fn assert_exact(found: &[f64], expected: &Value) {
    let expected = flat(expected);
    assert_eq!(found.len(), expected.len());
    for (t, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= 1e-12 * b.abs(), "at {t}: {a} is not {b}");
    }
}

fn assert_close(what: &str, found: &[f32], expected: &Value) {
    let expected = flat(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    let gap = found.iter().zip(&expected).fold(0.0f64, |max, (&a, b)| max.max((f64::from(a) - b).abs()));
    assert!(gap <= 1e-5 * scale, "{what}: off by {gap}, of {scale}");
}

/// The shape and the flat parameters.
fn weights(golden: &Value) -> (Shape, Vec<f32>) {
    let weights = &golden["denoiser"];
    let flat: Vec<f32> = ["emb_weight", "emb_bias", "in_weight", "in_bias", "out_weight", "out_bias"]
        .into_iter()
        .flat_map(|name| floats(&weights[name]))
        .collect();
    let shape = Shape::new(&Cnsdiff::default(), 64);
    assert_eq!((flat.len(), shape.parameters()), (16_576, 16_576));
    (shape, flat)
}

fn denoiser(golden: &Value) -> Denoiser {
    let (shape, flat) = weights(golden);
    Denoiser::new(shape, &flat, 20, Device::Cpu)
}

fn steps(golden: &Value) -> Tensor {
    Tensor::from_slice(&flat(&golden["inputs"]["t"])).to_kind(Kind::Int64)
}

#[test]
fn schedule() {
    let golden = golden();
    let schedule = Schedule::new(&ScheduleParams::default());
    let expected = &golden["schedule"];
    let roots = |part: fn((f64, f64)) -> f64| (0..20).map(|t| part(schedule.noised(t))).collect::<Vec<_>>();
    assert_exact(&schedule.beta, &expected["beta_nums"]);
    assert_exact(&schedule.bar, &expected["alphas_cumprod"]);
    assert_exact(&roots(|pair| pair.0), &expected["sqrt_alphas_cumprod"]);
    assert_exact(&roots(|pair| pair.1), &expected["sqrt_one_minus_alphas_cumprod"]);
    assert_exact(&schedule.posterior_variance, &expected["posterior_variance"]);
    assert_exact(&schedule.posterior_log_variance, &expected["posterior_log_variance_clipped"]);
    assert_exact(&schedule.mean_start, &expected["posterior_mean_coef1"]);
    assert_exact(&schedule.mean_state, &expected["posterior_mean_coef2"]);
    let linear = Schedule::new(&ScheduleParams { kind: ScheduleKind::Linear, ..ScheduleParams::default() });
    assert_exact(&linear.beta, &golden["schedule_linear_betas"]);
}

#[test]
fn embedding_of_time() {
    let golden = golden();
    let expected = &golden["timestep_embedding"];
    let found: Vec<f32> = flat(&expected["t"]).into_iter().flat_map(|t| time_embedding(t as usize, 64)).collect();
    assert_close("time embedding", &found, &expected["value"]);
}

#[test]
fn denoiser_and_forward_process() {
    let golden = golden();
    let (denoiser, t) = (denoiser(&golden), steps(&golden));
    let (x, noise) = (tensor(&golden["inputs"]["x"]), tensor(&golden["inputs"]["noise"]));
    let predicted = denoiser.forward(&x, &denoiser.times().index_select(0, &t), None, None);
    assert_close("denoiser", &values(&predicted), &golden["denoiser_forward"]);

    let schedule = Schedule::new(&ScheduleParams::default());
    let noised = Coefficients::new(&schedule, true, Device::Cpu).noised(&x, &t, &noise);
    assert_close("forward process", &values(&noised), &golden["forward_process"]);

    let steps: Vec<usize> = flat(&golden["inputs"]["t"]).into_iter().map(|t| t as usize).collect();
    let coefficients =
        |table: &[f64]| Tensor::from_slice(&steps.iter().map(|&t| table[t] as f32).collect::<Vec<_>>()).unsqueeze(-1);
    let mean = predicted * coefficients(&schedule.mean_start) + x * coefficients(&schedule.mean_state);
    assert_close("posterior mean", &values(&mean), &golden["p_mean_variance"]["mean"]);
    let log_variance: Vec<f32> = steps.iter().flat_map(|&t| [schedule.posterior_log_variance[t] as f32; 64]).collect();
    assert_close("posterior log-variance", &log_variance, &golden["p_mean_variance"]["log_variance"]);
}

#[test]
fn released_chain_from_every_start() {
    let golden = golden();
    let denoiser = denoiser(&golden);
    let (x, noise) = (tensor(&golden["inputs"]["x"]), tensor(&golden["inputs"]["noise"]));
    let schedule = Schedule::new(&ScheduleParams::default());
    let starts = [0, 1, 10, 14, 18, 20];
    let chain = Chain { schedule: &schedule, starts: &starts, full: true };
    let from_tensors = by_tensors::sample(&chain, &denoiser, &x, None, || noise.shallow_clone(), |_| None);
    let (shape, flat) = weights(&golden);
    let network = Network::new(&shape, &flat, 20);
    let from_tiles = by_tiles::sample(&chain, &network, &values(&x), None, || values(&noise), None::<fn(&mut [Lanes])>);
    assert_eq!((from_tensors.len(), from_tiles.len()), (starts.len(), starts.len()));
    for ((start, from_tensors), from_tiles) in starts.iter().zip(&from_tensors).zip(&from_tiles) {
        let expected = &golden["p_sample"][start.to_string()];
        assert_close(&format!("start {start}, by libtorch"), &values(from_tensors), expected);
        assert_close(&format!("start {start}, in tiles"), from_tiles, expected);
    }
}

#[test]
fn diffusion_losses() {
    let golden = golden();
    let denoiser = denoiser(&golden);
    let (x, noise) = (tensor(&golden["inputs"]["x"]), tensor(&golden["inputs"]["noise"]));
    let schedule = Schedule::new(&ScheduleParams::default());
    let expected = &golden["losses"];
    let (coefficients, t) = (Coefficients::new(&schedule, true, Device::Cpu), steps(&golden));
    let times = denoiser.times().index_select(0, &t);
    let prediction = denoiser.forward(&coefficients.noised(&x, &t, &noise), &times, None, None);
    assert_close("prediction", &values(&prediction), &expected["pred_xstart"]);
    let losses = coefficients.losses(&denoiser, &x, None, &t, &noise, None);
    let causal = losses.causal.mean(Kind::Float) * 0.1;
    assert_close("causal regulariser", &values(&causal), &expected["causal_reg"]);
    assert_close("loss", &values(&(losses.reconstruction + causal)), &expected["loss"]);
    let weights: Vec<f32> =
        flat(&golden["inputs"]["t"]).iter().map(|&t| schedule.snr_weight(t as usize) as f32).collect();
    assert_close("weights", &weights, &expected["snr_weight"]);
}

#[test]
fn contrastive_and_bpr() {
    let golden = golden();
    let expected = &golden["contrastive"];
    let [anchor, positive, negative] = ["anchor", "positive", "negative"].map(|name| tensor(&expected[name]));
    let temperature = expected["temp"].as_f64().unwrap();
    let by_tensors = contrastive(&anchor, &positive, &normalize(&negative), temperature);
    assert_close("contrastive, by libtorch", &values(&(by_tensors / 6.0)), &expected["loss"]);
    let unit = Unit::new(values(&negative), 64);
    let in_tiles = contrast(&values(&anchor), values(&positive), &Negatives::new(None, &unit), temperature, 1.0);
    assert_close("contrastive, in tiles", &[in_tiles.loss as f32 / 6.0], &expected["loss"]);

    let expected = &golden["bpr"];
    let [user, pos, neg] = ["user", "pos", "neg"].map(|name| floats(&expected[name]));
    let rows = user.chunks(64).zip(pos.chunks(64)).zip(neg.chunks(64));
    let mut gradients = [[0.0; 64]; 3];
    let [du, di, dj] = &mut gradients;
    let loss: f64 = rows.map(|((u, i), j)| bpr::pair(u, i, j, 1.0, du, di, dj)).sum();
    assert_close("bpr", &[(loss / 6.0) as f32], &expected["cnsdiff_loss"]);
}
