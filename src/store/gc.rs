//! Garbage collection: removes entries that are no longer needed, then the objects that no entry names, then leftovers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::files::{is_temporary, walk};
use super::raw::Checksum;
use super::{LastKeys, Origin, Store, StoreError, age, list, remove};
use crate::digest::Digest;

/// A part of a download that is younger than this may be written just now.
const DOWNLOADING: Duration = Duration::from_secs(60 * 60);
/// How `stat` counts what a file takes on the disk.
const BLOCK: u64 = 512;

/// What [`Store::gc`] may remove.
#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// Keys to keep besides the last ones of every pipeline.
    pub keep: BTreeSet<Digest>,
    /// Only what is at least this old goes.
    pub older_than: Duration,
    /// Further files in the cache that may go.
    pub unneeded: Vec<PathBuf>,
    /// Only tells what would go.
    pub dry_run: bool,
}

/// What [`Store::gc`] removed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GcReport {
    pub entries: usize,
    pub objects: usize,
    /// Downloads, logs, records of runs, checkpoints, temporary files.
    pub others: usize,
    /// What became free on the disk.
    pub bytes: u64,
    pub kept_entries: usize,
    /// What the objects that stay take on the disk.
    pub kept_bytes: u64,
}

/// Removes, or only counts.
struct Sweeper {
    dry_run: bool,
    report: GcReport,
}

