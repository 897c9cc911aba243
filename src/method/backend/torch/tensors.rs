//! Trained tensors of libtorch, on the device of the training.

use tch::{Device, Kind, Tensor};

use super::tensor::{leaf, slice_mut, values};
use crate::method::Regularisation;
use crate::method::backend::torch::tensor::index;
use crate::method::optim::{self, Rule, Update};
use crate::method::params::{NamedTensor, Parameters, find, moment_names};

/// A trained tensor and its moments, as many as the optimiser keeps.
struct Trained {
    name: String,
    value: Tensor,
    moments: Vec<Tensor>,
}

/// Named tensors that are trained.
pub struct Tensors {
    trained: Vec<Trained>,
}

impl Tensors {
    /// With these first values, on `device`.
    pub fn new(values: Vec<NamedTensor>, rule: &Rule, device: Device) -> Self {
        let trained = values.into_iter().map(|NamedTensor { name, shape, values }| {
            let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
            let value = leaf(&Tensor::from_slice(&values).view(shape.as_slice()).to_device(device));
            let moments = (0..rule.moments()).map(|_| value.zeros_like().detach()).collect();
            Trained { name, value, moments }
        });
        Self { trained: trained.collect() }
    }

    /// The tensor of this name, which [`Module::parameters`](super::adapter::Module::parameters) must have given.
    pub fn get(&self, name: &str) -> &Tensor {
        let found = self.trained.iter().find(|trained| trained.name == name);
        &found.unwrap_or_else(|| panic!("no parameter `{name}`")).value
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.trained.iter().any(|trained| trained.name == name)
    }

    /// The gradient becomes zero.
    pub fn clear_gradient(&mut self) {
        self.trained.iter_mut().for_each(|trained| trained.value.zero_grad());
    }

    /// Adds the gradient of the penalty on these rows of a tensor, repetitions included. Answers the penalty.
    pub fn regularise(&mut self, penalty: &Regularisation, name: &str, ids: &[u32], batch_size: usize) -> f64 {
        if penalty.weight == 0.0 || ids.is_empty() || !self.has(name) {
            return 0.0;
        }
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        let (distinct, counts): (Vec<u32>, Vec<f32>) =
            sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as f32)).unzip();
        let table = self.get(name);
        let at = index(&distinct, table.device());
        let counts = Tensor::from_slice(&counts).unsqueeze(-1).to_device(table.device());
        tch::no_grad(|| {
            let rows = table.index_select(0, &at) * counts;
            let square = (&rows * table.index_select(0, &at)).sum(Kind::Double).double_value(&[]);
            let (value, slope) = penalty.weigh(square, ids.len(), batch_size);
            let mut gradient = table.grad();
            if gradient.defined() {
                // No row is named twice, so that the sums have one order on every device.
                let _ = gradient.index_add_(0, &at, &(rows * f64::from(slope)));
            }
            value
        })
    }

    fn named(&self, moments: bool) -> impl Iterator<Item = (String, &Tensor)> {
        self.trained.iter().flat_map(move |Trained { name, value, moments: kept }| {
            let of_moments = moment_names(name).into_iter().zip(kept).filter(move |_| moments);
            (!moments).then(|| (name.clone(), value)).into_iter().chain(of_moments)
        })
    }

    fn export(&self, moments: bool) -> Vec<NamedTensor> {
        let named = self.named(moments).map(|(name, tensor)| NamedTensor {
            name,
            shape: shape(tensor),
            values: values(tensor),
        });
        named.collect()
    }
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&size| size as usize).collect()
}

impl Parameters for Tensors {
    fn count(&self) -> usize {
        self.trained.iter().map(|trained| trained.value.numel()).sum()
    }

    fn squared_gradient(&self) -> f64 {
        let gradients = self.trained.iter().map(|trained| trained.value.grad()).filter(Tensor::defined);
        gradients.map(|gradient| gradient.square().sum(Kind::Double).double_value(&[])).sum()
    }

    fn update(&mut self, update: &Update) {
        tch::no_grad(|| self.trained.iter_mut().for_each(|trained| trained.update(update)));
    }

    fn values(&self) -> Vec<NamedTensor> {
        self.export(false)
    }

    fn moments(&self) -> Vec<NamedTensor> {
        self.export(true)
    }

