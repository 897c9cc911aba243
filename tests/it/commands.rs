//! What the other commands tell.

use crate::cache::COLORS;
use crate::lab::Lab;

#[test]
fn plan_tells_what_would_run_and_what_waits() {
    let lab = Lab::with(COLORS);
    let fresh = lab.call(&["plan"]).code(0);
    assert!(fresh.stdout.contains("3 to run, 2 waiting for them, 0 cached"), "{}", fresh.stdout);
    lab.call(&["plan", "--exit-code"]).code(5);
    lab.run(&[]);
    let done = lab.call(&["plan", "--exit-code"]).code(0);
    assert!(done.stdout.contains("nothing to do: 5 stages cached"), "{}", done.stdout);
    lab.edit("pipeline.yaml", "x: 1", "x: 2");
    let all = lab.call(&["plan", "--all", "--exit-code"]).code(5);
    assert!(all.stdout.contains("run      side  about "), "{}", all.stdout);
    assert!(all.stdout.contains("cached   top"), "{}", all.stdout);
}

#[test]
fn a_dry_run_shows_the_plan_and_runs_nothing() {
    let lab = Lab::with(COLORS);
    let shown = lab.call(&["run", "--dry-run"]);
    assert!(shown.stdout.contains("3 to run"), "{}", shown.stdout);
    assert!(lab.files("cache/objects").is_empty() && !lab.exists("pipeline.lock"));
}

#[test]
fn explain_names_the_field_that_changed() {
    let lab = Lab::with(COLORS);
    let never = lab.call(&["explain", "side"]).code(0);
    assert!(never.stdout.contains("never run"), "{}", never.stdout);
    lab.run(&[]);
    assert!(lab.call(&["explain", "side"]).code(0).stdout.contains("cached: "));
    lab.edit("pipeline.yaml", "size: 2", "size: 3");
    let base = lab.call(&["explain", "base"]).code(0).stdout;
    assert!(base.contains("with.rows[1].size: 2 -> 3"), "{base}");
    // The same for both instances: told once.
    assert!(base.contains("base[color=red]\nbase[color=blue]\n"), "{base}");
    let waits = lab.call(&["explain", "all"]).code(0).stdout;
    assert!(waits.contains("waits: ") && waits.contains("base[color=red]"), "{waits}");
}

#[test]
fn explain_names_the_input_that_changed() {
    let lab = Lab::with(COLORS);
    lab.run(&[]);
    lab.edit("pipeline.yaml", "size: 2", "size: 3");
    lab.run(&["--until", "base"]);
    let all = lab.call(&["explain", "all"]).code(0).stdout;
    assert!(all.contains("needs.tables[color=red].table: "), "{all}");
}

#[test]
fn status_counts_what_is_done() {
    let lab = Lab::with(COLORS);
    lab.run(&["--until", "base"]);
    let status = lab.call(&["status"]).code(0).stdout;
    assert!(status.contains("2/2") && status.contains("0/1") && status.contains("2 of 5 stages done"), "{status}");
    assert!(status.contains("last run: "), "{status}");
}

#[test]
fn show_gives_the_rows_of_an_artifact() {
    let lab = Lab::with(COLORS);
    lab.call(&["show", "side"]).code(2);
    lab.run(&[]);
    let csv = lab.call(&["show", "all", "--artifact", "table", "--format", "csv"]).code(0).stdout;
    assert_eq!(csv, "color,name,size\nred,red,1\nred,other,2\nblue,blue,1\nblue,other,2\n");
    let json = lab.call(&["show", "all", "--artifact", "table", "--format", "json", "--rows", "1"]).code(0);
    assert_eq!(json.value(), serde_json::json!({ "color": "red", "name": "red", "size": 1 }));
    let whole = lab.call(&["show", "side"]).code(0).stdout;
    assert!(whole.contains("literal 2") && whole.contains("x: Int64?"), "{whole}");
    let several = lab.call(&["show", "base"]).code(0).stdout;
    assert!(several.contains("base[color=blue]"), "{several}");
    let wrong = lab.call(&["show", "all", "--artifact", "tables"]).code(2);
    assert!(wrong.stderr.contains("it has table"), "{}", wrong.stderr);
}

