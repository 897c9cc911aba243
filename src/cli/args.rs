//! The command line as declared to clap; docs/cli.md and the completions are generated from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::ui::ColorChoice;

/// Runs the experiments of a paper from one YAML file.
///
/// A pipeline describes raw data, splits, trainings, evaluations, significance tests and tables as stages over named
/// axes. Every result is kept in a cache under a key of everything it depends on, so that only what changed is
/// computed again, and the same pipeline gives the same bytes.
#[derive(Debug, Parser)]
#[command(name = "cnsdiff-pipe", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Shown below `--help` and in docs/cli.md.
pub const EXIT_CODES: &str = "Exit codes:
  0    done
  2    the pipeline or the command line is wrong
  3    a stage failed, a result differs from the lock file, a raw file is missing, damaged or changed,
       or results could not be written
  4    the cache is damaged or cannot be used
  5    `plan --exit-code`: something would run
  130  interrupted";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Work in this directory, as if started there
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true, value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// Keep results in this directory
    #[arg(long, value_name = "DIR", global = true, default_value = "cache", value_hint = ValueHint::DirPath)]
    pub cache: PathBuf,
    /// Write results and events to standard output as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results, warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colours; `auto` honours NO_COLOR, CLICOLOR_FORCE, CI and TERM
    #[arg(long, value_name = "WHEN", global = true, value_enum, default_value_t)]
    pub color: ColorChoice,
    /// The same as --color never
    #[arg(long, global = true, conflicts_with = "color")]
    pub no_color: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline: compute what is missing, take the rest from the cache
    Run(RunArgs),
    /// Show what a run would do: what is cached, what would run, what waits, and how long it may take
    Plan(PlanArgs),
    /// Show how complete a pipeline's results are, stage by stage
    Status(StatusArgs),
    /// Say why a stage would run again: which parameter or input changed, from what to what
    Explain(ExplainArgs),
    /// Draw the stages and what flows between them
    Graph(GraphArgs),
    /// Show what a stage produced: its artifacts, their schema and first rows, its log and its cost
    Show(ShowArgs),
    /// List the runs recorded in the cache, newest first
    Runs(RunsArgs),
    /// Compare two runs: parameters and results
    Diff(DiffArgs),
    /// Look after the raw files that a pipeline reads
    #[command(subcommand)]
    Data(DataCommand),
    /// Look after the cache
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Forget results of a pipeline, so that they are computed again
    Clean(CleanArgs),
    /// Print the JSON Schema of pipeline files, for editors
    Schema,
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Write a commented starter pipeline
    Init(InitArgs),
}

/// A pipeline file and how the command line changes it.
#[derive(Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file; by default pipeline.yaml or the only one in pipelines/
    #[arg(value_name = "PIPELINE", value_hint = ValueHint::FilePath)]
    pub pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub changes: ChangeArgs,
}

#[derive(Debug, Default, Args)]
pub struct ChangeArgs {
    /// Set a value of the pipeline file, as in `--set stages.model.with.epochs=20`; repeatable
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Keep only these labels of an axis, as in `--only method=cnsdiff,rns`; repeatable
    #[arg(long, value_name = "AXIS=LABELS")]
    pub only: Vec<String>,
    /// Replace the labels of the axis `seed`, as in `--seeds 1..5` (both ends included) or `--seeds 1,7`
    #[arg(long, value_name = "SEEDS")]
    pub seeds: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub selection: PipelineArgs,
    /// Stages that may run at the same time; by default as many as the machine's cores and memory allow
    #[arg(short, long, value_name = "N", value_parser = positive)]
    pub jobs: Option<usize>,
    /// After a failure, go on with what does not depend on it
    #[arg(short, long)]
    pub keep_going: bool,
    /// Try a failed stage again, up to N times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retry: u32,
    /// Compute a stage (all of it, or one instance) even if its result is cached; repeatable
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
    /// Run only what these stages (or instances) need, and themselves; repeatable
    #[arg(long, value_name = "STAGE")]
    pub until: Vec<String>,
    /// Run nothing, show the plan
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Fail when a result differs from the lock file, naming the first difference
    #[arg(long, conflicts_with = "update_lock")]
    pub locked: bool,
    /// Write the lock file even when only a part of the pipeline, or a changed one, was run
    #[arg(long)]
    pub update_lock: bool,
    /// Execute ready stages in an order drawn from this seed: results must not differ
    #[arg(long, value_name = "SEED", hide = true)]
    pub shuffle: Option<u64>,
    #[command(flatten)]
    pub mirrors: MirrorArgs,
}

#[derive(Debug, Args)]
pub struct MirrorArgs {
    /// Look here, by digest, for raw files that are missing; repeatable. The directories in CNSDIFF_MIRROR (written
    /// as PATH is) are looked through after these
    #[arg(long = "mirror", value_name = "DIR", value_hint = ValueHint::DirPath)]
    dirs: Vec<PathBuf>,
}

