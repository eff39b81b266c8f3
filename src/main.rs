//! The `callboard` binary.

use std::process::ExitCode;

use callboard::cli::{Cli, Task};
use clap::Parser;

fn main() -> ExitCode {
    match callboard::cli::run(Cli::parse(), &mut std::io::stdout().lock()) {
        Ok(Task::Nothing) => ExitCode::SUCCESS,
        Ok(Task::Serve(_) | Task::Keys(..) | Task::SimulateLlm(_)) => {
            eprintln!("callboard: this build has no server in it");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("callboard: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