#[test]
fn graphs_come_in_three_languages() {
    let lab = Lab::with(COLORS);
    let graph = |args: &[&str]| lab.call(&[&["graph"], args].concat()).code(0).stdout;
    let dot = graph(&[]);
    assert!(dot.starts_with("digraph \"colors\" {") && dot.contains("n0 -> n1 [label=\"tables\"];"), "{dot}");
    let mermaid = graph(&["--format", "mermaid"]);
    assert!(mermaid.starts_with("flowchart TD\n") && mermaid.contains("n0 -->|\"tables\"| n1"), "{mermaid}");
    let svg = graph(&["--format", "svg"]);
    assert!(svg.contains("<svg ") && svg.contains("base") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert_eq!(svg, graph(&["--format", "svg"]));
    assert!(graph(&["--instances"]).contains("base\\ncolor=red"));
}

#[test]
fn diff_compares_parameters_and_results() {
    let lab = Lab::with(COLORS);
    lab.call(&["diff"]).code(2);
    lab.run(&[]);
    lab.run(&[]);
    let same = lab.call(&["diff"]).code(0).stdout;
    assert!(same.contains("5 stages have the same results"), "{same}");
    lab.edit("pipeline.yaml", "x: 1", "x: 2");
    lab.run(&[]);
    let diff = lab.call(&["diff"]).code(0).stdout;
    assert!(diff.contains("side: rows[0].x: 1 -> 2") && diff.contains("side table: x, first in row 1"), "{diff}");
    let runs = lab.call(&["runs"]).code(0).stdout;
    assert_eq!(runs.lines().count(), 4, "{runs}");
    assert!(runs.contains("same as "), "{runs}");
}

#[test]
fn the_record_of_a_run_tells_what_led_to_it() {
    let lab = Lab::with(COLORS);
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        let who = ["-c", "user.name=a", "-c", "user.email=a@b.c"];
        let output = command.args(who).args(args).current_dir(lab.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init"]);
    git(&["add", "pipeline.yaml"]);
    git(&["commit", "-m", "first"]);
    lab.run(&["--only", "color=red"]);
    let record = lab.call(&["runs", "--json"]).code(0).value();
    assert_eq!(record["outcome"], "done");
    assert_eq!(record["git"]["dirty"], false);
    assert_eq!(record["git"]["commit"].as_str().map(str::len), Some(40));
    assert_eq!(record["version"], env!("CARGO_PKG_VERSION"));
    assert!(record["changes"][0].as_str().is_some_and(|change| change.contains("color=red")), "{record}");
    let stage = &record["stages"][0];
    assert_eq!((&stage["id"], &stage["outcome"]), (&"base[color=red]".into(), &"executed".into()));
    assert_eq!(stage["params"]["rows"][0]["name"], "red");
    assert!(stage["key"].is_string() && stage["outputs"]["table"].is_string());
}

#[test]
fn init_writes_a_pipeline_that_runs() {
    let lab = Lab::new();
    lab.call(&["init"]).code(0);
    lab.call(&["init"]).code(2);
    lab.run(&[]);
    assert!(lab.run(&[]).executed().is_empty());
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Lab::new().call(&["completions", shell]).code(0).stdout;
        assert!(script.contains("explain") && script.contains("update-lock"), "{shell}");
    }
}

#[test]
fn the_only_pipeline_needs_no_name() {
    let lab = Lab::new();
    let none = lab.call(&["plan"]).code(2);
    assert!(none.stderr.contains("cnsdiff-pipe init"), "{}", none.stderr);
    lab.write("pipelines/colors.yaml", COLORS);
    lab.call(&["plan"]).code(0);
    lab.write("pipelines/other.yaml", COLORS);
    let two = lab.call(&["plan"]).code(2);
    assert!(two.stderr.contains("pipelines/colors.yaml, pipelines/other.yaml"), "{}", two.stderr);
}

#[test]
fn another_directory_is_as_good_as_the_current_one() {
    let lab = Lab::new();
    lab.write("project/pipeline.yaml", COLORS);
    lab.call(&["-C", "project", "run"]).code(0);
    assert!(lab.exists("project/cache") && lab.exists("project/pipeline.lock"));
    lab.call(&["-C", "nowhere", "run"]).code(2);
}
