//! What happens when something goes wrong.

use crate::lab::{Lab, set};

/// `bad` fails when it runs: the tables have different columns. `after` needs it, `free` does not.
const BROKEN: &str = "\
pipeline: broken
stages:
  one: { kind: literal, with: { rows: [{ a: 1 }] } }
  two: { kind: literal, with: { rows: [{ b: 1 }] } }
  bad: { kind: concat, needs: { tables: [one, two] } }
  after: { kind: concat, needs: { tables: bad } }
  free: { kind: concat, needs: { tables: one } }
  last: { kind: concat, needs: { tables: free } }
";

#[test]
fn a_failed_stage_says_what_was_wrong_and_keeps_what_is_finished() {
    let lab = Lab::with(BROKEN);
    let failed = lab.call(&["run", "--jobs", "1"]).code(3);
    assert!(failed.stderr.contains("failed bad"), "{}", failed.stderr);
    assert!(failed.stderr.contains("has other columns"), "{}", failed.stderr);
    assert!(!lab.exists("pipeline.lock"));
    lab.edit("pipeline.yaml", "b: 1", "a: 2");
    let again = lab.run(&[]);
    assert!(again.ended("cached").contains("one"));
    assert!(again.executed().is_superset(&set(["two", "bad", "after"])));
}

#[test]
fn keep_going_runs_what_does_not_depend_on_a_failure() {
    let lab = Lab::with(BROKEN);
    let outcome = lab.call(&["run", "--json", "--keep-going"]).code(3);
    assert_eq!(outcome.executed(), set(["one", "two", "free", "last"]));
    assert_eq!((outcome.ended("failed"), outcome.ended("skipped")), (set(["bad"]), set(["after"])));
    let record = lab.call(&["runs", "--json"]).code(0).value();
    assert_eq!(record["outcome"], "failed");
}

#[test]
fn a_wrong_command_line_or_pipeline_ends_with_code_2() {
    let lab =
        Lab::with("pipeline: wrong\nstages:\n  a: { kind: literall }\n  b: { kind: concat, needs: { tables: c } }\n");
    for args in [&["frobnicate"][..], &["run", "--jobs", "0"], &["run", "nowhere.yaml"], &["run", "--seeds", "x"]] {
        lab.call(args).code(2);
    }
    let wrong = lab.call(&["run"]).code(2);
    // All at once, each with the nearest name or the place.
    assert!(wrong.stderr.contains("literal") && wrong.stderr.contains("pipeline.yaml:3"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("pipeline.yaml:4"), "{}", wrong.stderr);
    assert!(wrong.stdout.is_empty(), "{}", wrong.stdout);
}

#[test]
fn a_cache_that_cannot_be_used_ends_with_code_4() {
    let lab = Lab::with(BROKEN);
    lab.write("cache/format", "99\n");
    let wrong = lab.call(&["plan"]).code(4);
    assert!(wrong.stderr.contains("--cache"), "{}", wrong.stderr);
}

#[test]
fn a_packed_file_of_other_bytes_than_declared_is_refused_with_both_digests() {
    let zip = |text: &str| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file("train.txt", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
        writer.finish().unwrap().into_inner()
    };
    let right = zip("1 2 1\n3 4 1\n");
    let declared = blake3::hash(&right).to_hex();
    let lab = Lab::with(&format!(
        "pipeline: raw\nstages:\n  raw:\n    kind: ingest\n    with:\n      \
         files: [{{ part: a, source: data.zip, digest: \"blake3:{declared}\" }}]\n"
    ));
    let wrong = zip("1 2 1\n3 5 1\n");
    std::fs::write(lab.path("data.zip"), &wrong).unwrap();
    let failed = lab.call(&["run"]).code(3);
    assert!(failed.stderr.contains("`data.zip` has other bytes than the pipeline declares"), "{}", failed.stderr);
    for digest in [declared, blake3::hash(&wrong).to_hex()] {
        assert!(failed.stderr.contains(&format!("blake3:{digest}")), "{}", failed.stderr);
    }
    std::fs::write(lab.path("data.zip"), &right).unwrap();
    assert_eq!(lab.run(&[]).executed(), set(["raw"]));
}
