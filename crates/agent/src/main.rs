//! Entry point; see `rowcall_agent::cli` for the commands and exit codes.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use rowcall_agent::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::main(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _unwritten = writeln!(std::io::stderr().lock(), "rowcall-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
