//! `completions`: a script for the user's shell, generated from the declared command line.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use crate::ui::Ui;

pub fn main(args: &CompletionsArgs, ui: &Ui) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cnsdiff-pipe", &mut script);
    ui.result(&String::from_utf8_lossy(&script));
}
