//! Asking before something is done that somebody may regret.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::{bail, ensure};

use crate::client::ClientError;

/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 100;

/// Refuses what can't be asked about: standard input is no terminal, and nobody said `--yes`.
pub(crate) fn possible(yes: bool, what: &str) -> anyhow::Result<()> {
    if !yes && !io::stdin().is_terminal() {
        let words = format!("standard input is no terminal to ask at: add --yes to {what}");
        bail!(ClientError::Usage(words));
    }
    Ok(())
}

/// Says what it means and asks, unless somebody said `--yes`. Anything but a yes is an error, which
/// says `otherwise`.
pub(crate) fn ask(yes: bool, meaning: &str, question: &str, otherwise: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let mut err = anstream::stderr().lock();
    write!(err, "{meaning}{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(MAX_ANSWER_BYTES).read_line(&mut answer)?;
    ensure!(is_yes(&answer), "{otherwise}");
    Ok(())
}

/// Anything else is a no.
fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes(" YES \n"));
        for answer in ["", "\n", "n\n", "yess\n", "ja\n"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }
}
