//! The pipeline file, the cache, the changes that the command line makes to a pipeline, and files that are written
//! atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::args::{ChangeArgs, GlobalArgs, MirrorArgs, PipelineArgs};
use super::exit::{CliError, ErrorText, WRONG};
use crate::digest::Digest;
use crate::engine::{EngineError, Options, Registry};
use crate::plan::{Plan, PlanError};
use crate::spec::{self, suggest::clipped};
use crate::store::{Store, StoreError};
use crate::ui::Ui;

/// Where `data fetch` keeps raw files, beside the cache.
const DATA: &str = "data";

/// A pipeline, loaded, checked and planned.
pub struct Project {
    /// The pipeline file.
    pub path: PathBuf,
    pub plan: Plan,
    pub registry: Registry,
}

impl Project {
    /// # Errors
    /// All mistakes of the pipeline, with source excerpts.
    pub fn load(selection: &PipelineArgs, ui: &Ui) -> Result<Self, CliError> {
        let path = match &selection.pipeline {
            Some(path) => path.clone(),
            None => find_pipeline(Path::new("."))?,
        };
        let registry = crate::stages::registry();
        let options = options(&selection.changes)?;
        let name = path.to_string_lossy();
        let pipeline = spec::load(&name, &|name| read_file(name, &path), &registry, &options).map_err(|mistakes| {
            let width = usize::from(console::Term::stderr().size().1);
            CliError { code: WRONG, message: ErrorText::Rendered(mistakes.render(ui.err.color, width)) }
        })?;
        let plan = Plan::new(pipeline).map_err(CliError::wrong)?;
        Ok(Self { path, plan, registry })
    }

    /// How the engine looks at this project; what a run adds is up to the run.
    pub fn options(&self, mirrors: &MirrorArgs) -> Options {
        let program = std::env::current_exe().unwrap_or_default();
        Options {
            worker: program.with_file_name("cnsdiff-pipe-worker"),
            file: fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone()),
            base: self.path.parent().map(Path::to_owned).unwrap_or_default(),
            data: Some(DATA.into()),
            mirrors: mirrors.all(),
            environment: vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
            ..Options::default()
        }
    }

    /// The instances that a stage's name or an instance's id means.
    pub fn select(&self, name: &str) -> Result<Vec<usize>, CliError> {
        self.plan.select(name).map_err(|error| {
            let error = plan_error(error);
            if Path::new(name).is_file() { error.help("the stage comes first, then the pipeline file") } else { error }
        })
    }
}

fn plan_error(error: PlanError) -> CliError {
    match error {
        PlanError::Selection { message, help } => CliError::wrong(message).help(help),
        error => CliError::wrong(error),
    }
}

/// Which exit code an error of the engine has.
pub fn engine_error(error: EngineError) -> CliError {
    match error {
        EngineError::Plan(error) => plan_error(error),
        EngineError::Store(error) => store_error(error),
        EngineError::Panicked(_) => CliError::panicked(error),
    }
}

/// The cache cannot be used, and what to do about it.
pub fn store_error(error: StoreError) -> CliError {
    let read_only = error.is_read_only();
    let error = CliError::store(error);
    if read_only { error.help("this cache cannot be written; name another with --cache DIR") } else { error }
}

/// Opens the cache; it is made when there is none.
pub fn open_store(global: &GlobalArgs) -> Result<Store, CliError> {
    // Workers get paths as JSON.
    let path = std::path::absolute(&global.cache).unwrap_or_else(|_| global.cache.clone());
    if path.to_str().is_none() {
        return Err(CliError::wrong(format!("the path of the cache, `{}`, is not UTF-8", path.display()))
            .help("name another with --cache DIR"));
    }
    Store::open(&global.cache).map_err(store_error)
}

/// The pipeline file `root`, or one that it includes, which lies in its folder whatever links say. Pipes and devices may
/// have no end; of a file that is too large, enough is read to say so.
fn read_file(name: &str, root: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        if !fs::metadata(name)?.is_file() {
            return Ok(Err("it is not a regular file".to_owned()));
        }
        let folder = root.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if Path::new(name) != root && !fs::canonicalize(name)?.starts_with(fs::canonicalize(folder)?) {
            return Ok(Err("it is a link that leaves the folder of the pipeline".to_owned()));
        }
        let mut bytes = Vec::new();
        fs::File::open(name)?.take(spec::FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Ok(bytes))
    };
    read().unwrap_or_else(|error: std::io::Error| Err(error.to_string()))
}

