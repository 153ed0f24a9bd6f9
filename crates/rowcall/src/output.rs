//! Standard output and standard error.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::client::ClientError;
use crate::text::{self, BAD};

/// Prints an answer. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints an error; gives the exit code that it stands for.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    let mut out = anstream::stderr().lock();
    // Nobody is left to tell if this fails.
    drop(writeln!(out, "{} {error:#}", text::paint(BAD, "rowcall:")));
    let known = error.chain().find_map(|cause| cause.downcast_ref::<ClientError>());
    ExitCode::from(known.map_or(1, ClientError::exit_code))
}