    fn restore(&mut self, tensors: &[NamedTensor], moments: bool) -> bool {
        let found: Option<Vec<Tensor>> = self
            .named(moments)
            .map(|(name, tensor)| {
                let values = find(tensors, &name, &shape(tensor))?;
                Some(Tensor::from_slice(values).view(tensor.size().as_slice()).to_device(tensor.device()))
            })
            .collect();
        let Some(found) = found else { return false };
        let targets = self.trained.iter_mut().flat_map(|Trained { value, moments: kept, .. }| {
            let value = (!moments).then_some(value);
            value.into_iter().chain(kept.iter_mut().filter(move |_| moments))
        });
        tch::no_grad(|| targets.zip(found).for_each(|(target, found)| target.copy_(&found)));
        true
    }
}

impl Trained {
    fn update(&mut self, update: &Update) {
        let mut gradient = self.value.grad();
        if !gradient.defined() {
            gradient = self.value.zeros_like();
        }
        let mut moments = self.moments.iter_mut();
        let mut moment = || moments.next().and_then(slice_mut).unwrap_or_default();
        let [first, second] = [moment(), moment()];
        if let (Some(values), Some(gradient)) = (slice_mut(&mut self.value), slice_mut(&mut gradient)) {
            return optim::apply(update, values, gradient, [first, second]);
        }
        self.update_on_device(update, &gradient);
    }

    /// The same as [`optim::apply`], where the tensors lie.
    fn update_on_device(&mut self, update: &Update, gradient: &Tensor) {
        let Self { value, moments, .. } = self;
        let gradient = gradient * f64::from(update.scale);
        match *update.rule {
            Rule::Adam { betas: [beta1, beta2], eps, decay, decoupled } => {
                let gradient = if decoupled { gradient } else { gradient + &*value * decay };
                if decoupled {
                    let _ = value.g_mul_scalar_(1.0 - update.lr * decay);
                }
                let [first, second] = &mut moments[..] else { return };
                first.copy_(&(&*first * beta1 + &gradient * (1.0 - beta1)));
                second.copy_(&(&*second * beta2 + gradient.square() * (1.0 - beta2)));
                let steps = update.step as f64;
                let root = (1.0 - libm::pow(beta2, steps)).sqrt();
                let rate = update.lr * root / (1.0 - libm::pow(beta1, steps));
                let _ = value.g_sub_(&(&*first * rate / (second.sqrt() + eps * root)));
            }
            Rule::Sgd { decay, momentum } => {
                let mut step = gradient + &*value * decay;
                if let Some(velocity) = moments.first_mut() {
                    velocity.copy_(&(&*velocity * momentum + step));
                    step = velocity.shallow_clone();
                }
                let _ = value.g_sub_(&(step * update.lr));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel, and libtorch's operations, which a GPU uses.
    #[test]
    fn both_ways_of_a_step_come_to_the_same() {
        for rule in [
            Rule::Adam { betas: [0.9, 0.999], eps: 1e-8, decay: 0.1, decoupled: false },
            Rule::Adam { betas: [0.9, 0.999], eps: 1e-8, decay: 0.1, decoupled: true },
            Rule::Sgd { momentum: 0.9, decay: 0.1 },
            Rule::Sgd { momentum: 0.0, decay: 0.0 },
        ] {
            let start = NamedTensor { name: "x".into(), shape: vec![2, 2], values: vec![1.0, -2.0, 0.5, 3.0] };
            let mut both = [(); 2].map(|()| Tensors::new(vec![start.clone()], &rule, Device::Cpu));
            for step in 1..=3 {
                let update = Update { rule: &rule, lr: 0.1, step, scale: 0.5 };
                for (number, tensors) in both.iter_mut().enumerate() {
                    tensors.clear_gradient();
                    (tensors.get("x").square() * 2.0).sum(Kind::Float).backward();
                    if number == 0 {
                        tensors.update(&update);
                    } else {
                        let gradient = tensors.get("x").grad();
                        tch::no_grad(|| tensors.trained[0].update_on_device(&update, &gradient));
                    }
                }
            }
            let [host, device] = both.map(|tensors| [tensors.export(false), tensors.export(true)].concat());
            for (a, b) in host.iter().zip(&device) {
                assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?} {rule:?}");
            }
        }
    }
}
