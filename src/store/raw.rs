//! Raw files: what a pipeline reads from outside the store. Each is identified by its content, and looked for at its
//! path, in the data directory, in the cache of downloads, in a mirror directory and at its URL, in that order of
//! preference.

mod checksum;
mod data_dir;
mod digest_cache;
mod download;
mod mirror;
mod partial;
mod read;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use checksum::{Algorithm, Checksum, NotAChecksum};
use digest_cache::DigestCache;
pub use digest_cache::Stat;
pub use download::{DownloadEvent, Listener, RetryPolicy};

/// Finds, fetches and verifies raw files.
pub struct RawFiles {
    /// Downloads, by digest.
    downloads: PathBuf,
    base: PathBuf,
    data: Option<PathBuf>,
    mirrors: Vec<PathBuf>,
    digest_cache: DigestCache,
    retry: RetryPolicy,
    interrupt: Arc<AtomicBool>,
}

/// Where a raw file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawLocation {
    /// At the path that the pipeline names.
    Path,
    /// In the data directory, under the name of its URL.
    Data,
    /// In the cache of downloads.
    Cache,
    Mirror,
}

/// A raw file that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    pub location: RawLocation,
    pub path: PathBuf,
}

/// A raw file as it was when a stage began to read it.
#[derive(Debug)]
pub struct Pinned {
    pub path: PathBuf,
    stat: Stat,
    checksum: Checksum,
}

/// How a raw file came to where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Acquisition {
    /// It was there.
    Present,
    /// From the cache or a mirror.
    Taken,
    Downloaded,
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
    #[error("cannot store `{source_name}` as `{}`: {error}", path.display())]
    Store { source_name: String, path: PathBuf, error: io::Error },
    #[error("the download of `{0}` was interrupted; what has come is kept")]
    Stopped(String),
    #[error("interrupted while `{}` was read", .0.display())]
    Interrupted(PathBuf),
    #[error("`{}` changed while the run was going on: run again", .0.display())]
    Changed(PathBuf),
}

const HELP_MIRROR: &str = "If a copy lies elsewhere, name its directory by `--mirror DIR` or CNSDIFF_MIRROR: files are \
                           found there by digest, whatever their names.";
const HELP_DIGEST: &str = "With a `digest`, a copy could also be found in a mirror directory (`--mirror DIR` or \
                           CNSDIFF_MIRROR).";

enum Address<'a> {
    Path(PathBuf),
    Url(&'a str),
}

impl RawFiles {
    /// `cache`: the cache directory; `base`: the pipeline's directory, which relative paths start from; `data`: where
    /// `data fetch` keeps what URLs name.
    pub fn new(cache: &Path, base: &Path, data: Option<PathBuf>, mirrors: Vec<PathBuf>) -> Self {
        let downloads = cache.join("raw");
        let digest_cache = DigestCache::new(downloads.join("digests"));
        Self {
            downloads,
            base: base.to_owned(),
            data,
            mirrors,
            digest_cache,
            retry: RetryPolicy::default(),
            interrupt: Arc::default(),
        }
    }

