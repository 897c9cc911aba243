//! The index: one small file per stage key, which says what the stage produced. Three lines: a checksum of the
//! rest, the [`Entry`] as JSON, the [`Origin`] as JSON. The checksum turns a torn or damaged file into a miss.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, failure};
use crate::digest::Digest;

/// What the execution of one key produced, and what it cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub key: Digest,
    pub kind: String,
    pub kind_version: u32,
    /// In the order of the kind's outputs.
    pub outputs: Vec<OutputEntry>,
    /// Wall time of the execution.
    pub seconds: f64,
    /// Of the worker process; absent for stages that ran in the user's process, whose threads work for several.
    pub cpu_seconds: Option<f64>,
    /// Largest resident set of the worker process; absent as well.
    pub peak_memory_bytes: Option<u64>,
    /// Threads it was given.
    pub threads: usize,
    /// What should be known about the results. Facts that follow from the inputs: they change no artifact and no key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One artifact of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputEntry {
    pub name: String,
    /// Of the file's bytes; names the object.
    pub digest: Digest,
    pub rows: u64,
    pub bytes: u64,
    /// Digests of its columns; entries of earlier versions have none, or others under another name.
    #[serde(default, rename = "encoded_columns")]
    pub columns: Vec<(String, Digest)>,
}

/// What led to an entry. Kept for people and for `explain`; no result depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The instance that was executed, such as `model[seed=1]`.
    pub id: String,
    /// Name and value: versions, machine.
    pub environment: Vec<(String, String)>,
    /// The fields that the key was made of, as `plan::key` lists them.
    pub material: Vec<(String, String)>,
    /// Whether the inputs were digested before they were read; earlier versions looked at their sizes alone.
    #[serde(default)]
    pub digested: bool,
}

impl Entry {
    /// The artifact `name`.
    pub fn output(&self, name: &str) -> Option<&OutputEntry> {
        self.outputs.iter().find(|output| output.name == name)
    }
}

impl Store {
    /// The entry of a key when it is complete: readable, undamaged, and every object there with the right size.
    /// Anything less is a miss, so that the stage runs again.
    pub fn entry(&self, key: &Digest) -> Option<Entry> {
        let entry = self.index_entry(key).ok().flatten()?;
        entry.outputs.iter().all(|output| self.has_object(output)).then_some(entry)
    }

    /// The entry of a key whether or not its objects are there. `Ok(None)`: no such entry.
    pub fn index_entry(&self, key: &Digest) -> Result<Option<Entry>, StoreError> {
        let path = self.index_path(key);
        let Some(bytes) = read_optional(&path)? else { return Ok(None) };
        self.parse_entry(key, &path, &bytes).map(Some)
    }

    fn parse_entry(&self, key: &Digest, path: &Path, bytes: &[u8]) -> Result<Entry, StoreError> {
        let entry: Entry = parse(path, bytes, |entry, _| entry)?;
        if entry.key != *key {
            let reason = "it is the entry of another key".to_owned();
            return Err(StoreError::Damaged { path: path.to_owned(), reason });
        }
        Ok(entry)
    }

    /// All that is known of a key. `Ok(None)`: nothing.
    pub(super) fn index_record(&self, key: &Digest) -> Result<Option<(Entry, Origin)>, StoreError> {
        let path = self.index_path(key);
        let Some(bytes) = read_optional(&path)? else { return Ok(None) };
        let entry = self.parse_entry(key, &path, &bytes)?;
        Ok(Some((entry, parse(&path, &bytes, |_, origin| origin)?)))
    }

    /// What led to the entry of a key.
    pub fn origin(&self, key: &Digest) -> Result<Option<Origin>, StoreError> {
        let path = self.index_path(key);
        let Some(bytes) = read_optional(&path)? else { return Ok(None) };
        parse(&path, &bytes, |_, origin| origin).map(Some)
    }

    /// Makes an entry known, after its objects, which must have been put into the store, are durable.
    pub fn commit(&self, entry: &Entry, origin: &Origin) -> Result<(), StoreError> {
        for output in &entry.outputs {
            self.sync_object(&output.digest)?;
        }
        let path = self.index_path(&entry.key);
        let bytes = encode(entry, origin).map_err(failure("write", &path))?;
        self.write_atomic(&path, |file| file.write_all(&bytes))
    }

    /// Every key in the index, sorted. Files with other names are left out.
    pub fn keys(&self) -> Result<Vec<Digest>, StoreError> {
        let mut keys = Vec::new();
        for path in super::files::walk(&self.dir().join("index"))? {
            keys.extend(path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Digest>().ok()));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    pub(super) fn index_path(&self, key: &Digest) -> PathBuf {
        self.sharded("index", key, "entry")
    }
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match super::files::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failure("read", path)(error)),
    }
}

fn encode(entry: &Entry, origin: &Origin) -> io::Result<Vec<u8>> {
    let mut body = serde_json::to_vec(entry)?;
    body.push(b'\n');
    serde_json::to_writer(&mut body, origin)?;
    body.push(b'\n');
    let mut bytes = Digest::of(&body).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.append(&mut body);
    Ok(bytes)
}

fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    choose: for<'a> fn(&'a [u8], &'a [u8]) -> &'a [u8],
) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let torn = || damaged("its checksum does not fit its content".to_owned());
    let (checksum, body) = bytes.split_at_checked(65).ok_or_else(torn)?;
    if checksum != format!("{}\n", Digest::of(body)).as_bytes() {
        return Err(torn());
    }
    let end = body.iter().position(|&byte| byte == b'\n').ok_or_else(torn)?;
    let (entry, origin) = body.split_at(end);
    serde_json::from_slice(choose(entry, origin)).map_err(|error| damaged(error.to_string()))
}
