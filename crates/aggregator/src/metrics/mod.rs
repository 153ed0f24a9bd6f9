//! What `/metrics` says: everything that is counted or measured in this process.
//!
//! [`Meters`] is what other parts count with; it costs an atomic or a short lock. What they keep
//! anyway (who is connected, how full the queue is) is read when somebody asks. Nothing here asks
//! PostgreSQL. The number of series is bounded: [`collect::MAX_HOST_SERIES`] hosts, five for each of
//! [`spools::MAX_TROUBLED`] whose spool is in trouble, and a hundred others.

mod ack;
mod collect;
mod families;
mod process;
mod spools;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rowcall_store::DropReason;
use tonic::Code;

pub(crate) use ack::AckTimer;
pub(crate) use collect::Sources;

/// Every name begins with this.
const PREFIX: &str = "rowcall";

/// Upper bounds of latency buckets, in seconds. A commit takes a millisecond or more; an
/// acknowledgement waits for `flush_after` too, and in an outage for the database.
const LATENCY_BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

type Label = [(&'static str, &'static str); 1];
type Labels = [(&'static str, &'static str); 2];

/// How a stream ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// By the agent.
    Agent,
    /// By a Drain that the agent followed.
    Drained,
    /// The connection broke.
    Lost,
    /// With an error, before or after Welcome.
    Error,
}

impl StreamEnd {
    const ALL: [Self; 4] = [Self::Agent, Self::Drained, Self::Lost, Self::Error];

    const fn label(self) -> Label {
        [(
            "end",
            match self {
                Self::Agent => "agent",
                Self::Drained => "drained",
                Self::Lost => "lost",
                Self::Error => "error",
            },
        )]
    }
}

/// How a certificate is got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issue {
    /// For a token.
    Enrolment,
    /// For the one before.
    Renewal,
}

impl Issue {
    const ALL: [Self; 2] = [Self::Enrolment, Self::Renewal];

    /// The word for it, in logs and as a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolment => "enrolment",
            Self::Renewal => "renewal",
        }
    }

    fn labels(self, result: &'static str) -> Labels {
        [("kind", self.as_str()), ("result", result)]
    }
}

/// What became of a call for a certificate, as a label.
const fn issue_result(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "denied",
        Code::AlreadyExists => "name_taken",
        Code::InvalidArgument => "invalid",
        Code::ResourceExhausted => "too_many",
        Code::Unavailable => "unavailable",
        _ => "failed",
    }
}

const ISSUE_RESULTS: [&str; 8] = [
    "ok",
    "unauthenticated",
    "denied",
    "name_taken",
    "invalid",
    "too_many",
    "unavailable",
    "failed",
];

/// What other parts count with. Shared.
#[derive(Debug)]
pub(crate) struct Meters {
    commits: Histogram,
    commit_failures: Counter,
    acknowledgements: Histogram,
    streams_ended: Family<Label, Counter>,
    days_dropped: Family<Label, Counter>,
    replayed: Counter,
    refills: Counter,
    went_back: Counter,
    heartbeats: Family<Label, Counter>,
    dead_man_calls: Family<Label, Counter>,
    issued: Family<Labels, Counter>,
}

/// How something went, as a label.
const fn result(well: bool) -> Label {
    [("result", if well { "ok" } else { "failed" })]
}

impl Meters {
    pub(crate) fn new() -> Arc<Self> {
        let meters = Self {
            commits: Histogram::new(LATENCY_BUCKETS),
            commit_failures: Counter::default(),
            acknowledgements: Histogram::new(LATENCY_BUCKETS),
            streams_ended: Family::default(),
            days_dropped: Family::default(),
            replayed: Counter::default(),
            refills: Counter::default(),
            went_back: Counter::default(),
            heartbeats: Family::default(),
            dead_man_calls: Family::default(),
            issued: Family::default(),
        };
        // A series that begins with its first event hides that event from `rate()`.
        for end in StreamEnd::ALL {
            drop(meters.streams_ended.get_or_create(&end.label()));
        }
        for reason in [DropReason::Age, DropReason::Size] {
            drop(meters.days_dropped.get_or_create(&[("reason", reason.as_str())]));
        }
        for well in [true, false] {
            drop(meters.heartbeats.get_or_create(&result(well)));
            drop(meters.dead_man_calls.get_or_create(&result(well)));
        }
        for issue in Issue::ALL {
            for result in ISSUE_RESULTS {
                drop(meters.issued.get_or_create(&issue.labels(result)));
            }
        }
        Arc::new(meters)
    }

