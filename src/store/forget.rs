//! Removes results on request: those of some keys, or the whole cache.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::{GcOptions, GcReport, Store, StoreError, failure, remove_file};
use crate::digest::Digest;

impl Store {
    /// Removes the entries, logs and checkpoints of `keys`, and the objects that no other entry names. Fails when a
    /// run uses the store.
    pub fn forget(&self, keys: &BTreeSet<Digest>, dry_run: bool) -> Result<GcReport, StoreError> {
        let known: Vec<Digest> = self.keys()?.into_iter().filter(|key| keys.contains(key)).collect();
        if dry_run {
            return self.without(&known);
        }
        {
            let _lock = self.exclusive()?;
            for key in keys {
                remove_file(&self.index_path(key))?;
                remove_file(&self.log_path(key))?;
                let scratch = self.scratch_dir(key);
                if scratch.exists() {
                    fs::remove_dir_all(&scratch).map_err(failure("remove", &scratch))?;
                }
            }
        }
        // No entry is old enough for this; what goes are the objects that have lost their entries.
        let report = self.gc(&GcOptions { older_than: Duration::MAX, ..GcOptions::default() })?;
        Ok(GcReport { entries: known.len(), ..report })
    }

    /// What [`Store::forget`] would remove.
    fn without(&self, forgotten: &[Digest]) -> Result<GcReport, StoreError> {
        let mut report = GcReport { entries: forgotten.len(), ..GcReport::default() };
        let (mut kept, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for key in self.keys()? {
            let outputs = self.index_entry(&key).ok().flatten().into_iter().flat_map(|entry| entry.outputs);
            let objects = outputs.map(|output| (output.digest, output.bytes));
            if forgotten.binary_search(&key).is_ok() {
                gone.extend(objects);
            } else {
                report.kept_entries += 1;
                kept.extend(objects);
            }
        }
        report.kept_bytes = kept.iter().map(|(_, bytes)| bytes).sum();
        report.objects = gone.difference(&kept).count();
        report.bytes = gone.difference(&kept).map(|(_, bytes)| bytes).sum();
        Ok(report)
    }

    /// Removes the whole cache directory. Fails when a run uses it.
    pub fn destroy(self) -> Result<(), StoreError> {
        let _lock = self.exclusive()?;
        fs::remove_dir_all(self.dir()).map_err(failure("remove", self.dir()))
    }
}
