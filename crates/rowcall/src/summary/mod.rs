//! `rowcall summary`: the reports, as tables or JSON.

mod balance;
pub(crate) mod check;
mod hardware;
mod integrity;
mod json;
mod ledger;
mod memory;
mod merge;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod parts;
mod pressure;
mod roll;
#[cfg(test)]
mod samples;
mod seen;
mod unobserved;
#[cfg(test)]
mod waits;
#[cfg(test)]
mod wording;

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_proto::v1;
use tonic::Code;

use crate::cli::{ReportName, SummaryArgs};
use crate::client::{Client, ClientError};
use crate::host;
use crate::text::{self, FAINT, Screen};

/// Windows of this length, in seconds, show something soon after a start: hosts sample once in
/// each by default, and shorter ones could not be judged alone.
const QUICK_WINDOW_S: u32 = 60;

/// Asks, and gives back what to print.
pub(crate) async fn run(args: &SummaryArgs, client: &Client) -> anyhow::Result<String> {
    let zone = args.tz.clone();
    let now = wire_micros(SystemClock.wall().0).context("read the clock")?;
    let request = request(args, now)?;
    let answer = ask(client, request.clone()).await?;
    if args.json {
        return json::render(&answer);
    }
    let mut shown = Shown { all: args.all, no_match: false };
    let unknown = Frame::of(&answer, &request, shown).selected && hosts_of(&answer).is_none();
    if unknown && let Some(hosts) = &request.hosts {
        // These reports name only hosts with samples: ask whether there are any at all.
        shown.no_match = host::any(client, hosts.clone()).await == Some(false);
    }
    let screen = Screen::detect(zone, &|name| std::env::var(name).ok());
    Ok(render(&answer, &request, shown, &screen))
}

/// What the answer does not say.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    /// Every window of the balance report, every host of the roll.
    all: bool,
    /// No host matches, as another question has found.
    no_match: bool,
}

/// How many hosts match, where a report says it.
fn hosts_of(answer: &v1::SummaryResponse) -> Option<usize> {
    let roll = answer.roll.as_ref().map(|roll| usize::try_from(roll.hosts).unwrap_or(usize::MAX));
    let hardware = || Some(answer.hardware.as_ref()?.groups.iter().map(|g| g.hosts.len()).sum());
    let memory = || Some(answer.memory.as_ref()?.hosts.len()).filter(|hosts| *hosts > 0);
    roll.or_else(hardware).or_else(memory)
}

/// The options as a request.
fn request(args: &SummaryArgs, now: Timestamp) -> anyhow::Result<v1::SummaryRequest> {
    let instant = |name: &'static str, when: Option<crate::args::When>| {
        let resolve = |when: crate::args::When| {
            let at = when.resolve(now, &args.tz)?;
            anyhow::Ok(prost_types::Timestamp {
                seconds: at.as_second(),
                nanos: at.subsec_nanosecond(),
            })
        };
        when.map(resolve).transpose().with_context(|| format!("the instant of {name}"))
    };
    if args.as_of.is_some()
        && !args.report.is_empty()
        && !args.report.contains(&ReportName::Hardware)
    {
        let words = "--as-of is for the hardware report, which --report leaves out";
        bail!(ClientError::Usage(words.to_owned()));
    }
    let mut reports: Vec<i32> = args.report.iter().map(|name| name.on_wire().into()).collect();
    reports.dedup();
    Ok(v1::SummaryRequest {
        reports,
        from: instant("--from", args.from)?,
        to: instant("--to", args.to)?,
        window_s: args.window,
        min_samples: args.min_samples,
        hosts: Some(host::selector(&args.select, args.name.as_deref())?),
        hardware_as_of: instant("--as-of", args.as_of)?,
    })
}

/// Summary, or in parts where the answer is too large for one message.
async fn ask(client: &Client, request: v1::SummaryRequest) -> anyhow::Result<v1::SummaryResponse> {
    match client.summary().summary(request.clone()).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::ResourceExhausted => {
            tracing::info!(reason = status.message(), "asking for the answer in parts");
            let request = v1::StreamSummaryRequest { request: Some(request) };
            let stream = client.summary().stream_summary(request).await;
            let mut stream = stream.map_err(|status| client.explain(&status))?.into_inner();
            let mut merger = merge::Merger::default();
            while let Some(part) =
                stream.message().await.map_err(|status| client.explain(&status))?
            {
                merger.add(part.part.unwrap_or_default())?;
            }
            Ok(merger.finish())
        }
        Err(status) => Err(client.explain(&status).into()),
    }
}

/// What a legend says of the columns that do not fit, after a blank.
fn left_out(titles: &[&str]) -> String {
    format!(" A wider terminal, or --json, also has {}.", titles.join(", "))
}

/// All reports of an answer as text.
fn render(
    answer: &v1::SummaryResponse,
    request: &v1::SummaryRequest,
    shown: Shown,
    screen: &Screen,
) -> String {
    let mut out = String::new();
    let frame = Frame::of(answer, request, shown);
    // What a host is is told of one instant, whatever the range.
    let is_of_a_range = answer.memory.is_some()
        || answer.roll.is_some()
        || answer.balance.is_some()
        || answer.pressure.is_some()
        || answer.integrity.is_some();
    if is_of_a_range {
        text::line(&mut out, &frame.title(screen));
    }
    if let Some(report) = &answer.hardware {
        hardware::write(&mut out, report, &frame, screen);
    }
    if let Some(report) = &answer.memory {
        memory::write(&mut out, report, &frame, screen);
    }
    if let Some(report) = &answer.roll {
        roll::write(&mut out, report, shown.all, &frame, screen);
    }
    if let Some(report) = &answer.balance {
        balance::write(&mut out, report, shown.all, &frame, screen);
    }
    if let Some(report) = &answer.pressure {
        pressure::write(&mut out, report, shown.all, &frame, screen);
    }
    if let Some(report) = &answer.integrity {
        integrity::write(&mut out, report, &frame, screen);
    }
    out
}

