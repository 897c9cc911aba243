//! `init`: a commented starter pipeline that runs without data.

use super::args::InitArgs;
use super::exit::{CliError, DONE};
use super::project::replace;
use crate::ui::Ui;

const STARTER: &str = include_str!("starter.yaml");

pub fn main(args: &InitArgs, ui: &Ui) -> Result<u8, CliError> {
    let path = args.path.display();
    if args.path.exists() {
        return Err(CliError::wrong(format!("`{path}` is there already")).help("name another file, or move it away"));
    }
    replace(&args.path, STARTER.as_bytes())?;
    ui.note(&format!("wrote {path}; look at it, then `cnsdiff-pipe plan {path}` and `cnsdiff-pipe run {path}`"));
    Ok(DONE)
}
