//! The worker binary: runs one stage after the other, told by job lines on standard input.
//! The only binary that loads libtorch.

fn main() -> std::process::ExitCode {
    cnsdiff_pipe::stages::worker_main()
}
