//! `rowcall-agent check`: the way of an agent that starts, one line a step, with what to do where it
//! ends. It sends no samples and changes nothing, and goes on after what fails, where that makes
//! sense.

mod answer;
mod local;
#[cfg(test)]
mod tests;
mod way;

use std::fmt::Write as _;

use rowcall_core::clock::SharedClock;
use serde_json::{Value, json};

use crate::config::Config;

/// Width of the verdict and of what was looked at.
const VERDICTS: usize = 6;
const NAMES: usize = 13;

/// What a step comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Fine,
    /// It works, and people should know.
    Warning,
    /// The agent would not work.
    Failure,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warn",
            Self::Failure => "FAIL",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    verdict: Verdict,
    what: &'static str,
    detail: String,
}

/// All steps.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    fn fine(&mut self, what: &'static str, detail: impl Into<String>) {
        self.add(Verdict::Fine, what, detail.into());
    }

    fn warn(&mut self, what: &'static str, detail: impl Into<String>) {
        self.add(Verdict::Warning, what, detail.into());
    }

    fn fail(&mut self, what: &'static str, detail: impl Into<String>) {
        self.add(Verdict::Failure, what, detail.into());
    }

    fn add(&mut self, verdict: Verdict, what: &'static str, detail: String) {
        // A text from the other side must not begin a line of its own.
        let detail = detail.replace(char::is_control, " ");
        self.0.push(Line { verdict, what, detail });
    }

    /// Whether something fails.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.iter().any(|line| line.verdict == Verdict::Failure)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Line { verdict, what, detail } in &self.0 {
            let verdict = verdict.as_str();
            // Writing into a String cannot fail.
            let _done = writeln!(text, "{verdict:VERDICTS$}{what:NAMES$}{detail}");
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let step = |line: &Line| {
            let verdict = line.verdict.as_str().to_ascii_lowercase();
            json!({ "verdict": verdict, "step": line.what, "detail": line.detail })
        };
        json!({ "ok": !self.has_failed(), "steps": self.0.iter().map(step).collect::<Vec<_>>() })
    }
}

/// Looks at everything that an agent with these settings needs.
pub(crate) async fn look(config: &Config, clock: SharedClock) -> Report {
    let mut report = Report::default();
    let identity = local::identity(&mut report, config, clock.wall());
    way::walk(&mut report, config, identity.as_ref(), &clock).await;
    local::spool(&mut report, config, identity.as_ref());
    report
}
