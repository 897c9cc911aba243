//! `init`: a commented starter pipeline that runs without data.

use super::args::Init;
use super::exit::{DONE, Stop};
use super::project::replace;
use crate::ui::Ui;

const STARTER: &str = include_str!("starter.yaml");

pub fn main(args: &Init, ui: &Ui) -> Result<u8, Stop> {
    let path = args.path.display();
    if args.path.exists() {
        return Err(Stop::wrong(format!("`{path}` is there already")).help("name another file, or move it away"));
    }
    replace(&args.path, STARTER.as_bytes())?;
    ui.note(&format!("wrote {path}; look at it, then `cnsdiff-pipe plan {path}` and `cnsdiff-pipe run {path}`"));
    Ok(DONE)
}
