//! `rowcall`: the people's command.

mod args;
mod cli;
mod client;
mod output;
mod status;
mod summary;
mod text;
mod up;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, ConnectionArgs};
use crate::client::{Client, Settings, Surroundings};

fn main() -> ExitCode {
    match run(Cli::parse()) {
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
    match cli.command {
        Command::Up(args) => return up::run(&args, &around),
        Command::Summary(args) => {
            ask(&args.connection, &around, async |client| summary::run(&args, &client).await)?;
        }
        Command::Status(args) => {
            ask(&args.connection, &around, async |client| status::run(&args, &client).await)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Connects, asks, prints the answer.
fn ask(
    connection: &ConnectionArgs,
    around: &Surroundings<'_>,
    question: impl AsyncFnOnce(Client) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let settings = Settings::find(connection, around)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(async { question(Client::connect(&settings).await?).await })?;
    output::print(&text)
}
