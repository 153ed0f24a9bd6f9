//! Metrics that are looked up where they are kept when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use rowcall_core::id::UnixMicros;
use rowcall_store::Store;
use rowcall_tls::accept::{HandshakeCounts, Refusal};

use super::families::{Families, number};
use super::{process, spools};
use crate::certificates::Certificates;
use crate::connections::Connections;
use crate::database::Database;
use crate::enrollment::Shared as Enrollment;
use crate::farewells::Farewells;
use crate::refusals::{Reason, Refusals};
use crate::registry::{Presence, Registry, State};
use crate::revocation::Revocation;
use crate::telemetry::queue::{QUEUE_RECORDS, Queue};
use crate::telemetry::writer::Counters;

/// Hosts that get a series of their own. With more, those that were seen longest ago do, since
/// they are what an alert asks for; `rowcall_host_series_left_out` counts the others.
pub(crate) const MAX_HOST_SERIES: usize = 10_000;

/// Where the values are kept.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) started_at: UnixMicros,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) revocation: Arc<Revocation>,
    pub(crate) enrollment: Arc<Enrollment>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    /// Of each listener, by name.
    pub(crate) handshakes: Vec<(&'static str, Arc<HandshakeCounts>)>,
    pub(crate) connections: Arc<Connections>,
    /// On the enrolment listener.
    pub(crate) strangers: Arc<Connections>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) database: Arc<Database>,
    pub(crate) farewells: Arc<Farewells>,
    pub(crate) queue: Queue,
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut to = Families(encoder);
        self.process(&mut to)?;
        let hosts = self.registry.presence();
        spools::encode(&hosts, &mut to)?;
        Self::hosts(hosts, &mut to)?;
        self.records(&mut to)?;
        self.doors(&mut to)?;
        self.database(&mut to)
    }
}

impl Sources {
    fn process(&self, to: &mut Families<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        to.0.encode_descriptor("build", "Version of rowcall-aggregator", None, MetricType::Info)?
            .encode_info(&version)?;
        to.gauge(
            "process_start_time_seconds",
            "When this process started, in seconds since 1970",
            seconds(self.started_at),
        )?;
        if let Some(bytes) = process::resident_bytes() {
            to.gauge("process_resident_memory_bytes", "Resident memory", number(bytes))?;
        }
        if let Some(files) = process::open_files() {
            to.gauge("process_open_fds", "Open file descriptors", number(files))?;
        }
        self.certificates(to)
    }

    fn certificates(&self, to: &mut Families<'_>) -> fmt::Result {
        let ends = self.certificates.ends();
        let ends = [
            ("server", Some(ends.server)),
            ("client_ca", Some(ends.client_ca)),
            ("client_crl", ends.client_crl),
            ("issuer", ends.issuer),
            ("server_ca", ends.server_ca),
        ];
        to.gauges(
            "certificate_expiry_timestamp_seconds",
            "When our own certificate, and the first of the client authorities, of their \
             revocation lists, of the issuer and of what nodes trust, ends",
            ends.into_iter()
                .filter_map(|(which, end)| Some(([("certificate", which)], seconds(end?)))),
        )?;
        to.gauge(
            "certificate_problem",
            "1 while certificates cannot be reloaded or are out of date, else 0",
            i64::from(self.certificates.error().is_some()),
        )?;
        if let Some(at) = self.revocation.checked_at() {
            to.gauge(
                "access_checked_timestamp_seconds",
                "When the database was last asked whether any connected host was revoked; absent \
                 if not since the start",
                seconds(at),
            )?;
        }
        to.gauge(
            "certificate_requests_pending",
            "Calls for a certificate that are served or wait for it",
            number(self.enrollment.pending()),
        )
    }

    fn hosts(mut hosts: Vec<Presence>, to: &mut Families<'_>) -> fmt::Result {
        let count = |state| hosts.iter().filter(|host| host.state == state).count();
        to.gauges(
            "hosts",
            "Hosts that were let in since the start: live; silent: connected, and nothing heard \
             for more than one and a half intervals; gone: not connected now",
            State::ALL.map(|state| ([("state", state.as_str())], number(count(state)))),
        )?;
        hosts.sort_unstable_by(|a, b| (a.last_heard_at, &a.name).cmp(&(b.last_heard_at, &b.name)));
        let left_out = hosts.len().saturating_sub(MAX_HOST_SERIES);
        hosts.truncate(MAX_HOST_SERIES);
        let series =
            |host: &Presence| ([("host", host.name.to_string())], seconds(host.last_heard_at));
        to.gauges(
            "host_last_seen_timestamp_seconds",
            "When the last frame of a host came, since the start; at most 10,000 hosts, those \
             seen longest ago",
            hosts.iter().map(series),
        )?;
        to.gauge(
            "host_series_left_out",
            "Hosts that rowcall_host_last_seen_timestamp_seconds leaves out",
            number(left_out),
        )
    }

