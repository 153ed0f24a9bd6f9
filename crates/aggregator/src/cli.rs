//! What the command line looks like.

use clap::Command;

use crate::config::with_flags;

/// The whole command line, for the program itself, for completions and for man pages.
#[must_use]
pub fn command() -> Command {
    Command::new("rowcall-aggregator")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Takes the streams of Rowcall's agents and writes them to PostgreSQL")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Exit codes: 0 stopped in order, 1 failed, 2 wrong usage, settings or certificates, \
             3 stopped with records that are not committed, 130 stopped at once by a second signal",
        )
        .subcommand(with_flags(Command::new("serve").about(
            "Serve agents and readers until SIGTERM or SIGINT; SIGHUP reloads certificates",
        )))
        .subcommand(with_flags(
            Command::new("migrate")
                .about("Bring the database's schema up to date, then exit")
                .after_help(
                    "Of the settings, it needs the database alone; those of `serve` may be there.",
                ),
        ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
