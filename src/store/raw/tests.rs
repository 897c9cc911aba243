use std::fs;

use super::*;

const TEXT: &str = "0 0 1\n0 1 1\n";

fn quiet(_: DownloadEvent) {}

fn sha256(text: &str) -> String {
    let mut hasher = checksum::Hasher::new(Algorithm::Sha256);
    hasher.update(text.as_bytes());
    hasher.finish().to_string()
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn raw(&self, mirrors: &[&str]) -> RawFiles {
        let mirrors = mirrors.iter().map(|name| self.dir.path().join(name)).collect();
        let at = |name: &str| self.dir.path().join(name);
        RawFiles::new(&at("cache"), &at("base"), Some(at("data")), mirrors)
    }
}

#[test]
fn identity_is_the_declared_digest_or_the_content() {
    let lab = Lab::new();
    lab.write("base/train.txt", TEXT);
    let raw = lab.raw(&[]);
    let declared = sha256("anything");
    assert_eq!(raw.identity("https://example.org/never-asked", Some(&declared)).unwrap(), declared);
    let content = format!("blake3:{}", blake3::hash(TEXT.as_bytes()).to_hex());
    assert_eq!(raw.identity("train.txt", None).unwrap(), content);
    let url = format!("file://{}", lab.dir.path().join("base/train.txt").display());
    assert_eq!(raw.identity(&url, None).unwrap(), content);
    assert!(matches!(raw.identity("https://example.org/x", None), Err(RawError::UrlWithoutDigest(_))));
    assert!(matches!(raw.identity("ftp://example.org/x", None), Err(RawError::UnknownScheme(_))));
    assert!(matches!(raw.identity("missing.txt", None), Err(RawError::NotFound { .. })));
}

#[test]
fn a_local_file_is_verified() {
    let lab = Lab::new();
    let path = lab.write("base/a b.txt", TEXT);
    let raw = lab.raw(&[]);
    assert_eq!(raw.fetch("a b.txt", Some(&sha256(TEXT)), &quiet).unwrap(), path);
    let url = format!("file://localhost{}", path.display()).replace(' ', "%20");
    assert_eq!(raw.fetch(&url, Some(&sha256(TEXT)), &quiet).unwrap(), path);

    let error = raw.fetch("a b.txt", Some(&sha256("other")), &quiet).unwrap_err().to_string();
    assert!(error.contains(&sha256("other")) && error.contains(&sha256(TEXT)), "{error}");
}

#[test]
fn a_missing_file_is_found_in_a_mirror_by_digest_whatever_its_name() {
    let lab = Lab::new();
    lab.write("mirror/yelp/train.txt", "another file of the same name");
    let same_name = lab.write("mirror/food/train.txt", TEXT);
    let renamed = lab.write("mirror/deep/er/copy.dat", "renamed");
    let raw = lab.raw(&["absent", "mirror"]);
    assert_eq!(raw.fetch("data/food/train.txt", Some(&sha256(TEXT)), &quiet).unwrap(), same_name);
    assert_eq!(raw.fetch("https://example.invalid/x.txt", Some(&sha256("renamed")), &quiet).unwrap(), renamed);
}

#[test]
fn what_is_nowhere_says_where_it_was_looked_for() {
    let lab = Lab::new();
    lab.write("mirror/other.txt", "other");
    let raw = lab.raw(&["mirror"]);
    let error = raw.fetch("data/train.txt", Some(&sha256(TEXT)), &quiet).unwrap_err().to_string();
    for part in ["base/data/train.txt", "mirror (mirror)", "--mirror DIR", "CNSDIFF_MIRROR", &sha256(TEXT)] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn what_data_fetch_kept_is_found_by_its_url() {
    let lab = Lab::new();
    let url = "https://example.invalid/food/train.txt";
    let kept = lab.write("data/example.invalid/food/train.txt", TEXT);
    let raw = lab.raw(&["mirror"]);
    assert_eq!(raw.fetch(url, Some(&sha256(TEXT)), &quiet).unwrap(), kept);
    let located = raw.locate(url, Some(&sha256(TEXT))).unwrap();
    assert_eq!(located, Some(LocalFile { location: RawLocation::Data, path: kept.clone() }));

    // Other bytes there do not count, but are told.
    fs::write(&kept, "other").unwrap();
    let mirrored = lab.write("mirror/copy", TEXT);
    assert_eq!(raw.fetch(url, Some(&sha256(TEXT)), &quiet).unwrap(), mirrored);
}

#[test]
fn a_mirror_fills_the_data_directory_and_the_paths() {
    let lab = Lab::new();
    lab.write("mirror/copy", TEXT);
    let raw = lab.raw(&["mirror"]);
    let keep = |source: &str, to: Option<&Path>| raw.keep(source, Some(&sha256(TEXT)), to, &quiet);
    let url = "https://example.invalid/food/train.txt";
    let target = lab.dir.path().join("data/example.invalid/food/train.txt");
    assert_eq!(keep(url, None).unwrap(), (target.clone(), Acquisition::Taken));
    assert_eq!(keep(url, None).unwrap(), (target.clone(), Acquisition::Present));
    fs::remove_file(&target).unwrap();
    fs::write(&target, "damaged").unwrap();
    assert_eq!(keep(url, None).unwrap(), (target.clone(), Acquisition::Taken));
    assert_eq!(fs::read_to_string(&target).unwrap(), TEXT);

    let own = lab.dir.path().join("base/food/train.txt");
    assert_eq!(keep("food/train.txt", None).unwrap(), (own.clone(), Acquisition::Taken));
    let to = lab.dir.path().join("elsewhere");
    assert_eq!(keep("../food/train.txt", Some(&to)).unwrap().0, to.join("food/train.txt"));
    assert_eq!(raw.read(&own, Some(&sha256(TEXT))).unwrap().to_string(), sha256(TEXT));

    // A file of the user's own is never replaced.
    fs::remove_file(&own).unwrap();
    fs::write(&own, "edited").unwrap();
    assert!(matches!(keep("food/train.txt", None), Err(RawError::WrongDigest { at: Some(at), .. }) if at == own));
    assert_eq!(fs::read_to_string(&own).unwrap(), "edited");
}
