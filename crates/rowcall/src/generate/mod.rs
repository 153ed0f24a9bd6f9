//! Shell completions and manual pages, made from the definitions that parse the command lines of
//! all three programs.

mod man;
mod sections;

use std::path::Path;

use anyhow::{Context as _, bail};
use clap_complete::Shell as Generator;

use crate::cli::{self, CompletionsArgs, Program, Shell};
use crate::text;

/// The program's command line.
fn command(program: Program) -> clap::Command {
    match program {
        Program::Rowcall => cli::command(),
        Program::RowcallAgent => rowcall_agent::command(),
        Program::RowcallAggregator => rowcall_aggregator::command(),
    }
}

/// What a shell reads to complete a program's commands and options.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<String> {
    let generator = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut command = command(args.program);
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut command, name, &mut script);
    String::from_utf8(script).context("the completions are not UTF-8")
}

/// Writes one page for each program and command; says how many.
pub(crate) fn manual(dir: &Path) -> anyhow::Result<String> {
    if dir.exists() && !dir.is_dir() {
        bail!("{} is no directory", dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let mut number = 0;
    for program in [Program::Rowcall, Program::RowcallAgent, Program::RowcallAggregator] {
        for (name, page) in man::pages(command(program))? {
            let path = dir.join(name);
            std::fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
            number += 1;
        }
    }
    let dir = text::clean(&dir.to_string_lossy());
    Ok(format!("{} in {dir}\n", text::plural(number, "manual page")))
}
