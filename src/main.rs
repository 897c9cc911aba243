//! The user's binary. It never loads libtorch: training runs in `cnsdiff-pipe-worker`.

#[global_allocator]
static ALLOCATOR: cnsdiff_pipe::allocator::OrMessage = cnsdiff_pipe::allocator::OrMessage;

fn main() -> std::process::ExitCode {
    cnsdiff_pipe::cli::main()
}
