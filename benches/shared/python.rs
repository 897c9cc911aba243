//! Peers that are Python packages, each in a virtual environment of its own.

#[path = "peers.rs"]
pub mod peers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use peers::works;

/// A Python that can import `module`, in the virtual environment `name`; where there is none, `install` makes it.
pub fn python(name: &str, module: &str, install: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    let venv = peers::folder()?.join(name);
    let python = venv.join("bin/python");
    let imports = || works(Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()));
    (imports() || install(&venv) && imports()).then_some(python)
}

/// Makes a virtual environment and has its pip install what the arguments say.
pub fn pip_install(venv: &Path, arguments: &[&str]) -> bool {
    let quietly = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    works(Command::new("python3").args(["-m", "venv"]).arg(venv))
        && works(Command::new(venv.join("bin/python")).args(quietly).args(arguments))
}
