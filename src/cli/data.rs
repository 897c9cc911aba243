//! `data`: the raw files that a pipeline's stages name: where they are, bringing what is missing, and whether what is
//! here is what was declared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::args::{DataCommand, GlobalArgs, MirrorArgs};
use super::exit::{CliError, DONE, FAILED, INTERRUPTED};
use super::project::{Project, open_store};
use super::run::plain;
use super::signals::listen_for_interrupts;
use crate::engine::Options;
use crate::engine::stage::RawSource;
use crate::store::raw::{DownloadEvent, LocalFile, RawError, RawFiles, RawLocation};
use crate::store::{Origin, raw};
use crate::ui::{Tone, Transfer, Transfers, Ui, text};

/// Digits of a digest that tell files apart on a screen.
const DIGITS: usize = 12;
/// Columns of a terminal that the other cells of a file take, about, and what its source gets at least.
const OTHERS: usize = 58;
const SOURCE: usize = 40;

pub fn main(args: &DataCommand, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
    match args {
        DataCommand::Fetch { selection, mirrors, to } => {
            RawFileList::of(&Project::load(selection, ui)?, mirrors, global).fetch(to.as_deref(), ui)
        }
        DataCommand::Ls { selection, mirrors } => {
            RawFileList::of(&Project::load(selection, ui)?, mirrors, global).list(ui)
        }
        DataCommand::Verify { selection, mirrors } => {
            let project = Project::load(selection, ui)?;
            RawFileList::of(&project, mirrors, global).verify(&project, global, ui)
        }
    }
}

/// The raw files of a pipeline.
struct RawFileList {
    options: Options,
    raw: RawFiles,
    /// Each once, in the order of the pipeline.
    files: Vec<ListedFile>,
}

struct ListedFile {
    source: RawSource,
    /// Instances that read it, and its place among their files.
    readers: Vec<(String, usize)>,
}

/// What the last run took a file to be.
struct Used {
    instance: String,
    digest: String,
}

impl RawFileList {
    fn of(project: &Project, mirrors: &MirrorArgs, global: &GlobalArgs) -> Self {
        let options = project.options(mirrors);
        let raw = RawFiles::new(&global.cache, &options.base, options.data.clone(), options.mirrors.clone())
            .interruptible(options.interrupt.flag());
        let pipeline = &project.plan.pipeline;
        let mut places = BTreeMap::new();
        let mut files: Vec<ListedFile> = Vec::new();
        for instance in &pipeline.instances {
            let kind = project.registry.get(&pipeline.stages[instance.stage].kind);
            let sources = kind.map(|kind| (kind.demands)(&instance.params).files).unwrap_or_default();
            for (index, source) in sources.into_iter().enumerate() {
                let place = places.entry((source.source.clone(), source.digest.clone())).or_insert_with(|| {
                    files.push(ListedFile { source, readers: Vec::new() });
                    files.len() - 1
                });
                files[*place].readers.push((instance.id.clone(), index));
            }
        }
        Self { options, raw, files }
    }

