//! The last key of every instance of a pipeline, for `explain` and for estimates of time: text lines `key id`,
//! one file per pipeline. A convenience; no result depends on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use super::{Store, StoreError};
use crate::digest::Digest;

impl Store {
    /// Instance to the key under which it was last executed or found. Empty for an unknown pipeline.
    pub fn previous(&self, pipeline: &str) -> BTreeMap<String, Digest> {
        read(&fs::read_to_string(self.previous_path(pipeline)).unwrap_or_default())
    }

    /// Remembers the keys of instances; those of other instances stay.
    pub fn remember<'a>(
        &self,
        pipeline: &str,
        keys: impl IntoIterator<Item = (&'a str, Digest)>,
    ) -> Result<(), StoreError> {
        let path = self.previous_path(pipeline);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let mut known = read(&before);
        for (id, key) in keys {
            known.insert(id.to_owned(), key);
        }
        let mut after = String::with_capacity(before.len());
        for (id, key) in &known {
            // Writing to a string cannot fail.
            let _ = writeln!(after, "{key} {id}");
        }
        if after != before {
            self.write_atomic(&path, |file| file.write_all(after.as_bytes()))?;
        }
        Ok(())
    }

    /// Named by a digest, because the names of pipelines are free text.
    fn previous_path(&self, pipeline: &str) -> PathBuf {
        self.dir().join("pipelines").join(Digest::of(pipeline.as_bytes()).to_string())
    }

    /// The last keys of all pipelines.
    pub(super) fn all_previous(&self) -> Result<Vec<Digest>, StoreError> {
        let mut keys = Vec::new();
        for path in super::list(&self.dir().join("pipelines"))? {
            keys.extend(read(&fs::read_to_string(&path).unwrap_or_default()).into_values());
        }
        Ok(keys)
    }
}

fn read(text: &str) -> BTreeMap<String, Digest> {
    let line = |line: &str| line.split_once(' ').and_then(|(key, id)| Some((id.to_owned(), key.parse().ok()?)));
    text.lines().filter_map(line).collect()
}
