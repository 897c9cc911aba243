//! One cache for several projects, processes and users, and reports that several stages publish.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cache::COLORS;
use crate::lab::{Lab, set};

/// A table per label, and one that they share.
const REPORTS: &str = "\
pipeline: reports
axes: { lab: [\"a/b\", \"a-b\", \"a%2Fb\"], method: [m] }
stages:
  raw: { kind: synthetic, with: { users: 60, items: 50, interactions: 250 } }
  split: { kind: split, needs: { data: raw }, with: { scenario: { popularity: {} } } }
  model: { kind: train, over: [method], needs: { split: split }, with: { backbone: mf, seed: 1, epochs: 1, dim: 4 } }
  score: { kind: evaluate, needs: { split: split, model: model }, with: { set: iid } }
  table: { kind: report, over: [lab], collapse: [method], needs: { scores: score }, with: { formats: [md], caption: \"caption {{ label.lab }}\" } }
  whole: { kind: report, collapse: [method], needs: { scores: score }, with: { formats: [md, csv] } }
";

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn labels_that_differ_in_separators_publish_into_folders_of_their_own() {
    let lab = Lab::with(REPORTS);
    lab.run(&[]);
    let published = lab.files("reports/reports");
    assert_eq!(published.len(), 5, "{:?}", published.iter().map(|(path, _)| path).collect::<Vec<_>>());
    for (folder, label) in [("a%2Fb", "a/b"), ("a-b", "a-b"), ("a%252Fb", "a%2Fb")] {
        let text = published.iter().find(|(path, _)| path.starts_with(format!("lab={folder}"))).unwrap();
        assert!(String::from_utf8_lossy(&text.1).contains(&format!("caption {label}")), "{text:?}");
    }
    let again = lab.call(&["run"]).code(0);
    assert!(again.stderr.contains("(5 files, unchanged)"), "{}", again.stderr);

    // What is gone from the pipeline goes, unless somebody has changed it; what is left alone stays.
    let own = published.iter().find(|(path, _)| path.starts_with("lab=a-b")).unwrap().0.clone();
    lab.write(&format!("reports/reports/{}", own.display()), "mine");
    lab.write("reports/reports/notes.md", "mine");
    lab.run(&["--only", "lab=a-b"]);
    assert_eq!(lab.files("reports/reports").len(), 6, "a part of the pipeline removes nothing");
    lab.write(&format!("reports/reports/{}", own.display()), "mine");
    lab.edit("pipeline.yaml", "\"a/b\", \"a-b\", ", "");
    let fewer = lab.call(&["run"]).code(0);
    assert!(fewer.stderr.contains("1 of earlier runs removed"), "{}", fewer.stderr);
    let left: Vec<_> = lab.files("reports/reports").into_iter().map(|(path, _)| path).collect();
    assert!(left.len() == 5 && left.contains(&own) && left.contains(&"notes.md".into()), "{left:?}");
    assert!(!lab.exists("reports/reports/lab=a%2Fb"), "{left:?}");
}

#[test]
fn a_damaged_report_is_made_anew_before_it_is_published() {
    let lab = Lab::with(REPORTS);
    lab.run(&[]);
    let (reports, objects) = (lab.files("reports"), lab.files("cache/objects"));
    let lock = lab.read("pipeline.lock");
    let line = lock.lines().find(|line| line.starts_with("whole ")).unwrap();
    let digest = line.split("files=").nth(1).unwrap().get(..64).unwrap();
    let object = lab.path(&format!("cache/objects/{}/{digest}.parquet", &digest[..2]));
    let length = fs::metadata(&object).unwrap().len() as usize;
    for byte in (0..length).step_by(length / 12) {
        flip(&object, byte);
        fs::remove_dir_all(lab.path("reports")).unwrap();
        let healed = lab.run(&["--locked"]);
        assert_eq!(healed.executed(), set(["whole"]), "byte {byte}");
        assert!(healed.stdout.contains("\"event\":\"artifact_damaged\""), "{}", healed.stdout);
        assert!(lab.files("reports") == reports && lab.files("cache/objects") == objects, "byte {byte}");
    }
}

#[test]
fn no_command_shows_damaged_bytes_and_a_later_stage_does_not_use_them() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    let objects = lab.files("cache/objects");
    let lock = lab.read("pipeline.lock");
    for stage in ["all", "base[color=red]"] {
        let line = lock.lines().find(|line| line.starts_with(&format!("{stage} "))).unwrap();
        let digest = line.split("table=").nth(1).unwrap().get(..64).unwrap();
        let object = lab.path(&format!("cache/objects/{}/{digest}.parquet", &digest[..2]));
        flip(&object, 60);
        let shown = lab.call(&["show", stage, "--artifact", "table"]).code(4);
        assert!(shown.stdout.is_empty() && shown.stderr.contains("is damaged"), "{}", shown.stderr);
        assert_eq!(lab.run(&["--locked"]).executed(), set([stage]));
        flip(&object, 60);
        let forced = if stage == "all" { "top" } else { "all" };
        let healed = lab.call(&["run", "--locked", "--force", forced]).code(0);
        assert!(healed.stderr.contains(&format!("damaged artifact `table` of {stage}")), "{}", healed.stderr);
        assert!(lab.files("cache/objects") == objects);
    }
    lab.call(&["cache", "verify"]).code(0);
}

#[test]
fn collection_in_one_project_leaves_another_of_the_same_name_alone() {
    let (one, two) = (Lab::with(COLORS), Lab::with(&COLORS.replace("size: 2", "size: 3")));
    let cache = one.path("cache").display().to_string();
    one.run(&[]);
    two.run(&["--cache", &cache]);
    two.call(&["cache", "gc", "--days", "0", "--cache", &cache]).code(0);
    assert_eq!((one.run(&[]).executed(), two.run(&["--cache", &cache]).executed()), (set([]), set([])));
    // Once the other project is gone, so are its results.
    let entries = one.files("cache/index").len();
    drop(two);
    one.call(&["cache", "gc", "--days", "0"]).code(0);
    assert!(one.files("cache/index").len() < entries);
    assert_eq!(one.run(&[]).executed(), set([]));
}

#[test]
fn collection_frees_what_no_pipeline_names_any_more() {
    let lab = Lab::with(&COLORS.replace("[red, blue]", "[red, blue, green, white]"));
    lab.run(&[]);
    lab.edit("pipeline.yaml", "[red, blue, green, white]", "[red, blue]");
    lab.run(&[]);
    let would = lab.call(&["cache", "gc", "--days", "0", "--dry-run"]).code(0);
    assert!(would.stdout.starts_with("would remove 4 results"), "labels, and what gathered them: {}", would.stdout);
    lab.call(&["cache", "gc", "--days", "0"]).code(0);
    assert_eq!((lab.files("cache/index").len(), lab.run(&[]).executed()), (5, set([])));
    // Another name: the old one's keys and records go.
    lab.edit("pipeline.yaml", "pipeline: colors", "pipeline: renamed");
    lab.edit("pipeline.yaml", "x: 1", "x: 2");
    lab.run(&[]);
    lab.call(&["cache", "gc", "--days", "0"]).code(0);
    assert_eq!((lab.files("cache/index").len(), lab.files("cache/pipelines").len()), (5, 1));
    let runs = lab.call(&["runs", "--json"]).code(0).json();
    assert!(runs.iter().all(|run| run["pipeline"] == "renamed") && runs.len() == 1, "{runs:?}");
}

#[test]
fn verification_beside_a_run_finds_nothing_damaged() {
    let cells: Vec<String> = (0..1500).map(|cell| cell.to_string()).collect();
    let lab = Lab::with(&format!(
        "pipeline: many\naxes:\n  cell: [{}]\nstages:\n  \
         made: {{ kind: literal, over: [cell], with: {{ rows: [{{ x: \"{{{{ cell }}}}\" }}] }} }}\n",
        cells.join(", ")
    ));
    lab.call(&["plan"]).code(0);
    let mut run = lab.command(&["run", "-q"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut rounds = 0;
    while run.try_wait().unwrap().is_none() {
        lab.call(&["cache", "verify"]).code(0);
        rounds += 1;
    }
    assert!(rounds > 1 && run.wait().unwrap().success());
}

/// A copy of the program that any user may start, in a project that any user may read.
fn as_a_reader(lab: &Lab, args: &[&str]) -> Command {
    let program = lab.path("program");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_cnsdiff-pipe"), &program).unwrap();
        fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(program);
    command.args(args).current_dir(lab.path("")).stdin(Stdio::null());
    // SAFETY: it only asks who runs the test.
    if unsafe { libc::geteuid() } == 0 {
        // Nothing is forbidden to root.
        command.uid(65534).gid(65534);
    }
    command
}

/// Sets what may be done with a folder, and with the files and folders in it.
fn allow(path: &Path, folders: u32, files: u32) {
    let folder = path.is_dir();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        allow(&entry.path(), folders, files);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(if folder { folders } else { files })).unwrap();
}

#[test]
fn a_cache_that_can_only_be_read_serves_what_needs_no_writing() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    allow(&lab.path("cache"), 0o555, 0o444);
    let call = |args: &[&str]| {
        let output = as_a_reader(&lab, args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = call(&["run"]);
    assert!(code == Some(0) && text.contains("5 cached") && text.contains("not recorded"), "{text}");
    for args in [&["show", "all"][..], &["cache", "verify"], &["cache", "gc", "-n"], &["status"], &["run", "--locked"]]
    {
        assert_eq!(call(args).0, Some(0), "{args:?}: {}", call(args).1);
    }
    for args in [&["run", "--force", "all"][..], &["cache", "gc"], &["cache", "verify", "--repair"]] {
        let (code, text) = call(args);
        assert!(code == Some(4) && text.contains("--cache DIR"), "{args:?}: {text}");
    }
    allow(&lab.path("cache"), 0o755, 0o644);
}

#[test]
fn a_cache_path_that_is_not_utf8_is_refused_before_anything_is_made() {
    let lab = Lab::with(COLORS);
    let mut command = lab.command(&["run", "--cache"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"c\xff")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("not UTF-8") && text.contains("--cache DIR"), "{text}");
    assert_eq!(fs::read_dir(lab.path("")).unwrap().count(), 1);
}
