//! Reads everything in the store again and compares it with what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::object::digest_file;
use super::{Store, StoreError, failure, remove_file, walk};
use crate::digest::Digest;

/// Something in the store is not what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damage {
    pub path: PathBuf,
    pub reason: String,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    pub entries: usize,
    pub objects: usize,
    pub bytes: u64,
    pub damaged: Vec<Damage>,
    /// Whether what is damaged was removed.
    pub repaired: bool,
}

impl Store {
    /// Digests every object again and reads every index entry. With `repair`, what is damaged is removed (the
    /// next run makes it anew), for which no run may use the store.
    pub fn verify(&self, repair: bool) -> Result<VerifyReport, StoreError> {
        let _lock = if repair { self.exclusive()? } else { self.share()? };
        let objects = walk(&self.dir().join("objects"))?;
        let checked = objects.par_iter().map(check_object).collect::<Result<Vec<_>, _>>()?;
        let mut report = VerifyReport { objects: objects.len(), ..VerifyReport::default() };
        let mut sound = BTreeMap::new();
        for (path, check) in objects.into_iter().zip(checked) {
            match check {
                Ok((digest, bytes)) => {
                    report.bytes += bytes;
                    sound.insert(digest, bytes);
                }
                Err(reason) => report.damaged.push(Damage { path, reason }),
            }
        }
        for path in walk(&self.dir().join("index"))? {
            report.entries += 1;
            if let Err(reason) = self.check_entry(&path, &sound) {
                report.damaged.push(Damage { path, reason });
            }
        }
        if repair {
            for path in report.damaged.iter().map(|damage| &damage.path).collect::<BTreeSet<_>>() {
                remove_file(path)?;
            }
            report.repaired = true;
        }
        Ok(report)
    }

    fn check_entry(&self, path: &std::path::Path, sound: &BTreeMap<Digest, u64>) -> Result<(), String> {
        let key = name_of(path).ok_or("its name is no key")?;
        let entry = match self.index_entry(&key) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(()),
            Err(StoreError::Damaged { reason, .. }) => return Err(reason),
            Err(error) => return Err(error.to_string()),
        };
        match entry.outputs.iter().find(|output| sound.get(&output.digest) != Some(&output.bytes)) {
            Some(output) => Err(format!("the object of artifact `{}` is missing or damaged", output.name)),
            None => Ok(()),
        }
    }
}

fn name_of(path: &std::path::Path) -> Option<Digest> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// Digest and size of a sound object, or what is wrong with it.
fn check_object(path: &PathBuf) -> Result<Result<(Digest, u64), String>, StoreError> {
    let Some(named) = name_of(path) else { return Ok(Err("its name is no digest".to_owned())) };
    let found = digest_file(path)?;
    let bytes = fs::metadata(path).map_err(failure("read", path))?.len();
    Ok(if found == named { Ok((named, bytes)) } else { Err("its content does not fit its name".to_owned()) })
}
