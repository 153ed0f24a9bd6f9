//! Entry point; see `rowcall_agent::cli` for what it does.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match rowcall_agent::cli::main(&rowcall_agent::command().get_matches()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _unwritten = writeln!(std::io::stderr().lock(), "rowcall-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
