//! One broken pipeline per mistake, and what people then see. The files are in `tests/errors/`, the renderings in
//! `tests/snapshots/`.

use std::fs;
use std::path::Path;

use cnsdiff_pipe::spec::{self, Options};

#[path = "../src/spec/tests/kinds.rs"]
mod kinds;

/// The rendering of all mistakes of `tests/errors/<file>`.
fn rendered(file: &str, options: &Options) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let read = |path: &str| fs::read(folder.join(path)).map_err(|_| "no such file".to_owned());
    match spec::load(file, &read, &*kinds::KINDS, options) {
        Ok(_) => format!("{file} is accepted"),
        Err(mistakes) => mistakes.render(false, 100),
    }
}

#[test]
fn each_broken_pipeline_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("the folder of broken pipelines")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 28, "{} broken pipelines", names.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for name in names {
        let text = rendered(&format!("{name}.yaml"), &Options::default());
        assert!(text.contains("\n1 mistake\n"), "{name} should hold one mistake:\n{text}");
        settings.bind(|| insta::assert_snapshot!(name.as_str(), text));
    }
}

#[test]
fn changes_from_the_command_line_are_explained_like_files() {
    let list = |text: &[&str]| text.iter().map(|&text| text.to_owned()).collect();
    let options = Options {
        set: vec![
            ("stages.model.with.epoch".into(), "3".into()),
            ("stages.modl.with.epochs".into(), "3".into()),
            ("vars.x".into(), "[1".into()),
        ],
        only: vec![("method".into(), list(&["dns", "drs"])), ("methods".into(), list(&["dns"]))],
        seeds: Some(vec![1, 1]),
    };
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("command_line", rendered("include/sound.yaml", &options)));
}
