//! The exposition: well formed, complete, and moving.

use std::collections::{BTreeMap, BTreeSet};

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;

use crate::rig::{Agent, PATIENCE, Rig, count, now};

/// Every family, with its type. The table in the documentation has the same.
const FAMILIES: [(&str, &str); 55] = [
    ("rowcall_accept_errors", "counter"),
    ("rowcall_access_checked_timestamp_seconds", "gauge"),
    ("rowcall_acknowledgement_duration_seconds", "histogram"),
    ("rowcall_build", "info"),
    ("rowcall_certificate_expiry_timestamp_seconds", "gauge"),
    ("rowcall_certificate_problem", "gauge"),
    ("rowcall_certificate_requests", "counter"),
    ("rowcall_certificate_requests_pending", "gauge"),
    ("rowcall_commit_duration_seconds", "histogram"),
    ("rowcall_commit_failures", "counter"),
    ("rowcall_connections", "gauge"),
    ("rowcall_database_up", "gauge"),
    ("rowcall_database_went_back", "counter"),
    ("rowcall_days_dropped", "counter"),
    ("rowcall_dead_man_calls", "counter"),
    ("rowcall_device_readings_committed", "counter"),
    ("rowcall_device_readings_expired", "counter"),
    ("rowcall_farewells_waiting", "gauge"),
    ("rowcall_gaps", "counter"),
    ("rowcall_handshakes", "counter"),
    ("rowcall_handshakes_in_flight", "gauge"),
    ("rowcall_host_last_seen_timestamp_seconds", "gauge"),
    ("rowcall_host_series_left_out", "gauge"),
    ("rowcall_host_spool_damaged_records", "gauge"),
    ("rowcall_host_spool_dropped_records", "gauge"),
    ("rowcall_host_spool_fault", "gauge"),
    ("rowcall_host_spool_oldest_age_seconds", "gauge"),
    ("rowcall_host_spool_records", "gauge"),
    ("rowcall_host_spool_series_left_out", "gauge"),
    ("rowcall_hosts", "gauge"),
    ("rowcall_last_commit_timestamp_seconds", "gauge"),
    ("rowcall_metrics_committed", "counter"),
    ("rowcall_pool_connections", "gauge"),
    ("rowcall_pool_limit_connections", "gauge"),
    ("rowcall_pool_waiting", "gauge"),
    ("rowcall_process_open_fds", "gauge"),
    ("rowcall_process_resident_memory_bytes", "gauge"),
    ("rowcall_process_start_time_seconds", "gauge"),
    ("rowcall_queue_limit_records", "gauge"),
    ("rowcall_queue_records", "gauge"),
    ("rowcall_records_given_up", "counter"),
    ("rowcall_refills", "counter"),
    ("rowcall_refused", "counter"),
    ("rowcall_samples_committed", "counter"),
    ("rowcall_samples_duplicate", "counter"),
    ("rowcall_samples_quarantined", "counter"),
    ("rowcall_samples_replayed", "counter"),
    ("rowcall_span_heartbeats", "counter"),
    ("rowcall_spool_bytes", "gauge"),
    ("rowcall_spool_damaged_records", "gauge"),
    ("rowcall_spool_dropped_records", "gauge"),
    ("rowcall_spool_faults", "gauge"),
    ("rowcall_spool_oldest_age_seconds", "gauge"),
    ("rowcall_spool_records", "gauge"),
    ("rowcall_streams_ended", "counter"),
];

/// What an exposition says.
struct Exposition {
    types: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Exposition {
    fn of(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("{series} is missing"))
    }
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Takes `{a="b",c="d"}` apart.
fn check_labels(labels: &str) -> bool {
    let Some(mut rest) = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}')) else {
        return false;
    };
    let mut seen = BTreeSet::new();
    loop {
        let Some((name, after)) = rest.split_once("=\"") else { return false };
        let mut escaped = false;
        let Some(end) = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        }) else {
            return false;
        };
        if !is_name(name) || !seen.insert(name.to_owned()) {
            return false;
        }
        match after.get(end + 1..) {
            Some("") => return true,
            Some(more) => match more.strip_prefix(',') {
                Some(more) => rest = more,
                None => return false,
            },
            None => return false,
        }
    }
}

