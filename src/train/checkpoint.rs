//! The state of a training as bytes and back. A digest over the whole tells a torn file from a good one.

use crate::digest::Digest;
use crate::sampler::Learnt;

use super::fit::{Best, Point, State};

const MAGIC: &[u8; 8] = b"cnstrn02";

/// The state as bytes.
pub fn encode(state: &State) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    number(&mut bytes, state.epoch as u64);
    number(&mut bytes, state.since_best as u64);
    number(&mut bytes, state.adam_steps);
    number(&mut bytes, state.learnt.steps);
    let vectors = [&state.tables, &state.first, &state.second].into_iter().chain(&state.learnt.vectors);
    number(&mut bytes, 3 + state.learnt.vectors.len() as u64);
    vectors.for_each(|vector| floats(&mut bytes, vector));
    number(&mut bytes, state.best.is_some() as u64);
    if let Some(best) = &state.best {
        number(&mut bytes, best.epoch as u64);
        number(&mut bytes, best.values.len() as u64);
        best.values.iter().for_each(|value| number(&mut bytes, value.to_bits()));
        floats(&mut bytes, &best.tables);
    }
    number(&mut bytes, state.curve.len() as u64);
    for point in &state.curve {
        number(&mut bytes, point.epoch as u64);
        number(&mut bytes, point.measure.len() as u64);
        bytes.extend(point.measure.as_bytes());
        number(&mut bytes, point.value.to_bits());
    }
    bytes.extend(Digest::of(&bytes).as_bytes());
    bytes
}

/// The state back; none if the bytes are not a whole checkpoint of this version.
pub fn decode(bytes: &[u8]) -> Option<State> {
    let (bytes, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Digest::of(bytes).as_bytes().as_slice() != digest {
        return None;
    }
    let mut reader = Reader { rest: bytes.strip_prefix(MAGIC)? };
    let epoch = reader.length()?;
    let since_best = reader.length()?;
    let adam_steps = reader.number()?;
    let steps = reader.number()?;
    let mut vectors = (0..reader.length()?).map(|_| reader.floats()).collect::<Option<Vec<_>>>()?;
    let learnt = Learnt { steps, vectors: vectors.split_off(3.min(vectors.len())) };
    let [tables, first, second] = <[Vec<f32>; 3]>::try_from(vectors).ok()?;
    let best = match reader.number()? {
        0 => None,
        _ => Some(Best {
            epoch: reader.length()?,
            values: (0..reader.length()?).map(|_| reader.number().map(f64::from_bits)).collect::<Option<_>>()?,
            tables: reader.floats()?,
        }),
    };
    let curve = (0..reader.length()?)
        .map(|_| {
            let epoch = reader.length()?;
            let length = reader.length()?;
            let measure = String::from_utf8(reader.take(length)?.to_vec()).ok()?;
            Some(Point { epoch, measure, value: f64::from_bits(reader.number()?) })
        })
        .collect::<Option<_>>()?;
    reader.rest.is_empty().then_some(State {
        epoch,
        since_best,
        tables,
        adam_steps,
        first,
        second,
        learnt,
        best,
        curve,
    })
}

fn number(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend(value.to_le_bytes());
}

fn floats(bytes: &mut Vec<u8>, values: &[f32]) {
    number(bytes, values.len() as u64);
    bytes.reserve(4 * values.len());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn floats(&mut self) -> Option<Vec<f32>> {
        let length = self.length()?.checked_mul(4)?;
        let (values, _) = self.take(length)?.as_chunks::<4>();
        Some(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            epoch: 3,
            since_best: 1,
            tables: vec![1.0, -0.5],
            adam_steps: 7,
            first: vec![0.1, 0.2],
            second: vec![0.3, 0.4],
            learnt: Learnt { steps: 9, vectors: vec![vec![], vec![5.0]] },
            best: Some(Best { epoch: 2, values: vec![0.1 + 0.2], tables: vec![f32::MIN_POSITIVE, 2.0] }),
            curve: vec![Point { epoch: 1, measure: "bpr".into(), value: 1.0 / 3.0 }],
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        assert_eq!(decode(&encode(&state())), Some(state()));
        let unselected = State { best: None, ..state() };
        assert_eq!(decode(&encode(&unselected)), Some(unselected));
    }

    #[test]
    fn torn_or_altered_bytes_are_refused() {
        let bytes = encode(&state());
        assert_eq!(decode(&[]), None);
        assert!((0..bytes.len()).all(|length| decode(&bytes[..length]).is_none()));
        for position in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            assert_eq!(decode(&altered), None);
        }
    }
}