/// The time that an answer covers, and what was asked.
#[derive(Debug, Clone)]
struct Frame {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    made: Option<Timestamp>,
    /// When the hardware is told of, if not now.
    as_of: Option<Timestamp>,
    window_s: u32,
    windows: u64,
    /// Only hosts with certain labels or names.
    selected: bool,
    /// There are none of these.
    no_match: bool,
}

impl Frame {
    fn of(answer: &v1::SummaryResponse, request: &v1::SummaryRequest, shown: Shown) -> Self {
        let (from, to) = (instant(answer.from.as_ref()), instant(answer.to.as_ref()));
        let seconds = from.zip(to).map_or(0, |(from, to)| to.duration_since(from).as_secs());
        let windows = u64::try_from(seconds).unwrap_or(0) / u64::from(answer.window_s.max(1));
        let hosts = request.hosts.as_ref();
        let selected = hosts.is_some_and(|h| !h.labels.is_empty() || !h.name_glob.is_empty());
        let made = instant(answer.generated_at.as_ref());
        let no_match = selected && (shown.no_match || hosts_of(answer) == Some(0));
        let as_of = instant(request.hardware_as_of.as_ref());
        Self { from, to, made, as_of, window_s: answer.window_s, windows, selected, no_match }
    }

    fn window(&self) -> String {
        text::span(Duration::from_secs(self.window_s.into()))
    }

    fn title(&self, screen: &Screen) -> String {
        let at = |at: Option<Timestamp>| {
            at.map_or_else(|| "?".into(), |at| text::timestamp(at, &screen.zone))
        };
        let (from, to) = (at(self.from), at(self.to));
        let windows = text::plural(self.windows, "window");
        text::paint(FAINT, &format!("{from} to {to}, {windows} of {}", self.window()))
    }

    /// Whether it ends with the last finished window, or nearly: then the next one may say more.
    fn is_recent(&self) -> bool {
        self.made.zip(self.to).is_some_and(|(made, to)| {
            made.duration_since(to).as_secs() < i64::from(self.window_s).saturating_mul(2)
        })
    }

    /// In words: nothing to report on, and when there will be.
    fn no_hosts(&self) -> String {
        if self.selected {
            "No host matches --select and --name.".to_owned()
        } else {
            "No host has joined yet. A host joins with its agent's first handshake.".to_owned()
        }
    }

    /// In words: hosts are there, windows that can be judged are not.
    fn no_window(&self, screen: &Screen) -> String {
        if !self.is_recent() {
            return "No window of this time can be judged: it is before the hosts joined, of days \
                    that were dropped, or too short for how rarely they sampled."
                .to_owned();
        }
        let begin = "No window can be judged yet: none has finished since the hosts joined, or \
                     they sample too rarely for windows this short.";
        format!("{begin}{}", self.next_window(screen))
    }

    /// In words: nothing was measured in this time.
    fn no_sample(&self, screen: &Screen) -> String {
        if self.no_match {
            return self.no_hosts();
        }
        let next = if self.is_recent() { self.next_window(screen) } else { String::new() };
        let whose = if self.selected { " of the hosts selected" } else { "" };
        format!("No sample{whose} in this time.{next}")
    }

    /// In words: when there will be more, and how to see it sooner.
    fn next_window(&self, screen: &Screen) -> String {
        let window_us = i64::from(self.window_s.max(1)) * 1_000_000;
        let end = self.made.and_then(|made| {
            let now = made.as_microsecond();
            let end = now.checked_sub(now.rem_euclid(window_us))?.checked_add(window_us)?;
            Timestamp::from_microsecond(end).ok()
        });
        let mut words = String::new();
        if let Some(end) = end {
            let end = text::timestamp(end, &screen.zone);
            words.push_str(&format!(" The window that is open now ends at {end}."));
        }
        if self.window_s > QUICK_WINDOW_S {
            words.push_str(&format!(" Sooner: --window {}m.", QUICK_WINDOW_S / 60));
        }
        words
    }
}

/// A time on the wire, if it is one.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
}

/// The same for JSON: RFC 3339 in UTC, to the microsecond where it has some.
pub(crate) fn json_time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    instant(time).map(|at| {
        if at.subsec_nanosecond() == 0 {
            text::timestamp(at, &TimeZone::UTC)
        } else {
            at.to_string()
        }
    })
}

/// `WINDOW_STATE_NOT_JUDGED` as `not_judged`.
pub(crate) fn json_word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn wire_micros(micros: i64) -> Result<Timestamp, jiff::Error> {
    Timestamp::from_microsecond(micros)
}

impl ReportName {
    fn on_wire(self) -> v1::Report {
        match self {
            Self::Hardware => v1::Report::Hardware,
            Self::Memory => v1::Report::Memory,
            Self::Roll => v1::Report::Roll,
            Self::Balance => v1::Report::Balance,
            Self::Pressure => v1::Report::Pressure,
            Self::Integrity => v1::Report::Integrity,
        }
    }
}
