use std::collections::HashMap;

use rowcall_core::clock::{SharedClock, TestClock};
use rowcall_core::id::UnixMicros;

use super::*;
use crate::connections::Connections;
use crate::database::Database;
use crate::refusals::{Reason, Refusals};
use crate::registry::Registry as Hosts;
use crate::registry::tests::newcomer;
use crate::telemetry::queue::Queue;
use crate::telemetry::writer::Counters;

struct Parts {
    clock: Arc<TestClock>,
    hosts: Arc<Hosts>,
    refusals: Arc<Refusals>,
    meters: Arc<Meters>,
    metrics: Metrics,
}

fn parts() -> Parts {
    let clock = Arc::new(TestClock::at(UnixMicros(1_000_000)));
    let shared: SharedClock = Arc::<TestClock>::clone(&clock);
    let second = Duration::from_secs(1);
    let hosts = Hosts::new(Arc::clone(&shared), second * 60, second * 150);
    let meters = Meters::new();
    let refusals = Refusals::new(shared);
    let sources = Sources {
        started_at: UnixMicros(1_500_000),
        expiry: Expiry { server: UnixMicros(7_000_000), client_ca: None },
        registry: Arc::clone(&hosts),
        counters: Counters::new(),
        handshakes: Arc::default(),
        connections: Connections::new(10, Duration::from_secs(10), Arc::clone(&refusals)),
        refusals: Arc::clone(&refusals),
        database: Database::new(),
        queue: Queue::new().0,
    };
    let metrics = Metrics::new(&meters, sources);
    Parts { clock, hosts, refusals, meters, metrics }
}

/// Value by name and labels.
fn values(metrics: &Metrics) -> HashMap<String, f64> {
    let text = metrics.text().unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn what_is_metered_is_shown() {
    let parts = parts();
    let before = values(&parts.metrics);
    assert_eq!(before["rowcall_streams_ended_total{end=\"lost\"}"], 0.0);
    parts.meters.committed(Duration::from_millis(3));
    parts.meters.commit_failed();
    parts.meters.acknowledged(Duration::from_secs(400));
    parts.meters.stream_ended(StreamEnd::Lost);
    parts.meters.day_dropped(DropReason::Size);
    assert_eq!(parts.refusals.count(Reason::Role), Some(0));
    let after = values(&parts.metrics);
    for (series, value) in [
        ("rowcall_commit_duration_seconds_count", 1.0),
        ("rowcall_commit_duration_seconds_bucket{le=\"0.0025\"}", 0.0),
        ("rowcall_commit_duration_seconds_bucket{le=\"0.005\"}", 1.0),
        ("rowcall_commit_failures_total", 1.0),
        ("rowcall_acknowledgement_duration_seconds_bucket{le=\"300.0\"}", 0.0),
        ("rowcall_acknowledgement_duration_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("rowcall_streams_ended_total{end=\"lost\"}", 1.0),
        ("rowcall_streams_ended_total{end=\"agent\"}", 0.0),
        ("rowcall_days_dropped_total{reason=\"size\"}", 1.0),
        ("rowcall_refused_total{reason=\"role\"}", 1.0),
        ("rowcall_process_start_time_seconds", 1.5),
        ("rowcall_certificate_expiry_timestamp_seconds{certificate=\"server\"}", 7.0),
        ("rowcall_database_up", 0.0),
    ] {
        assert_eq!(after.get(series), Some(&value), "{series}");
    }
}

#[test]
fn hosts_are_counted_by_state_and_have_a_series_each() {
    let parts = parts();
    let _live = parts.hosts.admit(newcomer("live", 1)).unwrap();
    drop(parts.hosts.admit(newcomer("gone", 1)).unwrap());
    parts.clock.advance(Duration::from_secs(1));
    let values = values(&parts.metrics);
    assert_eq!(values["rowcall_hosts{state=\"live\"}"], 1.0);
    assert_eq!(values["rowcall_hosts{state=\"silent\"}"], 0.0);
    assert_eq!(values["rowcall_hosts{state=\"gone\"}"], 1.0);
    assert_eq!(values["rowcall_host_last_seen_timestamp_seconds{host=\"gone\"}"], 1.0);
    assert_eq!(values["rowcall_host_series_left_out"], 0.0);
}

#[test]
fn with_too_many_hosts_those_seen_longest_ago_have_a_series() {
    let parts = parts();
    drop(parts.hosts.admit(newcomer("old", 1)).unwrap());
    parts.clock.advance(Duration::from_secs(1));
    for number in 0..collect::MAX_HOST_SERIES {
        drop(parts.hosts.admit(newcomer(&format!("n{number:05}"), 1)).unwrap());
    }
    let values = values(&parts.metrics);
    let series =
        |name: &str| format!("rowcall_host_last_seen_timestamp_seconds{{host=\"{name}\"}}");
    assert_eq!(values["rowcall_host_series_left_out"], 1.0);
    assert!(values.contains_key(&series("old")) && values.contains_key(&series("n00000")));
    assert!(!values.contains_key(&series("n09999")));
}
