//! The command line: one file per command, over what they share (the project, the lock file, records of runs).

mod args;
mod cache;
mod clean;
mod clock;
mod completions;
mod data;
mod diff;
mod duplicates;
mod exit;
mod explain;
mod graph;
mod init;
mod lock;
mod plan;
mod project;
mod publish;
mod record;
pub mod reference;
mod rows;
mod run;
mod runs;
mod show;
mod signals;
mod status;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit::{CliError, DONE, ErrorText, FAILED, WOULD_RUN, WRONG};
use project::Project;

use crate::engine;
use crate::ui::{ColorChoice, Ui};

/// Reads the command line, does what it says, and answers with one of the documented exit codes.
pub fn main() -> ExitCode {
    engine::prepare();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                // Whether it could be told changes nothing.
                let _ = error.print();
                return ExitCode::from(WRONG);
            }
            // The way of `--help` and `--version`.
            let ui = Ui::new(ColorChoice::Auto, false, false);
            let styled = error.render();
            ui.result(&if ui.out.color { styled.ansi().to_string() } else { styled.to_string() });
            return ExitCode::from(report(Ok(DONE), &ui));
        }
    };
    let color = if cli.global.no_color { ColorChoice::Never } else { cli.global.color };
    let ui = Ui::new(color, cli.global.json, cli.global.quiet);
    let outcome = engine::start_threads().map_err(|error| CliError::new(FAILED, error));
    let outcome = outcome.and_then(|()| {
        engine::caught(|| dispatch(&cli, &ui))
            .unwrap_or_else(|text| Err(CliError::panicked(format!("panicked: {text}"))))
    });
    ExitCode::from(report(outcome, &ui))
}

/// The exit code, after saying what stopped the program.
fn report(outcome: Result<u8, CliError>, ui: &Ui) -> u8 {
    let code = outcome.unwrap_or_else(|error| {
        match &error.message {
            ErrorText::Plain { text, help } => ui.error(text, help.as_deref()),
            ErrorText::Rendered(text) => ui.rendered(text),
        }
        error.code
    });
    match ui.loss() {
        Some(loss) => {
            ui.error(&loss, Some("what was printed is not complete; nothing in the cache is lost"));
            if matches!(code, DONE | WOULD_RUN) { FAILED } else { code }
        }
        None => code,
    }
}

fn dispatch(cli: &Cli, ui: &Ui) -> Result<u8, CliError> {
    let global = &cli.global;
    if let Some(directory) = &global.directory {
        std::env::set_current_dir(directory)
            .map_err(|error| CliError::wrong(format!("cannot work in `{}`: {error}", directory.display())))?;
    }
    match &cli.command {
        Command::Run(args) => run::main(args, global, ui),
        Command::Plan(args) => plan::main(args, global, ui),
        Command::Status(args) => status::main(args, global, ui),
        Command::Explain(args) => explain::main(args, global, ui),
        Command::Graph(args) => {
            let project = Project::load(&args.selection, ui)?;
            ui.result(&graph::render(&project.plan.pipeline, args.format, args.instances)?);
            Ok(DONE)
        }
        Command::Show(args) => show::main(args, global, ui),
        Command::Runs(args) => runs::main(args, global, ui),
        Command::Diff(args) => diff::main(args, global, ui),
        Command::Data(args) => data::main(args, global, ui),
        Command::Cache(args) => cache::main(args, global, ui),
        Command::Clean(args) => clean::main(args, global, ui),
        Command::Schema => {
            ui.result(&reference::schema()?);
            Ok(DONE)
        }
        Command::Completions(args) => {
            completions::main(args, ui);
            Ok(DONE)
        }
        Command::Init(args) => init::main(args, ui),
    }
}
