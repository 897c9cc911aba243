//! Writes rendered reports from the store to `reports/<pipeline>/`, where people look for them. A file is touched only
//! when its content changes. It is removed when it is no longer part of the pipeline and nobody has edited it since it
//! was published.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use arrow::array::AsArray;

use super::exit::{CliError, FAILED};
use super::project::{Project, store_error, update};
use crate::digest::Digest;
use crate::spec::{Form, Instance};
use crate::store::{self, Entry, OutputEntry, Store};

/// What was published, in the order of the pipeline.
#[derive(Debug, Default)]
pub struct Published {
    pub directory: PathBuf,
    pub files: Vec<PathBuf>,
    /// Those that are new or have changed.
    pub written: usize,
    /// Those of earlier runs that are no longer of the pipeline.
    pub removed: usize,
    /// Contents of the `.txt` renditions: for the terminal.
    pub texts: Vec<String>,
}

/// Every file that was published: its path in the directory, the digest of its content, and the instance it is of.
type Manifest = BTreeMap<String, (Digest, String)>;

/// Publishes the files of every instance in `results` (index and entry). If these are all results of the pipeline,
/// what was published before and is not among them is removed.
pub fn publish(
    project: &Project,
    results: &[(usize, &Entry)],
    store: &Store,
    complete: bool,
) -> Result<Published, CliError> {
    let pipeline = &project.plan.pipeline;
    let directory = Path::new("reports").join(folder(&pipeline.name));
    let manifest = manifest_path(project, &directory, store)?;
    let text = store::read(&manifest).unwrap_or_default();
    let before: Manifest = serde_json::from_slice(&text).unwrap_or_default();
    let ids = |index: &usize| pipeline.instances[*index].id.as_str();
    let mut published = Published { directory, ..Published::default() };
    let mut after = Manifest::new();
    if !complete {
        // Files of instances that this run leaves alone keep their places.
        let own: Vec<&str> = results.iter().map(|(index, _)| ids(index)).collect();
        after.extend(before.clone().into_iter().filter(|(_, (_, id))| !own.contains(&id.as_str())));
    }
    for &(index, entry) in results {
        let Some(kind) = project.registry.get(&entry.kind) else { continue };
        let rendered = kind.spec.outputs.iter().filter(|output| matches!(output.form, Form::Files));
        for output in rendered.filter_map(|output| entry.output(output.name)) {
            let instance = &pipeline.instances[index];
            let stage = &pipeline.stages[instance.stage].name;
            for (name, text) in files(output, store)? {
                let below = place(stage, instance, &name, &after)?;
                let path = published.directory.join(&below);
                published.written += usize::from(update(&path, text.as_bytes())?);
                after.insert(below, (Digest::of(text.as_bytes()), instance.id.clone()));
                if path.extension().is_some_and(|extension| extension == "txt") {
                    published.texts.push(text);
                }
                published.files.push(path);
            }
        }
    }
    if complete {
        let gone = before.iter().filter(|(path, _)| !after.contains_key(*path));
        published.removed = gone.filter(|(path, (digest, _))| remove(&published.directory, path, digest)).count();
    }
    let new = serde_json::to_vec(&after)?;
    if after != before {
        let written = store.write_atomic(&manifest, |file| file.write_all(&new));
        // Without it files that are gone from the pipeline stay; a cache that can only be read is no error here.
        written.or_else(|error| if error.is_read_only() { Ok(()) } else { Err(error) }).map_err(store_error)?;
    }
    Ok(published)
}

/// Where the [`Manifest`] of a pipeline is kept.
fn manifest_path(project: &Project, directory: &Path, store: &Store) -> Result<PathBuf, CliError> {
    let absolute = [project.path.as_path(), directory].map(std::path::absolute);
    let [file, directory] = absolute.map(|path| path.map_err(|error| CliError::new(FAILED, error)));
    let identity = [file?.as_os_str().as_bytes(), b"\0", directory?.as_os_str().as_bytes()].concat();
    Ok(store.dir().join("published").join(Digest::of(&identity).to_string()))
}

