//! Randomness from counter-based generators only: a seed and a named stream give the same numbers on every
//! machine, in every thread, in any order of execution. Never global or operating-system state.

mod beta;
mod normal;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use beta::Beta;
pub use normal::Normal;

/// A generator for the stream `name` (such as `"negatives"`) at position `index` (such as a batch number) of an
/// experiment's `seed`. Streams with different names or indices are independent.
pub fn stream(seed: u64, name: &str, index: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key("cnsdiff-pipe 2026 random stream");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
    rng.set_stream(index);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, name, index| stream(seed, name, index).random::<u64>();
        assert_eq!(draw(1, "init", 0), draw(1, "init", 0));
        let others = [draw(2, "init", 0), draw(1, "noise", 0), draw(1, "init", 1)];
        assert!(others.iter().all(|&other| other != draw(1, "init", 0)));
    }
}
