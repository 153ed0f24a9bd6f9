//! What `/metrics` says of this agent, where it is switched on: everything is looked up when
//! somebody asks, and nothing of it exists otherwise.

mod http;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use rowcall_core::id::UnixMicros;

use crate::identity::Notes;
use crate::link::Expiry;
use crate::queue::Queue;
use crate::service::{Health, LinkState};

pub(crate) use http::serve;

/// Every name begins with this.
const PREFIX: &str = "rowcall_agent";

/// All metrics, to be read.
#[derive(Debug)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    /// Of what these hold.
    pub(crate) fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// The text that Prometheus reads, in OpenMetrics' format.
    ///
    /// # Errors
    /// None that a [`String`] could cause.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// Where the values are kept.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) queue: Arc<Queue>,
    pub(crate) health: Arc<Health>,
    pub(crate) expiry: Arc<Expiry>,
    pub(crate) notes: Notes,
    /// The name in the certificate.
    pub(crate) host: String,
    /// Or of whoever runs the node.
    pub(crate) is_enrolled: bool,
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut to = Families(encoder);
        self.spool(&mut to)?;
        self.link(&mut to)?;
        self.skipped(&mut to)?;
        self.identity(&mut to)
    }
}

impl Sources {
    fn spool(&self, to: &mut Families<'_>) -> fmt::Result {
        let spool = self.queue.spool.status();
        to.gauge(
            "spool_records",
            "Records that wait for their acknowledgement",
            number(spool.unacknowledged_records),
        )?;
        to.gauge("spool_bytes", "Bytes of the spool's files", number(spool.size_bytes))?;
        to.gauge(
            "spool_oldest_unsent_age_seconds",
            "Age of the oldest record that waits; 0 where none does",
            spool.oldest_unacknowledged_age.map_or(0.0, |age| age.as_secs_f64()),
        )?;
        to.counter(
            "spool_dropped_records",
            "Records of the present epoch dropped unacknowledged, for age or size",
            spool.dropped_records,
        )?;
        to.counter(
            "spool_damaged_records",
            "Records of the present epoch found damaged",
            spool.damaged_records,
        )?;
        to.counter(
            "spool_write_failures",
            "Writes to the spool's disk that failed since the start",
            spool.write_failures,
        )?;
        to.gauge(
            "spool_durable",
            "1 while what the spool holds would survive a crash of this machine",
            i64::from(spool.fault.is_none()),
        )
    }

    fn link(&self, to: &mut Families<'_>) -> fmt::Result {
        let counts = self.health.counts();
        to.counter("samples", "Samples read since the start", counts.samples)?;
        to.counter(
            "missed_ticks",
            "Due ticks at which nothing was read, those before the start included",
            counts.missed_ticks,
        )?;
        to.counter(
            "reconnects",
            "Streams opened after the first one",
            counts.streams.saturating_sub(1),
        )?;
        to.counter(
            "refills",
            "Streams on which what was acknowledged had to be sent again",
            counts.refills,
        )?;
        let connected = matches!(*self.health.state().borrow(), LinkState::Connected(_));
        to.gauge("connected", "1 while a stream is open", i64::from(connected))?;
        if let Some((_, at)) = self.queue.spool.status().acknowledged {
            to.gauge(
                "last_acknowledgement_timestamp_seconds",
                "When something was last acknowledged; absent until then",
                seconds(at),
            )?;
        }
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        to.0.encode_descriptor("build", "Version of rowcall-agent", None, MetricType::Info)?
            .encode_info(&version)
    }

    fn skipped(&self, to: &mut Families<'_>) -> fmt::Result {
        let mut family = to.0.encode_descriptor(
            "skipped",
            "Things that the last reading of devices skipped; absent where there are none",
            None,
            MetricType::Gauge,
        )?;
        for ((collector, reason), count) in self.health.skipped() {
            let labels = [("collector", collector.as_str()), ("reason", reason.as_str())];
            family.encode_family(&labels)?.encode_gauge(&count)?;
        }
        to.counter(
            "devices_left_out",
            "Readings of devices left out since the start, so that samples have room in the spool",
            self.health.counts().left_out_readings,
        )?;
        to.gauge(
            "leaves_devices_out",
            "1 while readings of devices are left out",
            i64::from(self.health.leaves_out()),
        )
    }

    fn identity(&self, to: &mut Families<'_>) -> fmt::Result {
        let (counts, told) = (self.health.counts(), self.notes.told());
        to.counter(
            "certificate_renewals",
            "Certificates that replaced the one before since the start",
            counts.renewals,
        )?;
        to.counter(
            "certificate_renewal_failures",
            "Tries to get the next certificate that failed since the start",
            counts.renewal_failures,
        )?;
        to.gauge(
            "certificate_renewal_failing",
            "1 while the last try to get the next certificate has failed",
            i64::from(told.renewal.is_some()),
        )?;
        to.gauge(
            "refused",
            "1 while aggregators refuse this agent, or another one has its host's stream",
            i64::from(told.refused.is_some()),
        )?;
        to.gauge(
            "certificate_expiry_timestamp_seconds",
            "When this agent's certificate ends",
            seconds(self.expiry.get()),
        )?;
        let source = if self.is_enrolled { "enrolled" } else { "files" };
        let labels = [("host", self.host.as_str()), ("source", source)];
        to.0.encode_descriptor(
            "identity",
            "The name in the certificate, and whether it is an enrolled one or of one's own files",
            None,
            MetricType::Info,
        )?
        .encode_info(&labels)
    }
}

/// Metrics of one value each.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

/// Counts are far below 2^63.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Microseconds since 1970 in seconds; exact to the microsecond for the next 200 years.
fn seconds(time: UnixMicros) -> f64 {
    std::time::Duration::from_micros(u64::try_from(time.0).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests;
