use std::collections::HashMap;

use rowcall_core::clock::{SharedClock, TestClock};
use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;

use rowcall_testkit::pki::Pki;

use super::*;
use crate::certificates::Certificates;
use crate::config::from_file_text;
use crate::connections::Connections;
use crate::database::Database;
use crate::enrollment::Shared as Enrollment;
use crate::farewells::Farewells;
use crate::refusals::{Reason, Refusals};
use crate::registry::Registry as Hosts;
use crate::registry::tests::let_in;
use crate::revocation::Revocation;
use crate::telemetry::queue::Queue;
use crate::telemetry::writer::Counters;

struct Parts {
    clock: Arc<TestClock>,
    hosts: Arc<Hosts>,
    refusals: Arc<Refusals>,
    meters: Arc<Meters>,
    certificates: Arc<Certificates>,
    metrics: Metrics,
}

fn parts() -> Parts {
    let clock = Arc::new(TestClock::at(UnixMicros(1_000_000)));
    let shared: SharedClock = Arc::<TestClock>::clone(&clock);
    let second = Duration::from_secs(1);
    let hosts = Hosts::new(Arc::clone(&shared), second * 60, second * 150);
    let database = Database::new();
    let meters = Meters::new();
    let refusals = Refusals::new(Arc::clone(&shared));
    let pki = Pki::create().unwrap();
    let config = format!("database = 'embedded'\npki_dir = '{}'\n", pki.dir().display());
    let config = from_file_text(&config).unwrap();
    let certificates = Certificates::load(&config, &shared).unwrap();
    let connections = || Connections::new(10, Duration::from_secs(10), Arc::clone(&refusals));
    let enrollment =
        Enrollment::new(&config, 1, &database, &certificates, &shared, &refusals, &meters);
    let sources = Sources {
        started_at: UnixMicros(1_500_000),
        certificates: Arc::clone(&certificates),
        revocation: Revocation::new(Arc::clone(&database), Arc::clone(&hosts), Arc::clone(&shared)),
        enrollment,
        registry: Arc::clone(&hosts),
        counters: Counters::new(),
        handshakes: vec![("stream", Arc::default()), ("enrollment", Arc::default())],
        connections: connections(),
        strangers: connections(),
        refusals: Arc::clone(&refusals),
        farewells: Farewells::new(Arc::clone(&database), shared, second),
        database,
        queue: Queue::new().0,
    };
    let metrics = Metrics::new(&meters, sources);
    Parts { clock, hosts, refusals, meters, certificates, metrics }
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
    parts.meters.replayed(5);
    parts.meters.refilled();
    parts.meters.went_back();
    parts.meters.heartbeat(true);
    parts.meters.called_dead_man(false);
    parts.meters.issued(Issue::Enrolment, Code::Unauthenticated);
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
        ("rowcall_samples_replayed_total", 5.0),
        ("rowcall_refills_total", 1.0),
        ("rowcall_database_went_back_total", 1.0),
        ("rowcall_span_heartbeats_total{result=\"ok\"}", 1.0),
        ("rowcall_span_heartbeats_total{result=\"failed\"}", 0.0),
        ("rowcall_dead_man_calls_total{result=\"failed\"}", 1.0),
        ("rowcall_process_start_time_seconds", 1.5),
        // By this clock, what was just issued is not valid yet.
        ("rowcall_certificate_problem", 1.0),
        ("rowcall_certificate_requests_total{kind=\"enrolment\",result=\"unauthenticated\"}", 1.0),
        ("rowcall_certificate_requests_total{kind=\"renewal\",result=\"ok\"}", 0.0),
        ("rowcall_certificate_requests_pending", 0.0),
        ("rowcall_handshakes_total{listener=\"enrollment\",result=\"accepted\"}", 0.0),
        ("rowcall_connections{role=\"enrolling\"}", 0.0),
        ("rowcall_database_up", 0.0),
    ] {
        assert_eq!(after.get(series), Some(&value), "{series}");
    }
    let ends = parts.certificates.ends();
    for (which, end) in [
        ("server", Some(ends.server)),
        ("client_ca", Some(ends.client_ca)),
        ("client_crl", ends.client_crl),
        ("issuer", ends.issuer),
        ("server_ca", ends.server_ca),
    ] {
        let series =
            format!("rowcall_certificate_expiry_timestamp_seconds{{certificate=\"{which}\"}}");
        let seconds = end.map(|end| f64::from(u32::try_from(end.0 / 1_000_000).unwrap()));
        assert_eq!(after.get(&series), seconds.as_ref(), "{series}");
    }
    assert!(ends.issuer.is_some() && ends.client_crl.is_none());
}