    /// What is read or downloaded ends when the flag is set.
    pub fn interruptible(self, interrupt: Arc<AtomicBool>) -> Self {
        Self { interrupt, ..self }
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
            Address::Url(url) => Err(RawError::UrlWithoutDigest(url.to_owned())),
            Address::Path(path) if !Self::is_there(&path)? => Err(missing(source, &path)),
            Address::Path(path) => Ok(self.digest(&path, Algorithm::Blake3)?.to_string()),
        }
    }

    /// A local file with exactly the declared bytes; without a digest, the local file as it is. Mirrors are tried
    /// before the network.
    ///
    /// # Errors
    /// Not found (with the places looked at), other bytes than declared (with both digests), or unreadable.
    pub fn fetch(&self, source: &str, digest: Option<&str>, listener: Listener) -> Result<PathBuf, RawError> {
        let declared = digest.map(str::parse::<Checksum>).transpose()?;
        let mut looked = Vec::new();
        if let Some(found) = self.verified(source, declared, &mut looked)? {
            return Ok(found.path);
        }
        let declared = self.needed(source, declared)?;
        let target = self.downloads.join(declared.file_name());
        self.download(source, declared, &target, looked, listener)?;
        Ok(target)
    }

    /// Puts a raw file to where it is kept: below `to`, or else at its path, or in the data directory if it has a URL.
    ///
    /// # Errors
    /// As [`Self::fetch`]. A file with other bytes is replaced below `to` and in the data directory, nowhere else.
    pub fn keep(
        &self,
        source: &str,
        digest: Option<&str>,
        to: Option<&Path>,
        listener: Listener,
    ) -> Result<(PathBuf, Acquisition), RawError> {
        let declared = digest.map(str::parse::<Checksum>).transpose()?;
        let target = match (self.place(source)?, to.or(self.data.as_deref())) {
            (Address::Path(path), _) if to.is_none() => path,
            (Address::Url(_), None) => self.downloads.join(self.needed(source, declared)?.file_name()),
            (_, directory) => directory.unwrap_or(&self.downloads).join(data_dir::path_of(source)),
        };
        if Self::is_there(&target)? {
            let right = match declared {
                Some(declared) => self.other_bytes(&target, declared)?.is_none(),
                None => true,
            };
            if right {
                return Ok((target, Acquisition::Present));
            }
        }
        let mut looked = Vec::new();
        let found = self.verified(source, declared, &mut looked)?;
        let declared = self.needed(source, declared)?;
        if let Some(found) = found {
            let store = |error: io::Error| match error.kind() {
                io::ErrorKind::Interrupted => RawError::Interrupted(found.path.clone()),
                _ => RawError::Store { source_name: source.to_owned(), path: target.clone(), error },
            };
            return match data_dir::link_or_copy(&found.path, &target, declared, &self.interrupt).map_err(store)? {
                None => Ok((target, Acquisition::Taken)),
                Some(digest) => Err(wrong(source, declared, digest, Some(&found.path))),
            };
        }
        self.download(source, declared, &target, looked, listener)?;
        Ok((target, Acquisition::Downloaded))
    }

    /// Where a raw file lies, without a look at its bytes where its name tells what it is.
    ///
    /// # Errors
    /// A malformed digest, or a source of an unknown scheme.
    pub fn locate(&self, source: &str, digest: Option<&str>) -> Result<Option<LocalFile>, RawError> {
        let declared = digest.map(str::parse::<Checksum>).transpose()?;
        if let Some(found) = self.named(source, declared)?.into_iter().next() {
            return Ok(Some(found));
        }
        declared.map_or(Ok(None), |declared| self.mirrored(source, declared))
    }

    /// Reads a file anew, whatever is remembered of it: its digest by the algorithm of the declared one, or BLAKE3.
    ///
    /// # Errors
    /// A malformed digest, or a file that cannot be read.
    pub fn read(&self, path: &Path, digest: Option<&str>) -> Result<Checksum, RawError> {
        let declared = digest.map(str::parse::<Checksum>).transpose()?;
        let algorithm = declared.map_or(Algorithm::Blake3, |declared| declared.algorithm);
        read::digest(path, algorithm, &self.interrupt).map_err(unreadable(path))
    }

    /// Notes the state of a file that a stage is about to read, whose key has it as `identity`.
    ///
    /// # Errors
    /// It has other bytes, or cannot be read.
    pub fn pin(&self, path: &Path, identity: &str) -> Result<Pinned, RawError> {
        let identity: Checksum = identity.parse()?;
        let stat = Stat::of(path).map_err(unreadable(path))?;
        match self.other_bytes(path, identity)? {
            None => Ok(Pinned { path: path.to_owned(), stat, checksum: identity }),
            Some(_) => Err(RawError::Changed(path.to_owned())),
        }
    }

    /// Reads a file anew after the stage that read it: what it took in was what the key says, all along.
    ///
    /// # Errors
    /// The file was touched meanwhile, has other bytes, or cannot be read.
    pub fn unchanged(&self, pinned: &Pinned) -> Result<(), RawError> {
        let Pinned { path, stat, checksum } = pinned;
        let same_bytes = self.read_anew(path, checksum.algorithm)? == *checksum;
        // After the bytes, so that whatever was written before the last of them was read shows.
        let same_state = Stat::of(path).map_err(unreadable(path))? == *stat;
        if same_bytes && same_state { Ok(()) } else { Err(RawError::Changed(path.clone())) }
    }

    /// Files whose name tells that they are the source.
    fn named(&self, source: &str, declared: Option<Checksum>) -> Result<Vec<LocalFile>, RawError> {
        let own = match self.place(source)? {
            Address::Path(path) => Some(LocalFile { location: RawLocation::Path, path }),
            Address::Url(_) => {
                let path = self.data.as_ref().map(|data| data.join(data_dir::path_of(source)));
                path.map(|path| LocalFile { location: RawLocation::Data, path })
            }
        };
        let download = declared.map(|declared| LocalFile {
            location: RawLocation::Cache,
            path: self.downloads.join(declared.file_name()),
        });
        let mut named = Vec::new();
        for found in own.into_iter().chain(download) {
            if Self::is_there(&found.path)? {
                named.push(found);
            }
        }
        Ok(named)
    }

    fn mirrored(&self, source: &str, declared: Checksum) -> Result<Option<LocalFile>, RawError> {
        for mirror in &self.mirrors {
            for path in mirror::candidates(mirror, source, &self.interrupt) {
                match self.digest(&path, declared.algorithm) {
                    Ok(found) if found == declared => {
                        return Ok(Some(LocalFile { location: RawLocation::Mirror, path }));
                    }
                    Err(error @ RawError::Interrupted(_)) => return Err(error),
                    // Unreadable ones are passed over.
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// A file with the declared bytes, if there is one; notes where it was looked for.
    fn verified(
        &self,
        source: &str,
        declared: Option<Checksum>,
        looked: &mut Vec<String>,
    ) -> Result<Option<LocalFile>, RawError> {
        if let Address::Path(path) = self.place(source)? {
            looked.push(path.display().to_string());
        }
        for found in self.named(source, declared)? {
            let Some(declared) = declared else {
                return Ok(Some(found).filter(|found| found.location == RawLocation::Path));
            };
            let Some(digest) = self.other_bytes(&found.path, declared)? else { return Ok(Some(found)) };
            match found.location {
                RawLocation::Path => return Err(wrong(source, declared, digest, Some(&found.path))),
                _ => looked.push(format!("{} (other bytes: {digest})", found.path.display())),
            }
        }
        let Some(declared) = declared else { return Ok(None) };
        looked.extend(self.mirrors.iter().map(|mirror| format!("{} (mirror)", mirror.display())));
        self.mirrored(source, declared)
    }

    /// The digest without which nothing can be searched or downloaded.
    fn needed(&self, source: &str, declared: Option<Checksum>) -> Result<Checksum, RawError> {
        declared.ok_or(()).or_else(|()| match self.place(source)? {
            Address::Url(url) => Err(RawError::UrlWithoutDigest(url.to_owned())),
            Address::Path(path) => Err(missing(source, &path)),
        })
    }

    fn download(
        &self,
        source: &str,
        declared: Checksum,
        target: &Path,
        mut looked: Vec<String>,
        listener: Listener,
    ) -> Result<(), RawError> {
        let not_found = |looked| RawError::NotFound {
            source_name: source.to_owned(),
            digest: Some(declared),
            looked,
            help: HELP_MIRROR,
        };
        let Address::Url(url) = self.place(source)? else { return Err(not_found(looked)) };
        match download::download(url, declared, target, self.retry, &self.interrupt, listener) {
            Ok(()) => Ok(()),
            Err(download::DownloadError::WrongDigest(found)) => Err(wrong(source, declared, found, None)),
            Err(download::DownloadError::Store(error)) => {
                Err(RawError::Store { source_name: source.to_owned(), path: target.to_owned(), error })
            }
            Err(download::DownloadError::Stopped) => Err(RawError::Stopped(source.to_owned())),
            Err(download::DownloadError::Network { reason, kept }) => {
                let kept = if kept > 0 { format!("; {kept} bytes are kept for the next try") } else { String::new() };
                looked.push(format!("{url}: {reason}{kept}"));
                Err(not_found(looked))
            }
        }
    }

    fn place<'a>(&self, source: &'a str) -> Result<Address<'a>, RawError> {
        match source.split_once("://") {
            None => Ok(Address::Path(self.base.join(source))),
            Some(("http" | "https", _)) => Ok(Address::Url(source)),
            // `file:///path` or `file://localhost/path`.
            Some(("file", rest)) if rest.starts_with('/') || rest.starts_with("localhost/") => {
                Ok(Address::Path(PathBuf::from(percent_decoded(rest.trim_start_matches("localhost")))))
            }
            Some(_) => Err(RawError::UnknownScheme(source.to_owned())),
        }
    }

    /// Whether there is a file; what is there, and is none, is an error.
    fn is_there(path: &Path) -> Result<bool, RawError> {
        match read::regular(path) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(unreadable(path)(error)),
        }
    }

    /// Remembered or anew.
    fn digest(&self, path: &Path, algorithm: Algorithm) -> Result<Checksum, RawError> {
        match self.digest_cache.cached(path, algorithm).map_err(unreadable(path))? {
            Some(known) => Ok(known),
            None => self.read_anew(path, algorithm),
        }
    }

    /// The digest of a file that has other bytes than declared. What is remembered is not enough to accuse a file.
    fn other_bytes(&self, path: &Path, declared: Checksum) -> Result<Option<Checksum>, RawError> {
        let known = self.digest_cache.cached(path, declared.algorithm).map_err(unreadable(path))?;
        if known == Some(declared) {
            return Ok(None);
        }
        let found = self.read_anew(path, declared.algorithm)?;
        Ok((found != declared).then_some(found))
    }

    fn read_anew(&self, path: &Path, algorithm: Algorithm) -> Result<Checksum, RawError> {
        self.digest_cache.read(path, algorithm, &self.interrupt).map_err(unreadable(path))
    }
}

/// Digests a whole file, whatever is remembered of it.
pub(super) fn digest(path: &Path, algorithm: Algorithm) -> io::Result<Checksum> {
    read::digest(path, algorithm, &AtomicBool::new(false))
}

/// Whether a source names a file of this machine, and not one at a URL.
pub fn is_path(source: &str) -> bool {
    source.split_once("://").is_none_or(|(scheme, _)| scheme == "file")
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> RawError + '_ {
    move |error| match error.kind() {
        io::ErrorKind::Interrupted => RawError::Interrupted(path.to_owned()),
        _ => RawError::Read { path: path.to_owned(), error },
    }
}

fn wrong(source: &str, declared: Checksum, found: Checksum, at: Option<&Path>) -> RawError {
    RawError::WrongDigest { source_name: source.to_owned(), declared, found, at: at.map(Path::to_owned) }
}

fn missing(source: &str, path: &Path) -> RawError {
    let looked = vec![path.display().to_string()];
    RawError::NotFound { source_name: source.to_owned(), digest: None, looked, help: HELP_DIGEST }
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