    fn fetch(&self, to: Option<&Path>, ui: &Ui) -> Result<u8, CliError> {
        let interrupt = &self.options.interrupt;
        listen_for_interrupts(interrupt)?;
        let transfers = Transfers::new(ui);
        let (mut brought, mut failed) = (0, 0);
        for RawSource { source, digest, .. } in self.files.iter().map(|file| &file.source) {
            transfers.show(&Transfer::FileStarted { source })?;
            let clock = Instant::now();
            let listener = |news: DownloadEvent| {
                let transfer = match news {
                    DownloadEvent::Bytes { done, total } => Transfer::FileProgress { source, done, total },
                    DownloadEvent::Again { reason, wait, attempt, of } => {
                        Transfer::FileAgain { source, reason, attempt, of, seconds: wait.as_secs_f64() }
                    }
                };
                // Texts and numbers always have a form in JSON.
                drop(transfers.show(&transfer));
            };
            let result = self.raw.keep(source, digest.as_deref(), to, &listener);
            let (outcome, path, error) = match result {
                Ok((path, raw::Acquisition::Present)) => ("present", Some(path), None),
                Ok((path, raw::Acquisition::Taken)) => ("taken", Some(path), None),
                Ok((path, raw::Acquisition::Downloaded)) => ("downloaded", Some(path), None),
                Err(error @ (RawError::Stopped(_) | RawError::Interrupted(_))) => {
                    return Err(CliError::new(INTERRUPTED, error).help("the same command goes on from there"));
                }
                Err(error) => ("failed", None, Some(error.to_string())),
            };
            brought += usize::from(!matches!(outcome, "present" | "failed"));
            failed += usize::from(error.is_some());
            let bytes = path.as_deref().and_then(size);
            let seconds = clock.elapsed().as_secs_f64();
            transfers.show(&Transfer::FileFinished { source, outcome, path, bytes, seconds, error })?;
            if interrupt.is_raised() {
                return Err(CliError::new(INTERRUPTED, "interrupted").help("the same command goes on from there"));
            }
        }
        let total = self.files.len();
        if failed > 0 {
            return Err(CliError::new(
                FAILED,
                format!("{failed} of {} could not be had", text::count(total, "raw file")),
            ));
        }
        ui.note(&format!("{}: {brought} new, {} present", text::count(total, "raw file"), total - brought));
        Ok(DONE)
    }

    fn list(&self, ui: &Ui) -> Result<u8, CliError> {
        let mut rows = Vec::new();
        let terminal = console::Term::stdout();
        let room = if terminal.is_term() { usize::from(terminal.size().1).saturating_sub(OTHERS) } else { usize::MAX };
        for file in self.files.iter().map(|file| &file.source) {
            let found = self.locate(file)?;
            let place = found.as_ref().map_or("missing", |found| word(found.location));
            let path = found.as_ref().map(|found| &found.path);
            let bytes = path.and_then(|path| size(path));
            if ui.json {
                ui.result_json(&json!({
                    "source": file.source, "digest": file.digest, "found": place, "path": path, "bytes": bytes,
                    "licence": file.licence, "citation": file.citation,
                }))?;
            }
            rows.push(vec![
                place.to_owned(),
                bytes.map(text::bytes).unwrap_or_default(),
                file.digest.as_deref().map_or("none".to_owned(), brief),
                file.licence.clone().unwrap_or_else(|| "not told".to_owned()),
                text::shorten(&file.source, room.max(SOURCE)),
            ]);
        }
        if !ui.json {
            ui.result(&text::table(ui.out, &["found", "size", "digest", "licence", "source"], &rows));
            ui.note(&text::count(rows.len(), "raw file"));
        }
        Ok(DONE)
    }

    fn verify(&self, project: &Project, global: &GlobalArgs, ui: &Ui) -> Result<u8, CliError> {
        // Where nothing was run, nothing is to be compared with, and no cache is made for that.
        let store = if global.cache.is_dir() { Some(open_store(global)?) } else { None };
        let previous =
            store.as_ref().map(|store| store.previous(self.options.pipeline(&project.plan))).unwrap_or_default();
        let used = |(instance, index): &(String, usize)| {
            let origin = store.as_ref()?.origin(previous.get(instance)?).ok()??;
            Some(Used { instance: instance.clone(), digest: digest_in(&origin, *index)? })
        };
        let mut bad = 0;
        for ListedFile { source: file, readers } in &self.files {
            let verdict = match self.locate(file)? {
                None => Verdict::new("missing"),
                Some(found) => {
                    let verdict = self.judge(&found.path, file, readers.iter().filter_map(used));
                    let verdict = verdict
                        .unwrap_or_else(|error| Verdict { error: Some(error.to_string()), ..Verdict::new("damaged") });
                    Verdict { path: Some(found.path), ..verdict }
                }
            };
            bad += usize::from(matches!(verdict.state, "missing" | "damaged" | "changed"));
            verdict.show(file, ui)?;
        }
        let total = text::count(self.files.len(), "raw file");
        if bad > 0 {
            return Err(CliError::new(FAILED, format!("missing, damaged or changed: {bad} of {total}")).help(
                "`cnsdiff-pipe data fetch` brings what is missing; a damaged file of your own is for you to replace; \
                 after a change, `cnsdiff-pipe run` makes the results those of the new bytes",
            ));
        }
        ui.note(&format!("{total} as declared"));
        Ok(DONE)
    }

