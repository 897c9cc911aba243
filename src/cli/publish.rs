//! Writes rendered reports from the store to `reports/<pipeline>/`, where people look for them. A file is touched
//! only when its content changes. Knows nothing of what a report says.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use arrow::array::AsArray;

use super::exit::{FAILED, Stop};
use super::project::{Project, replace};
use crate::spec::{Form, Instance};
use crate::store::{Entry, Store};

/// What was published, in the order of the pipeline.
#[derive(Debug, Default)]
pub struct Published {
    pub directory: PathBuf,
    pub files: Vec<PathBuf>,
    /// Those that are new or have changed.
    pub written: usize,
    /// Contents of the `.txt` renditions: for the terminal.
    pub texts: Vec<String>,
}

/// Publishes the files of every instance in `results` (index and entry).
pub fn publish(project: &Project, results: &[(usize, &Entry)], store: &Store) -> Result<Published, Stop> {
    let pipeline = &project.plan.pipeline;
    let mut published =
        Published { directory: Path::new("reports").join(folder(&pipeline.name)), ..Published::default() };
    let mut taken = BTreeSet::new();
    for &(index, entry) in results {
        let Some(kind) = project.registry.get(&entry.kind) else { continue };
        let rendered = kind.spec.outputs.iter().filter(|output| matches!(output.form, Form::Files));
        for output in rendered.filter_map(|output| entry.output(output.name)) {
            let instance = &pipeline.instances[index];
            let stage = &pipeline.stages[instance.stage].name;
            for (name, text) in files(&store.object_path(&output.digest))? {
                let path = place(&published.directory, stage, instance, &name, &taken)?;
                taken.insert(path.clone());
                if std::fs::read(&path).map_or(true, |old| old != text.as_bytes()) {
                    replace(&path, text.as_bytes())?;
                    published.written += 1;
                }
                if path.extension().is_some_and(|extension| extension == "txt") {
                    published.texts.push(text);
                }
                published.files.push(path);
            }
        }
    }
    Ok(published)
}

/// The name of a pipeline is free text; this is its folder.
fn folder(name: &str) -> String {
    let name = name.replace(['/', '\\'], "-");
    if name.starts_with('.') { format!("-{name}") } else { name }
}

/// A stage over axes gives one set of files per instance, which stand in folders named after their labels; and two
/// stages that use the same names stand in folders of their own.
fn place(
    directory: &Path,
    stage: &str,
    instance: &Instance,
    name: &str,
    taken: &BTreeSet<PathBuf>,
) -> Result<PathBuf, Stop> {
    let name = Path::new(name);
    if !name.components().all(|component| matches!(component, Component::Normal(_))) || name.as_os_str().is_empty() {
        return Err(Stop::new(FAILED, format!("`{}` of `{}` is no name for a report", name.display(), instance.id))
            .help("a report's file stays below reports/"));
    }
    let labels = instance.labels.iter().map(|(axis, label)| folder(&format!("{axis}={label}")));
    let below: PathBuf = labels.collect::<PathBuf>().join(name);
    let path = directory.join(&below);
    Ok(if taken.contains(&path) { directory.join(folder(stage)).join(below) } else { path })
}

/// Name and text of every file in the table that a report stage leaves in the store.
fn files(path: &Path) -> Result<Vec<(String, String)>, Stop> {
    let batch = crate::store::parquet::read(path).map_err(Stop::store)?;
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_string_opt::<i32>())
            .ok_or_else(|| Stop::new(FAILED, format!("`{}` has no text column `{name}`", path.display())))
    };
    let (names, texts) = (column("name")?, column("text")?);
    Ok(names.iter().zip(texts).filter_map(|(name, text)| Some((name?.to_owned(), text?.to_owned()))).collect())
}