/// Removes a file that is as it was published, and the folders that it leaves empty.
fn remove(directory: &Path, below: &str, digest: &Digest) -> bool {
    let path = directory.join(below);
    let unchanged =
        is_below(Path::new(below)) && crate::store::read(&path).is_ok_and(|content| Digest::of(&content) == *digest);
    if !unchanged || fs::remove_file(&path).is_err() {
        return false;
    }
    let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(directory));
    // One that is not empty ends it.
    folders.take_while(|folder| fs::remove_dir(folder).is_ok()).count();
    true
}

/// The name of a pipeline and labels are free text; this is a folder's name, another one for every text.
fn folder(name: &str) -> String {
    let escaped = |(at, char): (usize, char)| match char {
        '/' | '\\' | '%' => format!("%{:02X}", u32::from(char)),
        '.' if at == 0 => "%2E".to_owned(),
        _ if char.is_control() => format!("%{:02X}", u32::from(char)),
        _ => char.to_string(),
    };
    name.char_indices().map(escaped).collect()
}

fn is_below(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_))) && !path.as_os_str().is_empty()
}

/// A stage over axes gives one set of files per instance, which stand in folders named after their labels; and two
/// stages that use the same names stand in folders of their own.
fn place(stage: &str, instance: &Instance, name: &str, taken: &Manifest) -> Result<String, CliError> {
    if !is_below(Path::new(name)) {
        return Err(CliError::new(FAILED, format!("`{name}` of `{}` is no name for a report", instance.id))
            .help("a report's file stays below reports/"));
    }
    let labels = instance.labels.iter().map(|(axis, label)| folder(&format!("{axis}={label}")) + "/");
    let below = labels.collect::<String>() + name;
    let in_folder = format!("{}/{below}", folder(stage));
    [below, in_folder].into_iter().find(|path| !taken.contains_key(path)).ok_or_else(|| {
        CliError::new(FAILED, format!("`{name}` of `{}` would replace another report of this pipeline", instance.id))
            .help("give the report or its stage another name")
    })
}

/// Name and text of every file in the table that a report stage leaves in the store.
fn files(output: &OutputEntry, store: &Store) -> Result<Vec<(String, String)>, CliError> {
    let path = store.sound_object(&output.digest).map_err(store_error)?;
    let batch = crate::store::parquet::read(&path).map_err(CliError::store)?;
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or_else(|| CliError::new(FAILED, format!("`{}` has no text column `{name}`", path.display())))
    };
    let (names, texts) = (column("name")?, column("text")?);
    Ok(names.iter().zip(texts).filter_map(|(name, text)| Some((name?.to_owned(), text?.to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_differ_have_folders_that_differ() {
        let labels = ["a/b", "a-b", "a\\b", "a%2Fb", ".a", "%2Ea", "-.a", "a\nb", "..", "é 日"];
        let folders: std::collections::BTreeSet<String> = labels.iter().map(|label| folder(label)).collect();
        assert_eq!(folders.len(), labels.len(), "{folders:?}");
        assert!(folders.iter().all(|folder| is_below(Path::new(folder)) && !folder.contains('/')), "{folders:?}");
        assert_eq!(folder("method=ours (été)"), "method=ours (été)");
    }

    #[test]
    fn only_files_as_they_were_published_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let own = Digest::of(b"own");
        for (name, content) in [("a/b/own", "own"), ("a/edited", "edited")] {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), content).unwrap();
        }
        assert!(remove(dir.path(), "a/b/own", &own) && !remove(dir.path(), "a/edited", &own));
        assert!(!remove(&dir.path().join("a"), "../a/edited", &Digest::of(b"edited")));
        assert!(!dir.path().join("a/b").exists() && dir.path().join("a/edited").exists());
    }
}
