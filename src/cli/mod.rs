//! The command line.

#![forbid(unsafe_code)]

/// Runs the program; returns its exit code.
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
