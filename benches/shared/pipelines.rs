//! Pipelines of any size, of stages that cost next to nothing.

use std::error::Error;
use std::fmt::Write as _;

use cnsdiff_pipe::plan::Plan;
use cnsdiff_pipe::spec;
use cnsdiff_pipe::stages::registry;

/// Half the stages are literals, the other half copies of one literal each.
pub fn written_out(size: usize) -> String {
    let mut text = "pipeline: bench\nstages:\n".to_owned();
    for index in 0..size / 2 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  a{index}: {{ kind: literal, with: {{ rows: [{{ x: {index} }}] }} }}");
        let _ = writeln!(text, "  b{index}: {{ kind: concat, needs: {{ tables: a{index} }} }}");
    }
    text
}

/// The plan of a pipeline's text.
pub fn planned(text: &str) -> Result<Plan, Box<dyn Error>> {
    let read = |_: &str| Ok(text.as_bytes().to_vec());
    Ok(Plan::new(spec::load("pipeline.yaml", &read, &registry(), &spec::Options::default())?)?)
}
