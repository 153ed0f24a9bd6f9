//! `rowcall summary --check`: the roll in one line and an exit code, as the plugins of Nagios have
//! it: a word for the state, what people should know, behind `|` the numbers for graphs.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_proto::v1::{self, Report};

use super::seen::{Seen, unobserved_of};
use super::{Frame, Shown, ask, instant, request, unobserved, wire_micros};
use crate::cli::SummaryArgs;
use crate::client::{self, Client, Need, Surroundings};
use crate::{output, text};

/// Most hosts that are named.
const MAX_NAMES: usize = 5;
/// Most characters of a message; monitors cut lines.
const MAX_CHARACTERS: usize = 800;

/// What a monitor shall think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

/// Whether a command line that does not parse was meant for a monitor.
pub(crate) fn asked(args: impl Iterator<Item = OsString>) -> bool {
    let mut args = args.skip(1);
    args.next().is_some_and(|command| command == "summary") && args.any(|arg| arg == "--check")
}

/// Asks, prints the line, gives the exit code. Whatever stands in the way is UNKNOWN.
pub(crate) fn run(args: &SummaryArgs, around: &Surroundings<'_>) -> ExitCode {
    let question = async |client: Client| {
        let now = wire_micros(SystemClock.wall().0).context("read the clock")?;
        let request =
            v1::SummaryRequest { reports: vec![Report::Roll.into()], ..request(args, now)? };
        ask(&client, request).await
    };
    let limit = Some(args.timeout);
    match client::ask(&args.connection, around, Need::Read, limit, question) {
        Ok(answer) => {
            let (state, words, numbers) = judge(&answer, args);
            say(state, &words, &numbers)
        }
        Err(error) => unknown(&format!("{error:#}")),
    }
}

/// Says that nothing can be said, and why.
pub(crate) fn unknown(why: &str) -> ExitCode {
    // Of a usage error the first line says what is wrong.
    let why = why.lines().next().unwrap_or_default();
    say(State::Unknown, why.strip_prefix("error: ").unwrap_or(why), "")
}

fn say(state: State, words: &str, numbers: &str) -> ExitCode {
    // A reader that is gone gets the code all the same.
    drop(output::print(&line(state, words, numbers)));
    ExitCode::from(state.code())
}

fn line(state: State, words: &str, numbers: &str) -> String {
    // What stands behind a bar is read as numbers.
    let words = text::cut(&text::clean(words).replace('|', "/"), MAX_CHARACTERS);
    let numbers = if numbers.is_empty() { String::new() } else { format!(" | {numbers}") };
    format!("ROWCALL {} - {words}{numbers}\n", state.word())
}

/// State, words and numbers of an answer.
fn judge(answer: &v1::SummaryResponse, args: &SummaryArgs) -> (State, String, String) {
    let roll = answer.roll.clone().unwrap_or_default();
    let t = roll.totals.unwrap_or_default();
    let numbers = format!(
        "hosts={} complete={} silent={} partial={} late={} skewed={} unobserved={} excused={}",
        roll.hosts, t.complete, t.silent, t.partial, t.late, t.skewed, t.unobserved, t.excused
    );
    let frame = Frame::of(answer, &v1::SummaryRequest::default(), Shown::default());
    let seen = Seen::of(&roll, &frame);
    // Late because nobody could receive is no host's fault, as in the roll.
    let late = t.late.saturating_sub(seen.pardoned.windows);
    let observed = t.complete + t.silent + t.partial + t.late + t.skewed + t.excused;
    let state = match () {
        () if observed == 0 => State::Unknown,
        () if t.silent > 0 => State::Critical,
        () if t.partial + late + t.skewed + t.unobserved > 0 => State::Warning,
        () => State::Ok,
    };
    let mut words = match state {
        State::Unknown if roll.hosts == 0 && (args.name.is_some() || !args.select.is_empty()) => {
            return (state, "no host matches --select and --name".to_owned(), numbers);
        }
        State::Unknown if roll.hosts == 0 => {
            return (state, "no host has joined yet".to_owned(), numbers);
        }
        State::Unknown if t.unobserved == 0 => "no window can be judged yet".to_owned(),
        State::Unknown => "nobody observed any window".to_owned(),
        State::Critical => hosts(&seen.silent, roll.hosts, "silent"),
        State::Warning if !seen.flawed.is_empty() => {
            hosts(&seen.flawed, roll.hosts, "partial, late or skewed")
        }
        State::Warning | State::Ok => well(seen.well, &roll),
    };
    if t.unobserved > 0 {
        let (count, why) = unobserved_of(&roll, t.unobserved);
        words.push_str(&format!("; {} not observed: {why}", count.words()));
    }
    if let Some(cause) = seen.cause {
        let (windows, why) = (seen.pardoned.words(), unobserved::why(cause));
        words.push_str(&format!("; {windows} came late because {why}"));
    }
    if t.excused > 0 {
        words.push_str(&format!("; {} excused", seen.excused.words()));
    }
    let window = text::span(std::time::Duration::from_secs(answer.window_s.into()));
    let until = instant(answer.to.as_ref());
    let until = until.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &args.tz));
    let windows = text::plural(roll.finished_windows.into(), "window");
    words.push_str(&format!("; {windows} of {window} each until {until}"));
    (state, words, numbers)
}

