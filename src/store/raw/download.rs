//! One download: to a temporary name, digested on the way, renamed only when the bytes are the declared ones.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::OnProgress;
use super::checksum::{Algorithm, Checksum, Hasher};

/// A server that says nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub enum Failed {
    Network(String),
    Store(io::Error),
}

/// Downloads `url` to `target` if `accept` takes the digest of what came, and returns that digest.
pub fn download(
    url: &str,
    algorithm: Algorithm,
    target: &Path,
    accept: impl FnOnce(&Checksum) -> bool,
    progress: OnProgress,
) -> Result<Checksum, Failed> {
    let network = |error: ureq::Error| Failed::Network(error.to_string());
    let config = ureq::Agent::config_builder().timeout_connect(Some(SILENCE)).timeout_per_read(Some(SILENCE));
    let response = config.build().new_agent().get(url).call().map_err(network)?;
    let total = response.body().content_length();
    let mut reader = response.into_body().into_reader();

    let directory = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(Failed::Store)?;
    let mut file = tempfile::Builder::new().prefix(".download-").tempfile_in(directory).map_err(Failed::Store)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let n = reader.read(&mut buffer).map_err(|error| Failed::Network(error.to_string()))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(Failed::Store)?;
        done += n as u64;
        progress(done, total);
    }
    if let Some(total) = total.filter(|&total| total != done) {
        return Err(Failed::Network(format!("the connection ended after {done} of {total} bytes")));
    }
    let checksum = hasher.finish();
    if accept(&checksum) {
        file.as_file().sync_all().map_err(Failed::Store)?;
        file.persist(target).map_err(|error| Failed::Store(error.error))?;
    }
    Ok(checksum)
}
