//! Names, texts and numbers that no honest host sends.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use tonic::Code;

use crate::rig::{Rig, count, hello};

#[tokio::test]
async fn names_that_no_host_has_are_refused_with_what_is_wrong() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    for (name, reason) in [
        ("", "host name is empty"),
        ("a b", "host name contains ' ', only a-z, 0-9, '.', '_' and '-' are allowed"),
        ("node1\n", "host name contains '\\n'"),
        ("node1\0", "host name contains '\\0'"),
        ("Robert'); DROP TABLE host_info;--", "host name contains '\\''"),
        ("<script>", "host name contains '<'"),
        ("\u{202e}1edon", "host name contains '\\u{202e}'"),
        (&"x".repeat(64 * 1024), "host name has 65536 bytes, at most 253 are allowed"),
    ] {
        let mut agent = rig.agent("node1").await;
        agent.hello(hello(name, 1)).await;
        let status = agent.refused().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with(&format!("Hello: {reason}")), "{status}");
    }
    assert_eq!(count(&database, "SELECT count(*) FROM host_info").await, 0);
}

#[tokio::test]
async fn harmful_text_is_stored_clean_and_short() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let mut agent = rig.agent("node1").await;
    let harmful = "\u{1b}[31m\0Robert'); DROP TABLE host_info;--\r\n<script>\u{202e}\u{2066}\"";
    let clean = "[31mRobert'); DROP TABLE host_info;--<script>\"";
    agent
        .hello(pb::Hello {
            agent_version: harmful.into(),
            machine_id: harmful.into(),
            boot_id: "x".repeat(64 * 1024),
            host_info: Some(pb::HostInfo {
                cpu_model: Some(harmful.into()),
                cpu_architecture: Some("é".repeat(32 * 1024)),
                cpu_mhz: Some(f64::NAN),
                cpu_number: Some(u32::MAX),
                l2_cache_kib: Some(u64::MAX),
                // 24 TiB.
                total_mem_kib: Some(24 << 30),
                ..Default::default()
            }),
            ..hello("node1", 1)
        })
        .await;
    agent.welcome().await;
    let client = database.connect().await.unwrap();
    let row = client
        .query_one(
            "SELECT cpu_model, octet_length(cpu_architecture), cpu_mhz IS NULL, cpu_number IS NULL, \
                    l2_cache IS NULL, total_mem::int8 FROM host_info",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), clean);
    assert_eq!(row.get::<_, i32>(1), 256);
    assert!(row.get::<_, bool>(2) && row.get::<_, bool>(3) && row.get::<_, bool>(4));
    assert_eq!(row.get::<_, i64>(5), 24 << 30);
    assert_eq!(rig.status().await.connected[0].agent_version, clean);
}

#[tokio::test]
async fn numbers_that_cannot_be_are_null_and_their_neighbours_are_stored() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let now = crate::rig::now();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, -0.0];
    let records = (0..)
        .zip(odd)
        .map(|(n, odd)| pb::Record {
            due_ticks: 0,
            sequence: n + 1,
            time_unix_us: now - 1_000_000 * i64::try_from(n).unwrap(),
            body: Some(pb::record::Body::Sample(pb::Sample {
                elapsed_us: Some(u64::MAX),
                uptime_us: Some(u64::MAX),
                memory_free_kib: Some(u64::MAX),
                // 24 TiB.
                memory_available_kib: Some(24 << 30),
                cpu_idle_percent: Some(odd),
                cpu_kernel_percent: Some(-6_400.0),
                disk_io: Some(u64::MAX),
                disk_available_kib: Some(1 << 20),
                clock_shift_us: Some(i64::MIN),
                vitals: None,
            })),
        })
        .collect();
    agent.batch(records).await;
    agent.acknowledged(6).await;
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 6);
    let stored = "SELECT count(*) FROM host_usage WHERE memory_free IS NULL AND disk_io IS NULL \
                  AND memory_available = 24 * 1024 * 1024 AND disk_available = 1024 \
                  AND cpu_kernel = -6400";
    assert_eq!(count(&database, stored).await, 6);
    let unreadable = "SELECT count(*) FROM host_usage WHERE cpu_idle IS NULL";
    assert_eq!(count(&database, unreadable).await, 4, "NaN, both infinities, more than a real");
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage WHERE cpu_idle = 'NaN'").await, 0);
}

#[tokio::test]
async fn times_that_cannot_be_are_put_aside_acknowledged_counted_and_told_in_the_report() {
    const MINUTE: i64 = 60_000_000;
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let now = crate::rig::now();
    let times = [
        now - 2 * MINUTE,
        // 1970.
        0,
        // 2100.
        4_102_444_800_000_000,
        now + 11 * MINUTE,
        // The default retention is 30 days.
        now - 31 * 1_440 * MINUTE,
        i64::MIN,
        i64::MAX,
        now,
    ];
    let records = (1..)
        .zip(times)
        .map(|(sequence, time_unix_us)| pb::Record {
            due_ticks: 0,
            sequence,
            time_unix_us,
            body: Some(pb::record::Body::Sample(pb::Sample::default())),
        })
        .collect();
    agent.batch(records).await;
    agent.acknowledged(8).await;
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 2);
    assert_eq!(rig.status().await.quarantined_samples, 6);
    let seconds = |micros: i64| {
        Some(prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos: 0 })
    };
    let request = pb::SummaryRequest {
        from: seconds(now - 10 * MINUTE),
        to: seconds(now + 10 * MINUTE),
        reports: vec![pb::Report::Integrity.into()],
        ..Default::default()
    };
    let answer = rig.summary().await.summary(request).await.unwrap().into_inner();
    let mut told: Vec<_> = answer
        .integrity
        .unwrap()
        .findings
        .into_iter()
        .filter(|finding| finding.kind() == pb::IntegrityKind::Quarantined)
        .map(|finding| (finding.host_name, finding.samples, finding.detail))
        .collect();
    told.sort();
    let finding = |reason: &str| ("node1".to_owned(), 3, reason.to_owned());
    assert_eq!(
        told,
        [
            finding("timestamp is more than 10 minutes in the future"),
            finding("timestamp is older than retention"),
        ]
    );
}
