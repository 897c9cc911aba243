//! The two digests by which people name raw files: `sha256:<hex>` (what data sets publish) and `blake3:<hex>`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Sha256,
    Blake3,
}

/// A digest of a raw file's bytes, with the algorithm that made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum {
    pub algorithm: Algorithm,
    pub bytes: [u8; 32],
}

/// The text is no digest of a raw file.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest: write `sha256:` or `blake3:` and 64 hexadecimal digits")]
pub struct NotAChecksum(String);

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }
}

/// Digests bytes as they arrive.
#[derive(Clone)]
pub enum Hasher {
    Sha256(sha2::Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update_rayon(bytes);
            }
        }
    }

    pub fn finish(self) -> Checksum {
        match self {
            Self::Sha256(hasher) => Checksum { algorithm: Algorithm::Sha256, bytes: hasher.finalize().into() },
            Self::Blake3(hasher) => Checksum { algorithm: Algorithm::Blake3, bytes: *hasher.finalize().as_bytes() },
        }
    }
}

impl Checksum {
    /// Whether a text, however its digits are written, is this digest.
    pub fn is(&self, text: &str) -> bool {
        text.parse::<Self>().is_ok_and(|other| other == *self)
    }

    /// As a file name, without characters that a file system may refuse.
    pub fn file_name(&self) -> String {
        self.to_string().replace(':', "-")
    }

    /// The digest that has this [file name](Self::file_name).
    pub fn of_file_name(name: &str) -> Option<Self> {
        name.replacen('-', ":", 1).parse().ok()
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), blake3::Hash::from(self.bytes).to_hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = NotAChecksum;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAChecksum(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "blake3" => Algorithm::Blake3,
            _ => return Err(wrong()),
        };
        let hash = blake3::Hash::from_hex(hex.to_ascii_lowercase()).map_err(|_| wrong())?;
        Ok(Self { algorithm, bytes: *hash.as_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_give_their_published_vectors() {
        let sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let blake3 = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        for (algorithm, published) in [(Algorithm::Sha256, sha256), (Algorithm::Blake3, blake3)] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"abc");
            assert_eq!(hasher.finish().to_string(), published);
        }
        assert_eq!(sha256.to_uppercase().replace("SHA", "sha").parse::<Checksum>().unwrap().to_string(), sha256);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", "ba7816bf", "sha256:xyz"] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
