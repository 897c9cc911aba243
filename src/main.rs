//! The user's binary. It never loads libtorch: training runs in `cnsdiff-pipe-worker`.

fn main() -> std::process::ExitCode {
    cnsdiff_pipe::cli::main()
}