    /// Reads a file anew. One without a digest is compared with what was last read of it.
    fn judge(&self, path: &Path, file: &RawSource, used: impl Iterator<Item = Used>) -> Result<Verdict, RawError> {
        let digest = self.raw.read(path, file.digest.as_deref())?;
        let known = |state| Verdict { digest: Some(digest.to_string()), ..Verdict::new(state) };
        if let Some(declared) = &file.digest {
            return Ok(known(if digest.is(declared) { "ok" } else { "damaged" }));
        }
        for used in used {
            // It may have been declared then, by another algorithm.
            let same = digest.is(&used.digest) || self.raw.read(path, Some(&used.digest))?.is(&used.digest);
            if !same {
                return Ok(Verdict { used: Some(used), ..known("changed") });
            }
        }
        Ok(known("undeclared"))
    }

    fn locate(&self, file: &RawSource) -> Result<Option<LocalFile>, CliError> {
        self.raw.locate(&file.source, file.digest.as_deref()).map_err(CliError::wrong)
    }
}

/// What is to be said of a file.
struct Verdict {
    state: &'static str,
    path: Option<PathBuf>,
    digest: Option<String>,
    /// Other bytes than these.
    used: Option<Used>,
    error: Option<String>,
}

impl Verdict {
    fn new(state: &'static str) -> Self {
        Self { state, path: None, digest: None, used: None, error: None }
    }

    fn show(&self, file: &RawSource, ui: &Ui) -> Result<(), CliError> {
        let Self { state, path, digest, used, error } = self;
        if ui.json {
            let used = used.as_ref().map(|used| json!({ "by": used.instance, "digest": used.digest }));
            ui.result_json(&json!({
                "source": file.source, "state": state, "path": path, "declared": file.digest, "digest": digest,
                "used": used, "error": error,
            }))?;
            return Ok(());
        }
        let tone = match *state {
            "ok" => Tone::Good,
            "undeclared" => Tone::Warn,
            _ => Tone::Bad,
        };
        let mut lines = vec![format!("{} {}", ui.out.paint(tone, state), text::visible(&file.source, false))];
        if *state != "ok" {
            lines.extend(file.digest.as_ref().map(|declared| format!("declared {declared}")));
            lines.extend(
                used.as_ref().map(|used| format!("used     {} by the last run of `{}`", used.digest, used.instance)),
            );
            lines.extend(digest.as_ref().map(|digest| format!("found    {digest}")));
            lines.extend(error.clone());
            lines.extend(path.as_ref().map(|path| format!("in       {}", path.display())));
        }
        ui.result(&lines.join("\n  "));
        Ok(())
    }
}

/// The digest that a key had of a raw file, by its place among the files of the stage.
pub(super) fn digest_in(origin: &Origin, index: usize) -> Option<String> {
    let field = format!("files[{index}]");
    origin.material.iter().find(|(name, _)| *name == field).map(|(_, value)| plain(value))
}

fn word(location: RawLocation) -> &'static str {
    match location {
        RawLocation::Path => "path",
        RawLocation::Data => "data",
        RawLocation::Cache => "cache",
        RawLocation::Mirror => "mirror",
    }
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

/// `sha256:0123456789ab`.
fn brief(digest: &str) -> String {
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("", digest));
    format!("{algorithm}:{}", hex.chars().take(DIGITS).collect::<String>())
}