/// `pipeline.yaml`, or the only YAML file in `pipelines/`.
fn find_pipeline(directory: &Path) -> Result<PathBuf, CliError> {
    let yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let single = [directory.join("pipeline.yaml"), directory.join("pipeline.yml")];
    if let Some(path) = single.into_iter().find(|path| path.is_file()) {
        return Ok(plain(path));
    }
    let entries = fs::read_dir(directory.join("pipelines")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(yaml).collect();
    found.sort();
    match found.len() {
        1 => Ok(plain(found.remove(0))),
        0 => Err(CliError::wrong("which pipeline? there is neither a pipeline.yaml nor a YAML file in pipelines/")
            .help("name a file, or write a starter with `cnsdiff-pipe init`")),
        _ => {
            let names: Vec<String> = found.into_iter().map(|path| plain(path).display().to_string()).collect();
            Err(CliError::wrong(format!("which pipeline? pipelines/ has {}", names.len()))
                .help(format!("name one of {}", names.join(", "))))
        }
    }
}

/// Without the leading `./`.
fn plain(path: PathBuf) -> PathBuf {
    path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)
}

fn options(changes: &ChangeArgs) -> Result<spec::Options, CliError> {
    let pair = |flag: &'static str, form: &'static str| {
        move |text: &String| {
            let (left, right) = text.split_once('=').filter(|(left, _)| !left.trim().is_empty()).ok_or_else(|| {
                CliError::wrong(format!("`{flag} {}` has no `=`", clipped(text))).help(format!("write it as {form}"))
            })?;
            Ok((left.trim().to_owned(), right.to_owned()))
        }
    };
    let labels = |text: String| -> Vec<String> {
        text.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect()
    };
    let set = changes.set.iter().map(pair("--set", "`--set stages.model.with.epochs=20`"));
    let only = changes.only.iter().map(pair("--only", "`--only method=cnsdiff,rns`"));
    Ok(spec::Options {
        set: set.collect::<Result<_, CliError>>()?,
        only: only.map(|pair| pair.map(|(axis, text)| (axis, labels(text)))).collect::<Result<_, CliError>>()?,
        seeds: changes.seeds.as_deref().map(seeds).transpose()?,
    })
}

/// More seeds than this are a slip of the finger.
const MOST_SEEDS: u64 = 10_000;

/// `1..5` (both ends included), `1,2,7`, or both mixed.
fn seeds(text: &str) -> Result<Vec<u64>, CliError> {
    let wrong = || {
        CliError::wrong(format!("`--seeds {}` is no list of seeds", clipped(text)))
            .help("write a range with both ends included, as in `1..5`, or a list, as in `1,2,7`; at most 10,000 seeds")
    };
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let mut seeds = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
            None => (number(part)?, number(part)?),
        };
        if last < first || last - first >= MOST_SEEDS - seeds.len() as u64 {
            return Err(wrong());
        }
        seeds.extend(first..=last);
    }
    Ok(seeds)
}

/// Replaces a file's content so that readers see the old or the new one, never a part, even after a power cut;
/// directories are made.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let new = beside(path);
    let written = write(&new, path, content).inspect_err(|_| drop(fs::remove_file(&new)));
    written.map_err(|error| CliError::new(super::exit::FAILED, format!("cannot write `{}`: {error}", path.display())))
}

/// As [`replace`], but a file that has this content is not touched. Answers whether it had another.
pub fn update(path: &Path, content: &[u8]) -> Result<bool, CliError> {
    if crate::store::read(path).is_ok_and(|old| old == content) {
        // A run that was killed may have left it.
        let _ = fs::remove_file(beside(path));
        return Ok(false);
    }
    replace(path, content)?;
    Ok(true)
}

