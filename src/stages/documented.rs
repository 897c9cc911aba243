//! Tests that every pipeline shown in the documentation can be planned.

use std::fs;
use std::path::Path;

use super::registry;
use crate::plan::Plan;
use crate::spec::{self, Options};

/// The YAML blocks of a Markdown text that are whole pipelines, each with its line.
fn pipelines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_end() == "```yaml" {
            let block: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_end() != "```").collect();
            if ["pipeline:", "stages:"].iter().all(|key| block.iter().any(|line| line.starts_with(key))) {
                found.push((number + 1, block.join("\n")));
            }
        }
    }
    found
}

#[test]
fn every_pipeline_of_the_documentation_can_be_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for path in docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        for (line, text) in pipelines(&fs::read_to_string(&path).unwrap()) {
            let read = |_: &str| Ok(text.clone().into_bytes());
            let pipeline = spec::load("example.yaml", &read, &registry(), &Options::default())
                .unwrap_or_else(|mistakes| panic!("{}:{line}\n{}", path.display(), mistakes.render(false, 100)));
            assert!(!Plan::new(pipeline).unwrap().is_empty());
            count += 1;
        }
    }
    assert!(count >= 2, "README.md and docs/language.md have one each");
}
