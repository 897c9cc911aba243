//! `data`: the raw files that a pipeline's stages name: where they are, bringing what is missing, and whether what is
//! here is what was declared.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::args::{Data, Global, Mirrors, Selection};
use super::exit::{DONE, FAILED, INTERRUPTED, Stop};
use super::project::Project;
use super::signals::listen_for_interrupts;
use crate::engine::Options;
use crate::engine::stage::RawSource;
use crate::store::raw::{Found, Location, News, Origin, RawError, RawFiles};
use crate::ui::{Tone, Transfer, Transfers, Ui, text};

/// Digits of a digest that tell files apart on a screen.
const DIGITS: usize = 12;
/// Columns of a terminal that the other cells of a file take, about, and what its source gets at least.
const OTHERS: usize = 58;
const SOURCE: usize = 40;

pub fn main(args: &Data, global: &Global, ui: &Ui) -> Result<u8, Stop> {
    match args {
        Data::Fetch { selection, mirrors, to } => Files::of(selection, mirrors, global, ui)?.fetch(to.as_deref(), ui),
        Data::Ls { selection, mirrors } => Files::of(selection, mirrors, global, ui)?.list(ui),
        Data::Verify { selection, mirrors } => Files::of(selection, mirrors, global, ui)?.verify(ui),
    }
}

/// The raw files of a pipeline.
struct Files {
    options: Options,
    raw: RawFiles,
    /// Each once, in the order of the pipeline.
    sources: Vec<RawSource>,
}

impl Files {
    fn of(selection: &Selection, mirrors: &Mirrors, global: &Global, ui: &Ui) -> Result<Self, Stop> {
        let project = Project::load(selection, ui)?;
        let options = project.options(mirrors);
        let raw = RawFiles::new(&global.cache, &options.base, options.data.clone(), options.mirrors.clone());
        let pipeline = &project.plan.pipeline;
        let all = pipeline.instances.iter().flat_map(|instance| {
            let kind = project.registry.get(&pipeline.stages[instance.stage].kind);
            kind.map(|kind| (kind.files)(&instance.params)).unwrap_or_default()
        });
        let mut seen = BTreeSet::new();
        let sources = all.filter(|file| seen.insert((file.source.clone(), file.digest.clone()))).collect();
        Ok(Self { options, raw, sources })
    }

    fn fetch(&self, to: Option<&Path>, ui: &Ui) -> Result<u8, Stop> {
        let interrupt = &self.options.interrupt;
        listen_for_interrupts(interrupt)?;
        let transfers = Transfers::new(ui);
        let (mut brought, mut failed) = (0, 0);
        for RawSource { source, digest, .. } in &self.sources {
            transfers.show(&Transfer::FileStarted { source })?;
            let clock = Instant::now();
            let listener = |news: News| {
                let shown = match news {
                    News::Bytes { done, total } => transfers.show(&Transfer::FileProgress { source, done, total }),
                    News::Again { reason, wait, attempt, of } => {
                        let seconds = wait.as_secs_f64();
                        transfers.show(&Transfer::FileAgain { source, reason, attempt, of, seconds })
                    }
                    News::Idle => Ok(()),
                };
                let go_on = shown.is_ok() && !interrupt.is_raised();
                if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let result = self.raw.keep(source, digest.as_deref(), to, &listener);
            let (outcome, path, error) = match result {
                Ok((path, Origin::Present)) => ("present", Some(path), None),
                Ok((path, Origin::Taken)) => ("taken", Some(path), None),
                Ok((path, Origin::Downloaded)) => ("downloaded", Some(path), None),
                Err(error @ RawError::Stopped(_)) => {
                    return Err(Stop::new(INTERRUPTED, error).help("the same command goes on from there"));
                }
                Err(error) => ("failed", None, Some(error.to_string())),
            };
            brought += usize::from(!matches!(outcome, "present" | "failed"));
            failed += usize::from(error.is_some());
            let bytes = path.as_deref().and_then(size);
            let seconds = clock.elapsed().as_secs_f64();
            transfers.show(&Transfer::FileFinished { source, outcome, path, bytes, seconds, error })?;
            if interrupt.is_raised() {
                return Err(Stop::new(INTERRUPTED, "interrupted").help("the same command goes on from there"));
            }
        }
        let total = self.sources.len();
        if failed > 0 {
            return Err(Stop::new(FAILED, format!("{failed} of {} could not be had", text::count(total, "raw file"))));
        }
        ui.note(&format!("{}: {brought} new, {} present", text::count(total, "raw file"), total - brought));
        Ok(DONE)
    }

    fn list(&self, ui: &Ui) -> Result<u8, Stop> {
        let mut rows = Vec::new();
        let terminal = console::Term::stdout();
        let room = if terminal.is_term() { usize::from(terminal.size().1).saturating_sub(OTHERS) } else { usize::MAX };
        for file in &self.sources {
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

    fn verify(&self, ui: &Ui) -> Result<u8, Stop> {
        let mut bad = 0;
        for file in &self.sources {
            let found = self.locate(file)?;
            let digest = found.as_ref().map(|found| self.raw.read(&found.path, file.digest.as_deref()));
            let (state, digest, error) = match digest {
                None => ("missing", None, None),
                Some(Err(error)) => ("damaged", None, Some(error.to_string())),
                Some(Ok(digest)) => match &file.digest {
                    None => ("undeclared", Some(digest.to_string()), None),
                    Some(declared) if digest.is(declared) => ("ok", Some(digest.to_string()), None),
                    Some(_) => ("damaged", Some(digest.to_string()), None),
                },
            };
            bad += usize::from(matches!(state, "missing" | "damaged"));
            let path = found.as_ref().map(|found| &found.path);
            if ui.json {
                ui.result_json(&json!({
                    "source": file.source, "state": state, "path": path, "declared": file.digest, "digest": digest,
                    "error": error,
                }))?;
                continue;
            }
            let tone = match state {
                "ok" => Tone::Good,
                "undeclared" => Tone::Warn,
                _ => Tone::Bad,
            };
            let mut line = format!("{} {}", ui.out.paint(tone, state), file.source);
            match (state, &file.digest, digest) {
                ("damaged", Some(declared), Some(found)) => {
                    line.push_str(&format!("\n  declared {declared}\n  found    {found}"));
                }
                ("undeclared", _, Some(found)) => line.push_str(&format!("\n  found    {found}")),
                _ => {}
            }
            line.extend(error.map(|error| format!("\n  {error}")));
            if let (true, Some(path)) = (state != "ok", path) {
                line.push_str(&format!("\n  in       {}", path.display()));
            }
            ui.result(&line);
        }
        let total = text::count(self.sources.len(), "raw file");
        if bad > 0 {
            return Err(Stop::new(FAILED, format!("{bad} of {total} are missing or damaged")).help(
                "`cnsdiff-pipe data fetch` brings them again; a damaged file of your own is for you to replace",
            ));
        }
        ui.note(&format!("{total} as declared"));
        Ok(DONE)
    }

    fn locate(&self, file: &RawSource) -> Result<Option<Found>, Stop> {
        self.raw.locate(&file.source, file.digest.as_deref()).map_err(Stop::wrong)
    }
}

fn word(location: Location) -> &'static str {
    match location {
        Location::Path => "path",
        Location::Data => "data",
        Location::Cache => "cache",
        Location::Mirror => "mirror",
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
