//! `rowcall`: the people's command.

mod args;
mod cli;
mod client;
mod confirm;
mod generate;
mod host;
mod machine;
mod output;
mod pki;
mod status;
mod summary;
mod text;
mod token;
mod up;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::client::{Need, Surroundings};
use crate::summary::check;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // A monitor reads standard output, and takes clap's code for an alarm.
        Err(error) if error.use_stderr() && check::asked(std::env::args_os()) => {
            return check::unknown(&error.to_string());
        }
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => output::fail(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let working_dir = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let around = Surroundings {
        env: &|name| std::env::var(name).ok(),
        working_dir: &working_dir,
        root: Path::new("/"),
        is_root: rustix::process::geteuid().is_root(),
    };
    let answer = match cli.command {
        Command::Up(args) => return up::run(&args, &around),
        Command::Summary(args) if args.check => return Ok(check::run(&args, &around)),
        Command::Summary(args) => {
            let question = async |client| summary::run(&args, &client).await;
            client::ask(&args.connection, &around, Need::Read, None, question)
        }
        Command::Status(args) => {
            let question = async |client| status::run(&args, &client).await;
            client::ask(&args.connection, &around, Need::Read, None, question)
        }
        Command::Host(args) => {
            let need = if args.command.changes() { Need::Change } else { Need::Read };
            let question = async |client| host::run(&args, &client).await;
            client::ask(args.command.connection(), &around, need, None, question)
        }
        Command::Token(args) => {
            let question = async |client| token::run(&args, &client).await;
            client::ask(args.command.connection(), &around, Need::Change, None, question)
        }
        Command::Pki(args) => pki::run(&args.command),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::manual(&args.dir),
    };
    output::print(&answer?)?;
    Ok(ExitCode::SUCCESS)
}
