//! The lock file beside a pipeline, meant for git: a sorted line per stage instance with its key and the digests of its
//! artifacts, so that two people, or a person and a paper, can compare results.
//!
//! A line is `id key artifact=digest{column:digest,...} ...`. Digests of columns are short: they only tell which
//! column differs. Characters that separate are written as `%` and two hexadecimal digits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::store::{Entry, OutputEntry, Store, columns};

use super::exit::CliError;
use super::project::store_error;

const TITLE: &str = "# cnsdiff-pipe lock ";
const HEADER: &str = "# cnsdiff-pipe lock 2: results of every stage; `cnsdiff-pipe run --locked` compares with it";

/// What the stages of a pipeline gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    lines: BTreeMap<String, LockLine>,
}

#[derive(Clone, Debug, PartialEq)]
struct LockLine {
    key: Digest,
    artifacts: BTreeMap<String, LockArtifact>,
}

#[derive(Clone, Debug, PartialEq)]
struct LockArtifact {
    digest: Digest,
    /// In the order of the file.
    columns: Vec<(String, String)>,
}

/// `food.yaml` has `food.lock`.
pub fn path_of(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("lock")
}

impl Lock {
    /// Reads a lock file; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match crate::store::read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::wrong(format!("cannot read `{}`: {error}", path.display()))),
        };
        if text.starts_with(TITLE) && text.lines().next() != Some(HEADER) {
            let wrong = format!("`{}` was written by another version of cnsdiff-pipe", path.display());
            return Err(CliError::wrong(wrong).help("remove it and run the pipeline to write a new one"));
        }
        Self::parse(&text).map(Some).map_err(|line| {
            CliError::wrong(format!("`{}` is no lock file: line {line} cannot be read", path.display()))
                .help("take it back from git, or remove it and run the pipeline to write a new one")
        })
    }

    /// The number of the first wrong line on failure.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lock = Self::default();
        for (number, text) in text.lines().enumerate() {
            if text != HEADER {
                let (id, line) = LockLine::parse(text).ok_or(number + 1)?;
                lock.lines.insert(id, line);
            }
        }
        Ok(lock)
    }

    fn render(&self) -> String {
        let lines = self.lines.iter().map(|(id, line)| line.render(id));
        std::iter::once(HEADER.to_owned()).chain(lines).fold(String::new(), |text, line| text + &line + "\n")
    }

    /// What `results` give. Columns are digested only where `self` does not know the artifact already.
    pub fn renewed(&self, results: &[(&str, &Entry)], store: &Store) -> Result<Self, CliError> {
        let artifact = |old: Option<&LockLine>, output: &OutputEntry| -> Result<_, CliError> {
            let known = old.and_then(|line| line.artifacts.get(&output.name));
            let artifact = match known.filter(|artifact| artifact.digest == output.digest) {
                Some(artifact) => artifact.clone(),
                None => LockArtifact { digest: output.digest, columns: short(output, store)? },
            };
            Ok((output.name.clone(), artifact))
        };
        let line = |&(id, entry): &(&str, &Entry)| {
            let old = self.lines.get(id);
            let artifacts = entry.outputs.par_iter().map(|output| artifact(old, output)).collect::<Result<_, _>>()?;
            Ok((id.to_owned(), LockLine { key: entry.key, artifacts }))
        };
        Ok(Self { lines: results.par_iter().map(line).collect::<Result<_, CliError>>()? })
    }

    /// Takes over the instances that `old` knows and this does not.
    pub fn add_missing(&mut self, old: Self) {
        for (id, line) in old.lines {
            self.lines.entry(id).or_insert(line);
        }
    }

    /// Writes the file, unless it has this content already. Answers whether it did.
    pub fn write(&self, path: &Path) -> Result<bool, CliError> {
        super::project::update(path, self.render().as_bytes())
    }

    /// The first difference between the lock and `results`, which come in topological order; so that what is named
    /// is where the difference began. Keys may differ: only results count.
    pub fn first_difference(
        &self,
        results: &[(&str, &Entry)],
        store: &Store,
    ) -> Result<Option<LockDifference>, CliError> {
        for &(id, entry) in results {
            let Some(line) = self.lines.get(id) else {
                return Ok(Some(LockDifference::new(id, "it is not in the lock file")));
            };
            for output in &entry.outputs {
                let Some(locked) = line.artifacts.get(&output.name) else {
                    return Ok(Some(LockDifference::new(
                        id,
                        format!("its artifact `{}` is not in the lock file", output.name),
                    )));
                };
                if locked.digest != output.digest {
                    let how = difference(locked, output, store)?;
                    let same_key = line.key == entry.key;
                    return Ok(Some(LockDifference { same_key: Some(same_key), ..LockDifference::new(id, how) }));
                }
            }
        }
        Ok(None)
    }
}