#[test]
fn hosts_are_counted_by_state_and_have_a_series_each() {
    let parts = parts();
    let _live = let_in(&parts.hosts, "live");
    drop(let_in(&parts.hosts, "gone"));
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
    drop(let_in(&parts.hosts, "old"));
    parts.clock.advance(Duration::from_secs(1));
    for number in 0..collect::MAX_HOST_SERIES {
        drop(let_in(&parts.hosts, &format!("n{number:05}")));
    }
    let values = values(&parts.metrics);
    let series =
        |name: &str| format!("rowcall_host_last_seen_timestamp_seconds{{host=\"{name}\"}}");
    assert_eq!(values["rowcall_host_series_left_out"], 1.0);
    assert!(values.contains_key(&series("old")) && values.contains_key(&series("n00000")));
    assert!(!values.contains_key(&series("n09999")));
}

#[test]
fn spools_are_summed_up_and_those_in_trouble_have_series_of_their_own() {
    let parts = parts();
    let clock: SharedClock = Arc::<TestClock>::clone(&parts.clock);
    let mut tickets = Vec::new();
    let mut tell = |name: &str, spool: pb::SpoolStatus| {
        let ticket = let_in(&parts.hosts, name);
        ticket.live.set_spool(spool, &clock);
        tickets.push(ticket);
    };
    tell(
        "well",
        pb::SpoolStatus { unacknowledged_records: 1, size_bytes: 9, ..Default::default() },
    );
    tell(
        "behind",
        pb::SpoolStatus {
            unacknowledged_records: 40,
            oldest_unacknowledged_age_s: 2_400,
            ..Default::default()
        },
    );
    tell("lossy", pb::SpoolStatus { dropped_records: 7, damaged_records: 2, ..Default::default() });
    tell(
        "tmpfs",
        pb::SpoolStatus { fault: pb::SpoolFault::NotDurable.into(), ..Default::default() },
    );
    // What a host told last counts when it is gone.
    drop(tickets.remove(2));
    let values = values(&parts.metrics);
    for (series, value) in [
        ("rowcall_spool_records", 41.0),
        ("rowcall_spool_bytes", 9.0),
        ("rowcall_spool_oldest_age_seconds", 2_400.0),
        ("rowcall_spool_dropped_records", 7.0),
        ("rowcall_spool_damaged_records", 2.0),
        ("rowcall_spool_faults{fault=\"not_durable\"}", 1.0),
        ("rowcall_spool_faults{fault=\"io\"}", 0.0),
        ("rowcall_host_spool_records{host=\"behind\"}", 40.0),
        ("rowcall_host_spool_oldest_age_seconds{host=\"behind\"}", 2_400.0),
        ("rowcall_host_spool_dropped_records{host=\"lossy\"}", 7.0),
        ("rowcall_host_spool_fault{host=\"tmpfs\",fault=\"not_durable\"}", 1.0),
        ("rowcall_host_spool_series_left_out", 0.0),
    ] {
        assert_eq!(values.get(series), Some(&value), "{series}");
    }
    assert!(!values.keys().any(|series| series.contains("well") && series.contains("spool")));
}

#[test]
fn with_too_many_spools_in_trouble_those_furthest_behind_have_series() {
    let parts = parts();
    let clock: SharedClock = Arc::<TestClock>::clone(&parts.clock);
    for number in 0..=spools::MAX_TROUBLED {
        let ticket = let_in(&parts.hosts, &format!("n{number:04}"));
        let age = 1_000 + u64::try_from(number).unwrap();
        let spool = pb::SpoolStatus { oldest_unacknowledged_age_s: age, ..Default::default() };
        ticket.live.set_spool(spool, &clock);
    }
    let values = values(&parts.metrics);
    assert_eq!(values["rowcall_host_spool_series_left_out"], 1.0);
    let has = |host: &str| {
        values.contains_key(&format!("rowcall_host_spool_oldest_age_seconds{{host=\"{host}\"}}"))
    };
    assert!(has("n1000") && has("n0001") && !has("n0000"));
}
