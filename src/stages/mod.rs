//! Stage kinds: one file each, parameters and glue; no mathematics.

pub fn worker_main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
