//! `rowcall-aggregator {serve, migrate}`.
//!
//! Exit codes: 0 stopped in order, or done; 1 failed; 2 wrong usage, settings or certificates;
//! 3 stopped with records that are not committed (agents send them again); 130 stopped at once by
//! a second signal.

mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = match rowcall_aggregator::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help, version or wrong usage; nobody may be reading.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { run::USAGE } else { 0 });
        }
    };
    match run::run(&matches) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            run::complain(&format!("{error:#}"));
            ExitCode::from(run::exit_code(&error))
        }
    }
}