impl MirrorArgs {
    /// Those of the command line, then those of the environment.
    pub fn all(&self) -> Vec<PathBuf> {
        let environment = std::env::var_os("CNSDIFF_MIRROR").unwrap_or_default();
        let environment = std::env::split_paths(&environment).filter(|dir| !dir.as_os_str().is_empty());
        self.dirs.iter().cloned().chain(environment).collect()
    }
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub selection: PipelineArgs,
    #[command(flatten)]
    pub mirrors: MirrorArgs,
    /// List every instance, not only one line per stage
    #[arg(short, long)]
    pub all: bool,
    /// End with code 5 when something would run
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub selection: PipelineArgs,
    #[command(flatten)]
    pub mirrors: MirrorArgs,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A stage, or one instance such as `model[method=dns,seed=1]`
    #[arg(value_name = "STAGE")]
    pub stage: String,
    #[command(flatten)]
    pub selection: PipelineArgs,
    #[command(flatten)]
    pub mirrors: MirrorArgs,
}

#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pub selection: PipelineArgs,
    #[arg(long, value_enum, default_value_t)]
    /// The language of the drawing
    pub format: GraphFormat,
    /// A node for every instance instead of every stage
    #[arg(long)]
    pub instances: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Graphviz
    #[default]
    Dot,
    /// For Markdown
    Mermaid,
    /// A picture
    Svg,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A stage, or one instance such as `model[method=dns,seed=1]`
    #[arg(value_name = "STAGE")]
    pub stage: String,
    #[command(flatten)]
    pub selection: PipelineArgs,
    #[command(flatten)]
    pub mirrors: MirrorArgs,
    /// Show the rows of this artifact alone
    #[arg(long, value_name = "NAME")]
    pub artifact: Option<String>,
    /// Rows to show of each artifact
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rows: usize,
    /// How to write the rows
    #[arg(long, value_enum, default_value_t)]
    pub format: RowFormat,
    /// Show the log instead
    #[arg(long, conflicts_with_all = ["artifact", "format"])]
    pub log: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    #[default]
    Table,
    Csv,
    Json,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run id or the start of one (see `runs`); by default the last but one
    pub old: Option<String>,
    /// The run to compare it with; by default the last one
    pub new: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Bring the raw files that are missing: from a mirror, or from their URLs into data/; an interrupted download is
    /// continued by the next one
    Fetch {
        #[command(flatten)]
        selection: PipelineArgs,
        #[command(flatten)]
        mirrors: MirrorArgs,
        /// Put all files into this directory, each under the host and path of its URL
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        to: Option<PathBuf>,
    },
    /// List the raw files: where each is, its size, licence and digest
    Ls {
        #[command(flatten)]
        selection: PipelineArgs,
        #[command(flatten)]
        mirrors: MirrorArgs,
    },
    /// Read all raw files again and compare them with their digests; code 3 when one is damaged or missing
    Verify {
        #[command(flatten)]
        selection: PipelineArgs,
        #[command(flatten)]
        mirrors: MirrorArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the results in the cache
    Ls,
    /// Remove what neither the last run of a pipeline nor any run of the last days refers to
    Gc {
        /// Keep results of runs of the last N days
        #[arg(long, value_name = "N", default_value_t = 30)]
        days: u64,
        /// Only say what would be removed
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Read every object again and compare it with its digest
    Verify {
        /// Remove what is damaged, so that the next run makes it anew
        #[arg(long)]
        repair: bool,
    },
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    #[command(flatten)]
    pub selection: PipelineArgs,
    #[command(flatten)]
    pub mirrors: MirrorArgs,
    /// Only this stage (or instance); repeatable
    #[arg(long, value_name = "STAGE")]
    pub stage: Vec<String>,
    /// Remove the whole cache, of all pipelines
    #[arg(long, conflicts_with_all = ["stage", "pipeline"])]
    pub everything: bool,
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write it
    #[arg(default_value = "pipeline.yaml", value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
}

/// More than any machine can do at once.
const MOST_JOBS: usize = 4_096;

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MOST_JOBS) => Ok(number),
        _ => Err(format!("a whole number from 1 to {MOST_JOBS} is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli =
            Cli::try_parse_from(["cnsdiff-pipe", "run", "a.yaml", "-C", "x", "--json", "--seeds", "1..5"]).unwrap();
        assert!(cli.global.json && cli.global.directory == Some("x".into()));
        for jobs in ["0", "4097", "18446744073709551615", "-1"] {
            assert!(Cli::try_parse_from(["cnsdiff-pipe", "run", "--jobs", jobs]).is_err(), "{jobs}");
        }
        assert!(Cli::try_parse_from(["cnsdiff-pipe", "run", "--locked", "--update-lock"]).is_err());
    }
}
