//! A temporary project, and the real binary run in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A project directory that goes away with it.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A project with one pipeline, `pipeline.yaml`.
    pub fn with(pipeline: &str) -> Self {
        let lab = Self::new();
        lab.write("pipeline.yaml", pipeline);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("a written file");
    }

    /// Replaces the only occurrence of `old` in a file.
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert_eq!(text.matches(old).count(), 1, "`{old}` must stand in {name} once:\n{text}");
        self.write(name, &text.replace(old, new));
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The program with this project as its current directory, and nothing of the caller's environment that
    /// changes its output.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnsdiff-pipe"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        // Tests may run in the background of a shell, which has them ignore Ctrl-C.
        // SAFETY: `signal` may be called between `fork` and `exec`, and installs no handler.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                Ok(())
            });
        }
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "CNSDIFF_MIRROR", "RAYON_NUM_THREADS", "CI"] {
            command.env_remove(name);
        }
        command
    }

    /// The program, started by a shell after something that changes its limits or signals.
    pub fn command_after(&self, setup: &str, args: &[&str]) -> Command {
        let program = self.command(args);
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &format!("{setup}; exec \"$@\""), "bash"])
            .arg(program.get_program())
            .args(program.get_args());
        shell.current_dir(self.dir.path()).stdin(Stdio::null());
        shell
    }

    /// Runs the program to its end.
    pub fn call(&self, args: &[&str]) -> Outcome {
        Self::end(&mut self.command(args))
    }

    /// Runs a command to its end.
    pub fn end(command: &mut Command) -> Outcome {
        let output = command.output().expect("the program starts");
        Outcome {
            args: command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" "),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A successful `run --json` with more arguments.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.call(&[&["run", "--json"], args].concat()).code(0)
    }

    /// Every file below a directory with its bytes, in order.
    pub fn files(&self, directory: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        collect(&self.path(directory), &mut found);
        let root = self.path(directory);
        let relative = |path: &Path| path.strip_prefix(&root).expect("below the root").to_owned();
        let mut files: Vec<_> =
            found.into_iter().map(|path| (relative(&path), fs::read(&path).expect("a readable file"))).collect();
        files.sort();
        files
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, found) } else { found.push(path) }
    }
}

/// How the program ended, and what it said.
pub struct Outcome {
    args: String,
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Asserts the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        let Self { args, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "cnsdiff-pipe {args}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    pub fn exit(&self) -> Option<i32> {
        self.code
    }

    /// The lines of JSON on standard output.
    pub fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The only result on standard output.
    pub fn value(&self) -> Value {
        let mut values = self.json();
        assert_eq!(values.len(), 1, "{}", self.stdout);
        values.remove(0)
    }

    /// Ids of the stages that ended this way: `executed`, `cached`, `failed`, `skipped`, `cancelled`.
    pub fn ended(&self, outcome: &str) -> BTreeSet<String> {
        let finished = |event: &Value| event["event"] == "stage_finished" && event["outcome"] == outcome;
        let events = self.json().into_iter().filter(finished);
        events.map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    }

    pub fn executed(&self) -> BTreeSet<String> {
        self.ended("executed")
    }
}

/// `set(["a", "b"])`.
pub fn set<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.into_iter().map(str::to_owned).collect()
}
