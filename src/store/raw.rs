//! Raw files: what a pipeline reads from outside the store. Each is known by its content, and found at its path,
//! in a mirror directory, in the cache of downloads or at its URL, in that order of preference.
//! Knows nothing of what the files hold.

mod checksum;
mod download;
mod remember;

use std::io;
use std::path::{Path, PathBuf};

pub use checksum::{Algorithm, Checksum, NotAChecksum};
use remember::Remembered;

/// Bytes done, and bytes in all where known.
pub type OnProgress<'a> = &'a dyn Fn(u64, Option<u64>);

/// How deep mirror directories are searched.
const MIRROR_DEPTH: usize = 16;

/// Finds and verifies raw files.
pub struct RawFiles {
    /// Downloads, by digest.
    downloads: PathBuf,
    base: PathBuf,
    mirrors: Vec<PathBuf>,
    remembered: Remembered,
}

/// A raw file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    #[error(transparent)]
    Digest(#[from] NotAChecksum),
    #[error("`{0}` is a URL without a digest: add `digest: sha256:<hex>`, so that everybody gets the same bytes")]
    UrlWithoutDigest(String),
    #[error("`{0}` is not a raw file that can be read: write a path, or a URL of `http:`, `https:` or `file:`")]
    UnknownScheme(String),
    #[error(
        "`{source_name}` has other bytes than the pipeline declares\n  declared {declared}\n  found    {found}{at}",
        at = at.as_ref().map(|path| format!("\n  in       {}", path.display())).unwrap_or_default()
    )]
    WrongDigest { source_name: String, declared: Checksum, found: Checksum, at: Option<PathBuf> },
    #[error(
        "`{source_name}` was not found{}; looked in:{}\n{help}",
        digest.map(|digest| format!(" ({digest})")).unwrap_or_default(),
        looked.iter().map(|place| format!("\n  {place}")).collect::<String>()
    )]
    NotFound { source_name: String, digest: Option<Checksum>, looked: Vec<String>, help: &'static str },
    #[error("cannot read `{}`: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("cannot store the download of `{url}`: {error}")]
    Store { url: String, error: io::Error },
}

const HELP_MIRROR: &str = "If a copy lies elsewhere, name its directory by `--mirror DIR` or CNSDIFF_MIRROR: files are \
                           found there by digest, whatever their names.";
const HELP_DIGEST: &str = "With a `digest`, a copy could also be found in a mirror directory (`--mirror DIR` or \
                           CNSDIFF_MIRROR).";

enum Place<'a> {
    Path(PathBuf),
    Url(&'a str),
}

impl RawFiles {
    /// `cache`: the cache directory; `base`: the pipeline's directory, which relative paths start from.
    pub fn new(cache: &Path, base: &Path, mirrors: Vec<PathBuf>) -> Self {
        let downloads = cache.join("raw");
        let remembered = Remembered::new(downloads.join("digests"));
        Self { downloads, base: base.to_owned(), mirrors, remembered }
    }

    /// What enters the stage key: the declared digest, else the BLAKE3 of the file's content, as `sha256:<hex>` or
    /// `blake3:<hex>`. A declared file is not looked at.
    ///
    /// # Errors
    /// A malformed digest, a URL without one, or a file without one that cannot be read.
    pub fn identity(&self, source: &str, digest: Option<&str>) -> Result<String, RawError> {
        if let Some(digest) = digest {
            return Ok(digest.parse::<Checksum>()?.to_string());
        }
        match self.place(source)? {
            Place::Url(url) => Err(RawError::UrlWithoutDigest(url.to_owned())),
            Place::Path(path) if !path.exists() => Err(missing(source, &path)),
            Place::Path(path) => Ok(self.digest(&path, Algorithm::Blake3)?.to_string()),
        }
    }