impl Store {
    /// Removes every entry that is no last key of a pipeline, not to be kept and old enough, every object that no entry
    /// names, downloads that nothing kept was made from, and what was left over. Fails when a run uses the store.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, StoreError> {
        // Beside a run, and in a cache that can only be read, it can still be told what would go.
        let _lock = if options.dry_run { self.share()? } else { self.exclusive()? };
        let last = self.last_keys(options.older_than)?;
        let stays = |key: &Digest, path: &Path| {
            options.keep.contains(key) || last.keys.contains(key) || age(path) < options.older_than
        };
        let mut sweeper = Sweeper { dry_run: options.dry_run, report: GcReport::default() };
        let origins = self.sweep(stays, &mut sweeper)?;
        let unneeded = options.unneeded.iter().chain(&last.outdated);
        unneeded.filter(|path| path.exists()).try_for_each(|path| sweeper.take_other(path))?;
        self.sweep_downloads(&origins, options.older_than, &mut sweeper)?;
        self.sweep_leftovers(&last, options.older_than, &mut sweeper)?;
        Ok(sweeper.report)
    }

    /// Removes the entries, logs and checkpoints of `keys`, and the objects that no other entry names. Fails when a
    /// run uses the store.
    pub fn forget(&self, keys: &BTreeSet<Digest>, dry_run: bool) -> Result<GcReport, StoreError> {
        let _lock = if dry_run { self.share()? } else { self.exclusive()? };
        let mut sweeper = Sweeper { dry_run, report: GcReport::default() };
        // Also of executions that failed.
        let logs = keys.iter().filter(|key| !self.index_path(key).exists()).map(|key| self.log_path(key));
        let beside: Vec<PathBuf> = logs.chain(keys.iter().map(|key| self.scratch_dir(key))).collect();
        self.sweep(|key, _| !keys.contains(key), &mut sweeper)?;
        beside.iter().filter(|path| path.exists()).try_for_each(|path| sweeper.take_other(path))?;
        Ok(sweeper.report)
    }

    /// Removes the entries that do not stay, with their logs, and the objects that no other entry names. Answers what led to
    /// the entries that stay.
    fn sweep(&self, stays: impl Fn(&Digest, &Path) -> bool, sweeper: &mut Sweeper) -> Result<Vec<Origin>, StoreError> {
        let (mut origins, mut needed) = (Vec::new(), BTreeSet::new());
        for key in self.keys()? {
            let path = self.index_path(&key);
            match self.index_record(&key).ok().flatten() {
                Some((entry, origin)) if stays(&key, &path) => {
                    sweeper.report.kept_entries += 1;
                    needed.extend(entry.outputs.into_iter().map(|output| output.digest));
                    origins.push(origin);
                }
                _ => {
                    sweeper.report.entries += 1;
                    sweeper.take(&path)?;
                    let log = self.log_path(&key);
                    if log.exists() {
                        sweeper.take_other(&log)?;
                    }
                }
            }
        }
        for path in walk(&self.dir().join("objects"))? {
            let digest = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if digest.is_some_and(|digest: Digest| needed.contains(&digest)) {
                sweeper.report.kept_bytes += allocated(&path);
            } else {
                sweeper.report.objects += 1;
                sweeper.take(&path)?;
            }
        }
        Ok(origins)
    }

    /// Downloads that no entry was made from.
    fn sweep_downloads(
        &self,
        origins: &[Origin],
        older_than: Duration,
        sweeper: &mut Sweeper,
    ) -> Result<(), StoreError> {
        let fields = origins.iter().flat_map(|origin| &origin.material);
        let files = fields.filter(|(field, _)| field.starts_with("files["));
        let needed: BTreeSet<String> = files
            .filter_map(|(_, text)| serde_json::from_str::<String>(text).ok()?.parse::<Checksum>().ok())
            .map(|checksum| checksum.file_name())
            .collect();
        for path in list(&self.dir().join("raw"))? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let (whole, part) = name.split_once('.').map_or((name, false), |(whole, _)| (whole, true));
            let least = if part { older_than.max(DOWNLOADING) } else { older_than };
            if Checksum::of_file_name(whole).is_some() && !needed.contains(whole) && age(&path) >= least {
                sweeper.take_other(&path)?;
            }
        }
        Ok(())
    }

    /// Temporary files of runs that were killed; checkpoints and logs of executions that nobody came back for; what is known
    /// of the last run of a pipeline that is out of use.
    fn sweep_leftovers(&self, last: &LastKeys, older_than: Duration, sweeper: &mut Sweeper) -> Result<(), StoreError> {
        let area = |name: &str| self.dir().join(name);
        let mut left = [list(&area("staging"))?, list(&area("tmp"))?].concat();
        // Earlier versions made a file per key.
        left.extend(list(&area("locks"))?.into_iter().filter(|path| !path.ends_with("keys")));
        left.extend(list(&area("scratch"))?.into_iter().filter(|path| age(path) >= older_than));
        let logs = walk(&area("logs"))?.into_iter().filter(|path| age(path) >= older_than);
        left.extend(logs.filter(|path| {
            let key = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            key.is_none_or(|key: Digest| !self.index_path(&key).exists())
        }));
        left.extend(list(&area("runs/last"))?.into_iter().filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            name.is_some_and(|name: Digest| !last.names.contains(&name)) && age(path) >= older_than
        }));
        let named = [list(&area("runs"))?, list(&area("runs/last"))?, walk(&area("index"))?].concat();
        left.extend(named.into_iter().filter(|path| is_temporary(path)));
        left.iter().filter(|path| path.exists()).try_for_each(|path| sweeper.take_other(path))
    }
}

impl Sweeper {
    fn take(&mut self, path: &Path) -> Result<(), StoreError> {
        self.report.bytes += allocated(path);
        if self.dry_run { Ok(()) } else { remove(path) }
    }

    fn take_other(&mut self, path: &Path) -> Result<(), StoreError> {
        self.report.others += 1;
        self.take(path)
    }
}

/// What becomes free on the disk when a file, or a directory with all that it contains, is removed.
fn allocated(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let inside: u64 = list(path).unwrap_or_default().iter().map(|path| allocated(path)).sum();
            inside + metadata.blocks() * BLOCK
        }
        // Another name of the file stays.
        Ok(metadata) if metadata.nlink() > 1 => 0,
        Ok(metadata) => metadata.blocks() * BLOCK,
        Err(_) => 0,
    }
}