/// Where results and lock file part.
#[derive(Debug, PartialEq)]
pub struct LockDifference {
    pub id: String,
    pub how: String,
    /// Whether the stage's key is the locked one, that is: whether the same computation gave another result.
    pub same_key: Option<bool>,
}

impl LockDifference {
    fn new(id: &str, how: impl Into<String>) -> Self {
        Self { id: id.to_owned(), how: how.into(), same_key: None }
    }
}

/// `artifact `curve` differs in column `value`, first in row 12 (epoch 3)`.
fn difference(locked: &LockArtifact, new: &OutputEntry, store: &Store) -> Result<String, CliError> {
    let name = &new.name;
    let columns = short(new, store)?;
    let names = |columns: &[(String, String)]| columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(&columns) != names(&locked.columns) {
        let [old, new] = [&locked.columns, &columns].map(|columns| names(columns).join(", "));
        return Ok(format!("its artifact `{name}` has other columns: {old} in the lock file, now {new}"));
    }
    let changed: Vec<&str> =
        columns.iter().zip(&locked.columns).filter(|(a, b)| a != b).map(|(a, _)| a.0.as_str()).collect();
    let mut text = match changed.as_slice() {
        [] => return Ok(format!("its artifact `{name}` has the same columns but other bytes")),
        [column] => format!("its artifact `{name}` differs in column `{column}`"),
        _ => format!("its artifact `{name}` differs in columns `{}`", changed.join("`, `")),
    };
    // The locked artifact may still be here, from before: then the place is known, too.
    let path = store.sound_object(&new.digest).map_err(store_error)?;
    if let Ok(old) = store.sound_object(&locked.digest)
        && let Some(place) = columns::first_difference(&old, &path).map_err(CliError::store)?
    {
        text.push_str(&format!(", first in {place}"));
    }
    Ok(text)
}

/// Columns with the first digits of their digests.
fn short(output: &OutputEntry, store: &Store) -> Result<Vec<(String, String)>, CliError> {
    let digests = match output.columns.as_slice() {
        [] => columns::digests(&store.sound_object(&output.digest).map_err(store_error)?).map_err(CliError::store)?.1,
        known => known.to_vec(),
    };
    Ok(digests.into_iter().map(|(name, digest)| (name, digest.short())).collect())
}

impl LockLine {
    fn render(&self, id: &str) -> String {
        let mut text = format!("{} {}", escape(id, "%"), self.key);
        for (name, artifact) in &self.artifacts {
            let columns: Vec<String> = artifact
                .columns
                .iter()
                .map(|(name, digest)| format!("{}:{digest}", escape(name, SEPARATORS)))
                .collect();
            text.push_str(&format!(" {}={}{{{}}}", escape(name, SEPARATORS), artifact.digest, columns.join(",")));
        }
        text
    }

    fn parse(text: &str) -> Option<(String, Self)> {
        let mut fields = text.split(' ');
        let id = unescape(fields.next()?)?;
        let key = fields.next()?.parse().ok()?;
        let artifact = |field: &str| {
            let (name, rest) = field.split_once('=')?;
            let (digest, columns) = rest.strip_suffix('}')?.split_once('{')?;
            let column =
                |text: &str| text.split_once(':').and_then(|(name, digest)| Some((unescape(name)?, digest.to_owned())));
            let columns = columns.split(',').filter(|text| !text.is_empty()).map(column).collect::<Option<_>>()?;
            Some((unescape(name)?, LockArtifact { digest: digest.parse().ok()?, columns }))
        };
        Some((id, Self { key, artifacts: fields.map(artifact).collect::<Option<_>>()? }))
    }
}

const SEPARATORS: &str = "%={}:,";

/// Writes white space, control characters and `special` ones as `%` and their bytes.
fn escape(text: &str, special: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_whitespace() || char.is_control() || special.contains(char) {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escaped.push_str(&format!("%{byte:02x}")));
        } else {
            escaped.push(char);
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        let columns = vec![("odd, name: %".to_owned(), "0123456789ab".to_owned())];
        let artifacts = BTreeMap::from([("table".to_owned(), LockArtifact { digest: Digest::of(b"a"), columns })]);
        let line = LockLine { key: Digest::of(b"k"), artifacts };
        Lock { lines: BTreeMap::from([("b".to_owned(), line.clone()), ("a[x=1 ü,y=2]".to_owned(), line)]) }
    }

    #[test]
    fn a_lock_file_is_read_as_it_was_written() {
        let text = lock().render();
        assert_eq!(Lock::parse(&text), Ok(lock()));
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("a[x=1%20ü,y=2] ")), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = lock().render();
        assert_eq!(Lock::parse(&format!("{text}<<<<<<< HEAD\n")), Err(4));
        assert_eq!(Lock::parse(&text.replace("table=", "table=x")), Err(2));
    }
}