    /// A local file with exactly the declared bytes; without a digest, the local file as it is. Mirrors are tried
    /// before the network.
    ///
    /// # Errors
    /// Not found (with the places looked at), other bytes than declared (with both digests), or unreadable.
    pub fn fetch(&self, source: &str, digest: Option<&str>, progress: OnProgress) -> Result<PathBuf, RawError> {
        let declared = digest.map(str::parse::<Checksum>).transpose()?;
        let place = self.place(source)?;
        let mut looked = Vec::new();
        if let Place::Path(path) = &place {
            if path.exists() {
                return self.verified(source, path, declared);
            }
            looked.push(path.display().to_string());
        }
        let declared = match (&place, declared) {
            (_, Some(declared)) => declared,
            (Place::Url(url), None) => return Err(RawError::UrlWithoutDigest((*url).to_owned())),
            (Place::Path(path), None) => return Err(missing(source, path)),
        };
        let download = self.downloads.join(declared.file_name());
        if download.exists() && self.digest(&download, declared.algorithm)? == declared {
            return Ok(download);
        }
        for mirror in &self.mirrors {
            if let Some(found) = self.search(mirror, source, declared) {
                return Ok(found);
            }
            looked.push(format!("{} (mirror)", mirror.display()));
        }
        let not_found = |looked| RawError::NotFound {
            source_name: source.to_owned(),
            digest: Some(declared),
            looked,
            help: HELP_MIRROR,
        };
        let Place::Url(url) = place else { return Err(not_found(looked)) };
        match download::download(url, declared.algorithm, &download, |found| *found == declared, progress) {
            Ok(found) if found == declared => Ok(download),
            Ok(found) => Err(RawError::WrongDigest { source_name: source.to_owned(), declared, found, at: None }),
            Err(download::Failed::Store(error)) => Err(RawError::Store { url: url.to_owned(), error }),
            Err(download::Failed::Network(reason)) => {
                looked.push(format!("{url}: {reason}"));
                Err(not_found(looked))
            }
        }
    }

    fn place<'a>(&self, source: &'a str) -> Result<Place<'a>, RawError> {
        match source.split_once("://") {
            None => Ok(Place::Path(self.base.join(source))),
            Some(("http" | "https", _)) => Ok(Place::Url(source)),
            // `file:///path` or `file://localhost/path`.
            Some(("file", rest)) if rest.starts_with('/') || rest.starts_with("localhost/") => {
                Ok(Place::Path(PathBuf::from(percent_decoded(rest.trim_start_matches("localhost")))))
            }
            Some(_) => Err(RawError::UnknownScheme(source.to_owned())),
        }
    }

    fn verified(&self, source: &str, path: &Path, declared: Option<Checksum>) -> Result<PathBuf, RawError> {
        if let Some(declared) = declared {
            let found = self.digest(path, declared.algorithm)?;
            if found != declared {
                let at = Some(path.to_owned());
                return Err(RawError::WrongDigest { source_name: source.to_owned(), declared, found, at });
            }
        }
        Ok(path.to_owned())
    }

    fn digest(&self, path: &Path, algorithm: Algorithm) -> Result<Checksum, RawError> {
        let failure = |error| RawError::Read { path: path.to_owned(), error };
        self.remembered.digest(path, algorithm).map_err(failure)
    }

    /// The file of a mirror that has the declared bytes. Files whose path ends like the source's come first, so that
    /// the usual mirror is not digested whole; unreadable ones are passed over.
    fn search(&self, mirror: &Path, source: &str, declared: Checksum) -> Option<PathBuf> {
        let mut files = Vec::new();
        list(mirror, MIRROR_DEPTH, &mut files);
        let common_end = |path: &Path| {
            let mut parts = source.rsplit('/');
            path.components().rev().take_while(|part| parts.next().is_some_and(|name| part.as_os_str() == name)).count()
        };
        files.sort_by_cached_key(|path| (std::cmp::Reverse(common_end(path)), path.clone()));
        files.into_iter().find(|path| self.digest(path, declared.algorithm).is_ok_and(|found| found == declared))
    }
}

fn missing(source: &str, path: &Path) -> RawError {
    let looked = vec![path.display().to_string()];
    RawError::NotFound { source_name: source.to_owned(), digest: None, looked, help: HELP_DIGEST }
}

fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_file() {
            files.push(path);
        } else if depth > 0 && path.is_dir() {
            list(&path, depth - 1, files);
        }
    }
}

/// `%20` and the like as the characters they stand for (RFC 3986, section 2.1); a lone `%` stands for itself.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests;
