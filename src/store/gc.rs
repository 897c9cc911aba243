//! Removes what nobody needs any more: entries, then the objects that no entry names, then leftovers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Store, StoreError, failure, list, remove, remove_file, walk};
use crate::digest::Digest;

/// What [`Store::gc`] may remove.
#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// Keys to keep besides the last ones of every pipeline.
    pub keep: BTreeSet<Digest>,
    /// Only entries at least this old go.
    pub older_than: Duration,
    /// Only tells what would go.
    pub dry_run: bool,
}

/// What [`Store::gc`] removed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GcReport {
    pub entries: usize,
    pub objects: usize,
    /// Of the objects.
    pub bytes: u64,
    pub kept_entries: usize,
    pub kept_bytes: u64,
}

impl Store {
    /// Removes every entry that is no last key of a pipeline, not to be kept and old enough, and every object that
    /// no entry names. Fails when a run uses the store.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, StoreError> {
        let _lock = self.exclusive()?;
        let mut keep = options.keep.clone();
        keep.extend(self.all_previous()?);

        let mut report = GcReport::default();
        let mut needed = BTreeSet::new();
        for key in self.keys()? {
            let path = self.index_path(&key);
            let entry = self.index_entry(&key).ok().flatten();
            match entry {
                Some(entry) if keep.contains(&key) || age(&path) < options.older_than => {
                    report.kept_entries += 1;
                    needed.extend(entry.outputs.into_iter().map(|output| output.digest));
                }
                _ => {
                    report.entries += 1;
                    if !options.dry_run {
                        remove_file(&path)?;
                        remove_file(&self.log_path(&key))?;
                    }
                }
            }
        }
        for path in walk(&self.dir().join("objects"))? {
            let bytes = fs::metadata(&path).map_err(failure("read", &path))?.len();
            let digest = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if digest.is_some_and(|digest: Digest| needed.contains(&digest)) {
                report.kept_bytes += bytes;
            } else {
                report.objects += 1;
                report.bytes += bytes;
                if !options.dry_run {
                    remove_file(&path)?;
                }
            }
        }
        if !options.dry_run {
            self.remove_leftovers(options.older_than)?;
        }
        Ok(report)
    }

    /// Temporary files of crashed runs; checkpoints that nobody came back for; locks without a holder.
    fn remove_leftovers(&self, older_than: Duration) -> Result<(), StoreError> {
        self.remove_staging()?;
        for (area, min_age) in [("tmp", Duration::ZERO), ("locks", Duration::ZERO), ("scratch", older_than)] {
            let old = |path: &PathBuf| age(path) >= min_age;
            list(&self.dir().join(area))?.into_iter().filter(old).try_for_each(|path| remove(&path))?;
        }
        Ok(())
    }
}

/// Zero when the file is gone or its time lies ahead.
fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}