/// In words: nothing is wrong with so many hosts.
fn well(number: u64, roll: &v1::RollReport) -> String {
    let all = u64::from(roll.hosts);
    let unobserved = roll.totals.is_some_and(|totals| totals.unobserved > 0);
    let whole = if unobserved { "complete where observed" } else { "complete" };
    match number {
        0 => "no host had to answer".to_owned(),
        _ if number == all => format!("{} {whole}", text::plural(all, "host")),
        _ => format!("{} of {} {whole}", text::count(number), text::plural(all, "host")),
    }
}

/// How many of all hosts these are, and the names of some.
fn hosts(found: &[&str], all: u32, what: &str) -> String {
    let all = text::plural(all.into(), "host");
    let number = text::count(u64::try_from(found.len()).unwrap_or(u64::MAX));
    let names: Vec<&str> = found.iter().take(MAX_NAMES).copied().collect();
    let more = if found.len() > MAX_NAMES { ", ..." } else { "" };
    format!("{number} of {all} {what}: {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rowcall_proto::v1::UnobservedCause;

    use super::super::samples::{answer, at, roll};
    use super::*;
    use crate::cli::{Cli, Command};

    fn args(more: &[&str]) -> SummaryArgs {
        let line = ["rowcall", "summary", "--check"].iter().chain(more);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Summary(args) => *args,
            other => panic!("not a summary: {other:?}"),
        }
    }

    fn with(totals: v1::RollTotals, change: impl Fn(&mut v1::RollReport)) -> (State, String) {
        let mut answer = answer();
        let report = answer.roll.as_mut().unwrap();
        report.totals = Some(totals);
        report.incomplete.clear();
        change(report);
        let (state, words, numbers) = judge(&answer, &args(&[]));
        (state, line(state, &words, &numbers))
    }

    #[test]
    fn the_worst_window_decides() {
        let none = v1::RollTotals { complete: 20, not_judged: 4, ..Default::default() };
        let judged = |totals| with(totals, |_| ()).0;
        assert_eq!(judged(none), State::Ok);
        assert_eq!(judged(v1::RollTotals { excused: 1, ..none }), State::Ok);
        for totals in [
            v1::RollTotals { partial: 1, ..none },
            v1::RollTotals { late: 1, ..none },
            v1::RollTotals { skewed: 1, ..none },
            v1::RollTotals { unobserved: 1, ..none },
        ] {
            assert_eq!(judged(totals), State::Warning, "{totals:?}");
        }
        assert_eq!(judged(v1::RollTotals { silent: 1, partial: 9, ..none }), State::Critical);
        let nothing = v1::RollTotals { not_judged: 24, ..Default::default() };
        assert_eq!(judged(nothing), State::Unknown);
        assert_eq!(judged(v1::RollTotals { unobserved: 24, ..nothing }), State::Unknown);
    }

    #[test]
    fn the_line_names_hosts_and_has_its_numbers_behind_a_bar() {
        let totals = v1::RollTotals { complete: 20, silent: 6, late: 1, ..Default::default() };
        let (_, line) = with(totals, |report| {
            report.incomplete =
                (1..=7).map(|n| roll(&format!("node{n}"), "SCCCCC", None)).collect();
            report.incomplete.push(roll("late", "LCCCCC", None));
            report.hosts = 1_000;
        });
        assert_eq!(
            line,
            "ROWCALL CRITICAL - 7 of 1,000 hosts silent: node1, node2, node3, node4, node5, ...; \
             6 windows of 10 min each until 2026-11-22T16:00:00Z | hosts=1000 complete=20 silent=6 \
             partial=0 late=1 skewed=0 unobserved=0 excused=0\n"
        );
        let totals = v1::RollTotals { complete: 24, ..Default::default() };
        let (_, line) = with(totals, |report| report.complete_hosts = 4);
        assert!(line.starts_with("ROWCALL OK - 4 hosts complete; 6 "), "{line}");
    }

    /// A time that nobody observed, which so many hosts still miss.
    fn hole(from: &str, to: &str, hosts: u32) -> v1::UnobservedSpan {
        let cause = UnobservedCause::Database.into();
        v1::UnobservedSpan { from: at(from), to: at(to), cause, hosts }
    }

    #[test]
    fn what_is_late_only_because_nobody_could_receive_is_ok_with_a_note() {
        let late = |letters: &'static str, to: &'static str| {
            let totals = v1::RollTotals { complete: 19, late: 5, ..Default::default() };
            with(totals, move |report| {
                report.unobserved = vec![hole("2026-11-22T15:10:00Z", to, 0)];
                report.incomplete = vec![roll("a", "CLLCCC", None), roll("b", "CLLCCC", None)];
                report.incomplete.push(roll("c", letters, None));
                report.complete_hosts = 1;
            })
        };
        let (state, line) = late("CLCCCC", "2026-11-22T15:25:00Z");
        assert_eq!(state, State::Ok);
        let words = "ROWCALL OK - 4 hosts complete; 5 windows of 3 hosts together came late because \
                     the database took no writes, or was put back to an earlier state; 6 windows";
        assert!(line.starts_with(words), "{line}");
        // A host that was late without that is named alone.
        for (letters, to) in [
            ("CCCLCC", "2026-11-22T15:25:00Z"),
            ("LCCCCC", "2026-11-22T15:25:00Z"),
            // Agents have 2 minutes to come back: here until the end of a window, and no longer.
            ("CCCLCC", "2026-11-22T15:28:00Z"),
        ] {
            let (state, line) = late(letters, to);
            assert_eq!(state, State::Warning, "{line}");
            let words = "ROWCALL WARNING - 1 of 4 hosts partial, late or skewed: c; 2 windows of 2 \
                         hosts came late because the database";
            assert!(line.starts_with(words), "{line}");
        }
        let (state, line) = late("CCCLCC", "2026-11-22T15:28:01Z");
        assert_eq!(state, State::Ok, "{line}");
    }

    #[test]
    fn hosts_are_called_complete_only_where_they_answered() {
        let begin = |totals, change: &dyn Fn(&mut v1::RollReport)| {
            let (_, line) = with(totals, change);
            line.split("; 6 windows of 10 min each").next().unwrap().to_owned()
        };
        let excused = v1::RollTotals { excused: 3, not_judged: 3, ..Default::default() };
        let line = begin(excused, &|report| {
            report.incomplete = vec![roll("a", "EEE...", None)];
            (report.hosts, report.complete_hosts) = (1, 0);
        });
        assert_eq!(line, "ROWCALL OK - no host had to answer; 3 windows excused");
        let line = begin(v1::RollTotals { complete: 9, ..excused }, &|report| {
            report.incomplete = vec![roll("a", "EEE...", None), roll("b", "CCC...", None)];
            (report.hosts, report.complete_hosts) = (3, 1);
        });
        assert_eq!(line, "ROWCALL OK - 2 of 3 hosts complete; 3 windows excused");

        let unobserved = v1::RollTotals { complete: 6, unobserved: 18, ..Default::default() };
        let spans = |hosts: &[u32]| -> Vec<_> {
            let span = |hosts: &u32| hole("2026-11-22T15:10:00Z", "2026-11-22T15:40:00Z", *hosts);
            hosts.iter().map(span).collect()
        };
        for (hosts, windows) in [
            (&[1][..], "18 windows"),
            (&[2, 0], "9 windows of 2 hosts"),
            (&[4], "18 windows of 4 hosts together"),
            (&[1, 2], "18 windows of 4 hosts together"),
        ] {
            let line = begin(unobserved, &|report| {
                report.unobserved = spans(hosts);
                report.complete_hosts = 3;
            });
            let words = format!(
                "ROWCALL WARNING - 3 of 4 hosts complete where observed; {windows} not observed: \
                 the database took no writes, or was put back to an earlier state"
            );
            assert_eq!(line, words);
        }
    }

    #[test]
    fn nothing_from_outside_makes_a_second_line_or_a_second_bar() {
        let text = line(State::Unknown, "a|b\nc\x1b[2J", "");
        assert_eq!(text, "ROWCALL UNKNOWN - a/b?c?[2J\n");
        assert!(line(State::Unknown, &"x".repeat(5_000), "").len() < 900);
    }

    #[test]
    fn wrong_options_of_a_check_are_the_monitors_to_know() {
        let line =
            |args: &[&str]| args.iter().map(Into::into).collect::<Vec<OsString>>().into_iter();
        assert!(asked(line(&["rowcall", "summary", "--nmae", "x", "--check"])));
        assert!(!asked(line(&["rowcall", "summary", "--json"])));
        assert!(!asked(line(&["rowcall", "status", "--check"])));
    }
}