    /// A certificate was asked for, with this end.
    pub(crate) fn issued(&self, issue: Issue, code: Code) {
        self.issued.get_or_create(&issue.labels(issue_result(code))).inc();
    }

    /// A flush is committed; how long its successful try took.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// A try to commit failed; the same records are tried again.
    pub(crate) fn commit_failed(&self) {
        self.commit_failures.inc();
    }

    /// An acknowledgement was handed out; how long after its batch had come.
    pub(crate) fn acknowledged(&self, took: Duration) {
        self.acknowledgements.observe(took.as_secs_f64());
    }

    /// A stream ended.
    pub(crate) fn stream_ended(&self, end: StreamEnd) {
        self.streams_ended.get_or_create(&end.label()).inc();
    }

    /// Samples are committed that had come long after their time.
    pub(crate) fn replayed(&self, samples: u64) {
        self.replayed.inc_by(samples);
    }

    /// A session was ended so that its agent sends again what the database lost.
    pub(crate) fn refilled(&self) {
        self.refills.inc();
    }

    /// The database was found to have gone back in time.
    pub(crate) fn went_back(&self) {
        self.went_back.inc();
    }

    /// This process's span was extended, or not.
    pub(crate) fn heartbeat(&self, well: bool) {
        self.heartbeats.get_or_create(&result(well)).inc();
    }

    /// The dead man's switch was called.
    pub(crate) fn called_dead_man(&self, well: bool) {
        self.dead_man_calls.get_or_create(&result(well)).inc();
    }

    /// A day of samples was dropped.
    pub(crate) fn day_dropped(&self, reason: DropReason) {
        self.days_dropped.get_or_create(&[("reason", reason.as_str())]).inc();
    }
}

/// All metrics, to be read.
#[derive(Debug)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    /// From what is counted and from where the rest is looked up.
    pub(crate) fn new(meters: &Meters, sources: Sources) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register(
            "commit_duration_seconds",
            "Time of a transaction that wrote a flush of records, failed tries before it left out",
            meters.commits.clone(),
        );
        registry.register(
            "commit_failures",
            "Tries to commit a flush that failed and were repeated",
            meters.commit_failures.clone(),
        );
        registry.register(
            "acknowledgement_duration_seconds",
            "Time from the reception of a batch until its acknowledgement went to the agent",
            meters.acknowledgements.clone(),
        );
        registry.register(
            "streams_ended",
            "Streams that ended: by the agent, drained by us, connection lost, or with an error",
            meters.streams_ended.clone(),
        );
        registry.register(
            "days_dropped",
            "Days of samples dropped by this process, for their age or for the database's size",
            meters.days_dropped.clone(),
        );
        registry.register(
            "samples_replayed",
            "Samples committed that had come more than 60 s after their time, duplicates too",
            meters.replayed.clone(),
        );
        registry.register(
            "refills",
            "Sessions ended because the database lost rows: their agents send them again",
            meters.refills.clone(),
        );
        registry.register(
            "database_went_back",
            "Times that a new connection found the database behind what it had committed",
            meters.went_back.clone(),
        );
        registry.register(
            "span_heartbeats",
            "Extensions of the time that this aggregator is on record as observing, by result",
            meters.heartbeats.clone(),
        );
        registry.register(
            "dead_man_calls",
            "Calls of dead_man_url, by result",
            meters.dead_man_calls.clone(),
        );
        registry.register(
            "certificate_requests",
            "Calls of nodes for a certificate, by kind (enrolment, renewal) and result",
            meters.issued.clone(),
        );
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// The text that Prometheus reads, in OpenMetrics' format.
    ///
    /// # Errors
    /// None that a [`String`] could cause.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
