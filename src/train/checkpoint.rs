//! The state of a training as bytes and back: tensors by name as safetensors, which Python reads, the rest in the header. A
//! digest over everything tells a torn or altered file from a good one.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use super::fit::Point;
use crate::digest::Digest;
use crate::method::NamedTensor;

/// To be raised when names or the header change.
const VERSION: u32 = 3;

/// Keys of the header.
const STATE: &str = "state";
const DIGEST: &str = "digest";

/// Everything that changes from epoch to epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Epochs done.
    pub epoch: usize,
    /// Evaluations since the best.
    pub since_best: usize,
    /// What is trained, and what else the sampler has learnt.
    #[serde(skip)]
    pub tensors: Vec<NamedTensor>,
    /// Those of the optimiser.
    #[serde(skip)]
    pub moments: Vec<NamedTensor>,
    pub best: Option<Best>,
    pub curve: Vec<Point>,
}

/// The best epoch so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: usize,
    /// In the order of the criterion's metrics.
    pub values: Vec<f64>,
    /// What was trained then.
    #[serde(skip)]
    pub tensors: Vec<NamedTensor>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    state: State,
}

/// The groups of tensors: the prefix of their names, and where they are in the state.
fn groups(state: &mut State) -> [(&'static str, Option<&mut Vec<NamedTensor>>); 3] {
    let State { tensors, moments, best, .. } = state;
    [("model.", Some(tensors)), ("optimizer.", Some(moments)), ("best.", best.as_mut().map(|best| &mut best.tensors))]
}

/// The state as bytes.
pub fn encode(mut state: State) -> Vec<u8> {
    let mut named: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (prefix, tensors) in groups(&mut state) {
        for NamedTensor { name, shape, values } in tensors.into_iter().flat_map(std::mem::take) {
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            named.push((format!("{prefix}{name}"), shape, bytes));
        }
    }
    // Plain data, which is always text and always tensors of the stated sizes.
    let header = serde_json::to_string(&Header { version: VERSION, state }).unwrap_or_default();
    let digest = digest(&header, named.iter().map(|(name, shape, bytes)| (&name[..], &shape[..], &bytes[..])));
    let info = HashMap::from([(STATE.to_owned(), header), (DIGEST.to_owned(), digest)]);
    let views = named.iter().filter_map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).ok().map(|view| (name.clone(), view))
    });
    serialize(views, Some(info)).unwrap_or_default()
}

/// The state back; none if the bytes are not a whole checkpoint of this version.
pub fn decode(bytes: &[u8]) -> Option<State> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    let info = metadata.metadata().as_ref()?;
    let (header, told) = (info.get(STATE)?, info.get(DIGEST)?);
    let file = SafeTensors::deserialize(bytes).ok()?;
    let mut named: Vec<(String, TensorView)> = file.tensors();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let found = named.iter().map(|(name, view)| (&name[..], view.shape(), view.data()));
    if digest(header, found) != *told {
        return None;
    }
    let Header { version, mut state } = serde_json::from_str(header).ok()?;
    for (prefix, tensors) in groups(&mut state) {
        let Some(tensors) = tensors else { continue };
        for (name, view) in &named {
            let Some(name) = name.strip_prefix(prefix) else { continue };
            let (values, _) = view.data().as_chunks::<4>();
            let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
            tensors.push(NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), values });
        }
    }
    (version == VERSION).then_some(state)
}

/// Over the header and all tensors, by name.
fn digest<'a>(header: &str, tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>) -> String {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by_key(|tensor| tensor.0);
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for (name, shape, bytes) in tensors {
        hasher.update(format!("\0{name}\0{shape:?}\0").as_bytes()).update(bytes);
    }
    Digest::from(hasher.finalize()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
    }

    fn state() -> State {
        State {
            epoch: 3,
            since_best: 1,
            tensors: vec![tensor("items", &[1, 2], &[1.0, -0.5]), tensor("users", &[2, 1], &[f32::MIN_POSITIVE, 2.0])],
            moments: vec![tensor("users.first_moment", &[2], &[0.1, 0.2])],
            best: Some(Best {
                epoch: 2,
                values: vec![0.1 + 0.2],
                tensors: vec![tensor("users", &[2, 1], &[0.3, 2.0])],
            }),
            curve: vec![Point { epoch: 1, measure: "bpr".into(), value: 1.0 / 3.0 }],
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        assert_eq!(decode(&encode(state())), Some(state()));
        let unselected = State { best: None, ..state() };
        assert_eq!(decode(&encode(unselected.clone())), Some(unselected));
    }

    #[test]
    fn torn_or_altered_bytes_are_refused() {
        let bytes = encode(state());
        assert_eq!(decode(&[]), None);
        assert!((0..bytes.len()).all(|length| decode(&bytes[..length]).is_none()));
        for position in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            assert!(decode(&altered).is_none_or(|found| found == state()), "byte {position}");
        }
    }
}