    fn records(&self, to: &mut Families<'_>) -> fmt::Result {
        let counters = &self.counters;
        for (name, help, counter) in [
            ("samples_committed", "Rows of host_usage committed", &counters.samples),
            ("samples_duplicate", "Records that were there already", &counters.duplicates),
            (
                "samples_quarantined",
                "Records put aside with a reason, and acknowledged",
                &counters.quarantined,
            ),
            ("gaps", "Records of samples that an agent missed or dropped", &counters.gaps),
            (
                "device_readings_committed",
                "Readings of devices, or parts of one, committed",
                &counters.devices,
            ),
            (
                "device_readings_expired",
                "Readings of devices that came when they were older than device_retention, and were not stored",
                &counters.expired,
            ),
            ("metrics_committed", "Rows of host_metric committed", &counters.metrics),
            (
                "records_given_up",
                "Records not committed at a shutdown; agents send them again",
                &counters.uncommitted,
            ),
        ] {
            to.counter(name, help, counter.load(Ordering::Relaxed))?;
        }
        if let Some(at) = counters.last_commit() {
            to.gauge(
                "last_commit_timestamp_seconds",
                "When records were last committed; absent if not since the start",
                seconds(at),
            )?;
        }
        to.gauge(
            "farewells_waiting",
            "Agents that said Bye which the database does not know of yet",
            number(self.farewells.waiting()),
        )?;
        to.gauge("queue_records", "Records that wait to be written", number(self.queue.records()))?;
        to.gauge(
            "queue_limit_records",
            "Most records that may wait; then agents are not read from",
            number(QUEUE_RECORDS),
        )
    }

    fn doors(&self, to: &mut Families<'_>) -> fmt::Result {
        to.counters(
            "handshakes",
            "TLS handshakes by listener and result: accepted, or why not",
            self.handshakes.iter().flat_map(|(listener, counts)| {
                let results = Refusal::ALL.map(|why| (why.as_str(), counts.refused(why)));
                std::iter::once(("accepted", counts.accepted())).chain(results).map(
                    move |(result, count)| ([("listener", *listener), ("result", result)], count),
                )
            }),
        )?;
        to.gauges(
            "handshakes_in_flight",
            "Connections whose TLS handshake is not finished, by listener",
            self.handshakes
                .iter()
                .map(|(name, counts)| ([("listener", *name)], number(counts.in_flight()))),
        )?;
        to.gauges(
            "connections",
            "Connections by the role in their certificate; none: it names nobody; enrolling: on \
             the enrolment listener, without one",
            self.connections
                .by_role()
                .into_iter()
                .chain([("enrolling", self.strangers.visits().len())])
                .map(|(role, count)| ([("role", role)], number(count))),
        )?;
        let refused = Reason::ALL.map(|why| ([("reason", why.as_str())], self.refusals.of(why)));
        to.counters(
            "refused",
            "Connections, calls and streams that were refused or ended for what they did",
            refused,
        )?;
        to.counter(
            "accept_errors",
            "Failures of the listening socket itself, as for want of file descriptors",
            self.handshakes.iter().map(|(_, counts)| counts.accept_errors()).sum(),
        )
    }

    fn database(&self, to: &mut Families<'_>) -> fmt::Result {
        to.gauge(
            "database_up",
            "1 while the database takes writes, else 0",
            i64::from(self.database.error().is_none()),
        )?;
        self.database.store().map_or(Ok(()), |store| pools(store, to))
    }
}

fn pools(store: &Store, to: &mut Families<'_>) -> fmt::Result {
    let pools = store.pool_status();
    let used = pools.iter().flat_map(|(pool, status)| {
        let used = status.size.saturating_sub(status.available);
        [("used", used), ("idle", status.available)]
            .map(|(state, count)| ([("pool", *pool), ("state", state)], number(count)))
    });
    to.gauges("pool_connections", "Connections to the database, by pool and state", used)?;
    let limit = pools.iter().map(|(pool, status)| ([("pool", *pool)], number(status.max)));
    to.gauges("pool_limit_connections", "Most connections of a pool", limit)?;
    let waiting = pools.iter().map(|(pool, status)| ([("pool", *pool)], number(status.waiting)));
    to.gauges("pool_waiting", "Calls that wait for a connection of a pool", waiting)
}

/// Microseconds since 1970 in seconds; exact to the microsecond for the next 200 years.
fn seconds(time: UnixMicros) -> f64 {
    std::time::Duration::from_micros(u64::try_from(time.0).unwrap_or(0)).as_secs_f64()
}