/// A strict reader of OpenMetrics' text: every family is announced by HELP and TYPE, stands in one
/// piece, and has only the samples that its type allows.
fn parse(text: &str) -> Exposition {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    let (mut types, mut values) = (BTreeMap::new(), BTreeMap::new());
    let mut helped = String::new();
    let mut family = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("HELP has a text");
            assert!(is_name(name) && !help.trim().is_empty(), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "HELP and TYPE belong together");
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            family = name.to_owned();
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            let labels = series.strip_prefix(name).unwrap();
            assert!(labels.is_empty() || check_labels(labels), "{line}");
            let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
            let allowed: &[&str] = match types[&family].as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                _ => &["_sum", "_count", "_bucket"],
            };
            assert!(allowed.contains(&suffix), "{line}: not of a {}", types[&family]);
            assert!(types[&family] == "gauge" || value >= 0.0, "{line}");
            assert!(values.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    for (name, _) in types.iter().filter(|(_, kind)| *kind == "histogram") {
        let of = |suffix: &str| values[&format!("{name}{suffix}")];
        let infinite = of("_bucket{le=\"+Inf\"}");
        assert_eq!(of("_count"), infinite, "{name}");
    }
    Exposition { types, values }
}

async fn scrape(rig: &Rig) -> Exposition {
    let (status, text) = rig.get("/metrics").await;
    assert_eq!(status, 200);
    parse(&text)
}

#[tokio::test]
async fn every_documented_family_is_there_and_nothing_else() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    let found = scrape(&rig).await.types;
    let expected: BTreeMap<_, _> =
        FAMILIES.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_day_past_retention_is_dropped_at_the_start_and_counted() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let old = pb::Record {
        due_ticks: 0,
        sequence: 1,
        time_unix_us: now() - 20 * 86_400 * 1_000_000,
        body: Some(pb::record::Body::Sample(pb::Sample::default())),
    };
    agent.batch(vec![old]).await;
    agent.acknowledged(1).await;
    drop(agent);
    rig.stop().await.unwrap();
    let rows = "SELECT count(*) FROM host_usage";
    assert_eq!(count(&database, rows).await, 1);
    let rig = Rig::start_with(&database.url(), |config| {
        config.retention = std::time::Duration::from_secs(7 * 86_400);
    })
    .await;
    wait_for("the day to be dropped", PATIENCE, || async {
        let dropped = scrape(&rig).await.of("rowcall_days_dropped_total{reason=\"age\"}");
        (dropped >= 1.0).then_some(())
    })
    .await;
    assert_eq!(count(&database, rows).await, 0);
}

#[tokio::test]
async fn figures_move_with_what_happens() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let before = scrape(&rig).await;
    assert_eq!(before.of("rowcall_samples_committed_total"), 0.0);
    assert_eq!(before.of("rowcall_database_up"), 1.0);
    assert_eq!(before.of("rowcall_pool_limit_connections{pool=\"ingest\"}"), 7.0);
    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=3).await;
    agent.acknowledged(3).await;
    let future = now() + 3_600 * 1_000_000;
    let sample = |time_unix_us| pb::Record {
        due_ticks: 0,
        sequence: 4,
        time_unix_us,
        body: Some(pb::record::Body::Sample(pb::Sample::default())),
    };
    agent.batch(vec![sample(future)]).await;
    agent.acknowledged(4).await;
    let refused = Agent::try_open(rig.channel("viewer", "eve").await).await;
    assert!(refused.is_err());
    let after = scrape(&rig).await;
    for (series, least) in [
        ("rowcall_samples_committed_total", 3.0),
        ("rowcall_samples_quarantined_total", 1.0),
        ("rowcall_commit_duration_seconds_count", 2.0),
        ("rowcall_acknowledgement_duration_seconds_count", 2.0),
        ("rowcall_hosts{state=\"live\"}", 1.0),
        ("rowcall_handshakes_total{listener=\"stream\",result=\"accepted\"}", 2.0),
        ("rowcall_connections{role=\"agent\"}", 1.0),
        ("rowcall_refused_total{reason=\"role\"}", 1.0),
        ("rowcall_pool_connections{pool=\"ingest\",state=\"idle\"}", 1.0),
    ] {
        assert!(after.of(series) >= least, "{series}: {}", after.of(series));
    }
    let seconds = f64::from(u32::try_from(now() / 1_000_000).unwrap());
    for series in [
        "rowcall_host_last_seen_timestamp_seconds{host=\"node1\"}",
        "rowcall_last_commit_timestamp_seconds",
        "rowcall_process_start_time_seconds",
    ] {
        assert!((after.of(series) - seconds).abs() < 3_600.0, "{series}: {}", after.of(series));
    }
    for which in ["server", "client_ca"] {
        let series =
            format!("rowcall_certificate_expiry_timestamp_seconds{{certificate=\"{which}\"}}");
        assert!(after.of(&series) > seconds, "{series}");
    }
    drop(agent);
    wait_for("the host to be gone", PATIENCE, || async {
        (scrape(&rig).await.of("rowcall_hosts{state=\"gone\"}") == 1.0).then_some(())
    })
    .await;
}
