//! The peer RecBole, a Python library: an epoch of a model and a ranking with its metrics, on the same pairs.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cnsdiff_pipe::data::Graph;

use crate::python::{peers::works, pip_install, python};
use crate::{THREADS, pairs};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");

/// RecBole, where it can be installed.
pub struct RecBole {
    python: PathBuf,
}

/// What it took, in seconds.
pub struct Seconds {
    pub epoch: f64,
    pub ranking: f64,
}

impl RecBole {
    /// Says so where it cannot.
    pub fn find() -> Option<Self> {
        let file = |name: &str| Path::new(FOLDER).join(name);
        let install = |venv: &Path| {
            pip_install(venv, &["--no-deps", "--requirement", &file("recbole.txt").to_string_lossy()])
                && works(Command::new("sh").arg(file("stand-in-for-cuda")).arg(venv))
        };
        let python = python("bench-recbole", "recbole.trainer", install);
        if python.is_none() {
            println!("RecBole: not measured (no Python with it)");
        }
        python.map(|python| Self { python })
    }

    /// An epoch of `model` over the pairs of `train`, or its fit, and for LightGCN a ranking of all items for all users of
    /// `test`.
    pub fn measure(&self, model: &str, train: &Graph, test: &[(u32, u32)]) -> Result<Seconds, Box<dyn Error>> {
        self.run(model, &[("train", atomic(pairs(train))), ("test", atomic(test.iter().copied()))])
    }

    /// An epoch of a model of sequences over the items of each user, ascending, but the last two.
    pub fn measure_sequences(&self, model: &str, train: &Graph) -> Result<f64, Box<dyn Error>> {
        let mut text = "user_id:token\titem_id:token\ttimestamp:float\n".to_owned();
        for user in 0..train.n_users as u32 {
            for (time, item) in train.items_of(user).iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{user}\t{item}\t{time}");
            }
        }
        Ok(self.run(model, &[("", text)])?.epoch)
    }

    /// Parts of the data by name; a whole one has none.
    fn run(&self, model: &str, parts: &[(&str, String)]) -> Result<Seconds, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let dataset = folder.path().join("bench");
        std::fs::create_dir(&dataset)?;
        for (part, text) in parts {
            let dot = if part.is_empty() { "" } else { "." };
            std::fs::write(dataset.join(format!("bench{dot}{part}.inter")), text)?;
        }
        let mut command = Command::new(&self.python);
        command.arg(Path::new(FOLDER).join("train.py")).arg(model).args([folder.path(), Path::new("bench")]);
        let threads = THREADS.to_string();
        command.env("OMP_NUM_THREADS", &threads).env("OPENBLAS_NUM_THREADS", &threads);
        let output = command.current_dir(&folder).stderr(Stdio::inherit()).output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let seconds: Vec<f64> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match seconds[..] {
            [epoch, ranking] if output.status.success() => Ok(Seconds { epoch, ranking }),
            _ => Err(format!("RecBole's {model}: {}, printed `{printed}`", output.status).into()),
        }
    }
}

/// A file of interactions as RecBole reads it.
fn atomic(pairs: impl Iterator<Item = (u32, u32)>) -> String {
    let mut text = "user_id:token\titem_id:token\n".to_owned();
    for (user, item) in pairs {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{user}\t{item}");
    }
    text
}