/// Where the new content of a file is written. Always the same name, so that what a killed run left there is used up by the
/// next one.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    path.with_file_name(format!(".cnsdiff-{}.new", Digest::of(name).short()))
}

fn write(new: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    loop {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(new)?;
        // Another run that writes the same file is waited for. On a file system without locks nobody can be.
        let _ = file.lock();
        let own = file.metadata()?;
        // It may have renamed the file meanwhile.
        if !fs::metadata(new).is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())) {
            continue;
        }
        file.set_len(0)?;
        file.write_all(content)?;
        file.sync_all()?;
        match fs::rename(new, path) {
            // One that found the file unchanged has cleaned up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            renamed => renamed?,
        }
        return File::open(parent)?.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_used_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.md", "x".repeat(250)));
        let left = || fs::read_dir(dir.path()).unwrap().count();
        for (content, new) in [("longer content", true), ("longer content", false), ("short", true)] {
            fs::write(beside(&path), "left by a run that was killed").unwrap();
            assert_eq!(update(&path, content.as_bytes()).unwrap(), new);
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), left()), (content, 1));
        }
    }

    #[test]
    fn several_writers_of_a_file_leave_one_whole_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reports/table.md");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| replace(path, &[b'a' + writer; 5000]).unwrap()));
            }
        });
        let content = fs::read(&path).unwrap();
        assert!(content.len() == 5000 && content.iter().all(|byte| *byte == content[0]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn seeds_are_ranges_and_lists() {
        assert_eq!(seeds("1..5").unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(seeds("7, 1..=2").unwrap(), [7, 1, 2]);
        for wrong in ["", "5..1", "a", "1..", "-1", "0..18446744073709551615", "1..6000,6001..12000"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_regular_files_of_the_folder_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, outside) = (dir.path().join("p"), dir.path().join("outside.yaml"));
        fs::create_dir(&inner).unwrap();
        let root = inner.join("root.yaml");
        for path in [&root, &outside, &inner.join("part.yaml")] {
            fs::write(path, "x: 1").unwrap();
        }
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, inner.join(name)).unwrap();
        link(&outside, "link.yaml");
        link(Path::new("part.yaml"), "near.yaml");
        link(Path::new("/dev/zero"), "zero.yaml");
        let read = |name: &str| read_file(&inner.join(name).to_string_lossy(), &root);
        assert_eq!(read("root.yaml").unwrap(), b"x: 1");
        assert_eq!(read("near.yaml").unwrap(), b"x: 1");
        assert!(read("link.yaml").unwrap_err().contains("leaves the folder"));
        assert!(read("zero.yaml").unwrap_err().contains("regular file"));
        assert!(read_file(&inner.to_string_lossy(), &inner).unwrap_err().contains("regular file"));
        assert!(read("missing.yaml").is_err());
    }

    #[test]
    fn changes_are_split_at_their_first_equals_sign() {
        let changes = ChangeArgs {
            set: vec!["vars.text=a=b".to_owned()],
            only: vec!["method = cnsdiff, rns".to_owned()],
            seeds: None,
        };
        let options = options(&changes).unwrap();
        assert_eq!(options.set, [("vars.text".to_owned(), "a=b".to_owned())]);
        assert_eq!(options.only, [("method".to_owned(), vec!["cnsdiff".to_owned(), "rns".to_owned()])]);
        assert!(super::options(&ChangeArgs { set: vec!["x".to_owned()], ..ChangeArgs::default() }).is_err());
    }

    #[test]
    fn the_only_pipeline_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find_pipeline(dir.path()).is_err());
        fs::create_dir(dir.path().join("pipelines")).unwrap();
        fs::write(dir.path().join("pipelines/food.yaml"), "").unwrap();
        fs::write(dir.path().join("pipelines/food.lock"), "").unwrap();
        assert!(find_pipeline(dir.path()).unwrap().ends_with("pipelines/food.yaml"));
        fs::write(dir.path().join("pipelines/paper.yaml"), "").unwrap();
        assert!(find_pipeline(dir.path()).is_err());
        fs::write(dir.path().join("pipeline.yaml"), "").unwrap();
        assert!(find_pipeline(dir.path()).unwrap().ends_with("pipeline.yaml"));
    }
}
