//! Vitals, devices and metrics: from an agent's frames to rows, and to the reports.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;

use crate::rig::{Agent, Rig, count, hello, now};

/// 2 minutes, in microseconds.
const TWO_MINUTES: i64 = 120_000_000;

fn sample(sequence: u64, time: i64, vitals: Option<pb::Vitals>) -> pb::Record {
    let sample = pb::Sample {
        elapsed_us: Some(60_000_000),
        uptime_us: Some(7_200_000_000),
        memory_free_kib: Some(2 << 20),
        cpu_idle_percent: Some(90.0),
        vitals: vitals.map(Box::new),
        ..Default::default()
    };
    record(sequence, time, pb::record::Body::Sample(sample))
}

fn record(sequence: u64, time: i64, body: pb::record::Body) -> pb::Record {
    pb::Record { due_ticks: 0, sequence, time_unix_us: time, body: Some(body) }
}

/// A minute in which tasks waited for I/O.
fn waiting(percent: f32) -> pb::Vitals {
    pb::Vitals {
        cpu_iowait_percent: Some(35.5),
        load_1: Some(6.0),
        forks: Some(120),
        memory_slab_kib: Some(64 << 10),
        oom_kills: Some(2),
        pressure_cpu_some_percent: Some(1.5),
        pressure_memory_some_percent: Some(0.0),
        pressure_io_some_percent: Some(percent),
        pressure_io_full_percent: Some(percent / 2.0),
        disk_busy_percent: Some(80.0),
        net_rx_bytes: Some(6_000_000),
        net_tx_bytes: Some(600_000),
        // NaN is no number that a column holds.
        cpu_steal_percent: Some(f32::NAN),
        clock_offset_us: Some(-2_500_000),
        ..Default::default()
    }
}

fn devices(reads: u64) -> pb::Devices {
    pb::Devices {
        filesystems: vec![pb::Filesystem {
            mount: "/".into(),
            source: "/dev/vda1".into(),
            r#type: "ext4".into(),
            read_only: true,
            size_kib: Some(1 << 20),
            available_kib: Some(1 << 10),
            ..Default::default()
        }],
        disks: vec![pb::Disk {
            name: "vda".into(),
            counted_since: u32::MAX,
            reads,
            ..Default::default()
        }],
        interfaces: vec![pb::Interface {
            name: "eth0\u{1b}".into(),
            rx_bytes: 1 << 50,
            speed_mbit: Some(10_000),
            ..Default::default()
        }],
        sensors: vec![pb::Sensor {
            name: "acpitz".into(),
            temperature_mc: -5_500,
            critical_mc: None,
        }],
        cgroups: vec![pb::Cgroup { name: "system.slice".into(), ..Default::default() }],
        processes: vec![pb::Process {
            command: "postgres".into(),
            pid: 7,
            cpu_percent: Some(399.5),
            ..Default::default()
        }],
        metrics: vec![metric("node_reboot_required", &[("why", "kernel")])],
        skipped: vec![pb::Skipped {
            collector: "filesystems".into(),
            item: "/mnt/nfs".into(),
            reason: pb::SkipReason::Hung.into(),
            count: 1,
        }],
        ..Default::default()
    }
}

fn metric(name: &str, labels: &[(&str, &str)]) -> pb::Metric {
    let label = |(name, value): &(&str, &str)| pb::MetricLabel {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    pb::Metric { name: name.into(), labels: labels.iter().map(label).collect(), value: 1.0 }
}

fn told(sequence: u64, time: i64, devices: pb::Devices) -> pb::Record {
    record(sequence, time, pb::record::Body::Devices(devices.into()))
}

/// Rows of everything that an agent's records become.
async fn rows(database: &Database) -> [i64; 5] {
    let mut rows = [0; 5];
    let tables =
        ["host_usage", "host_vitals", "rowcall.device_sample", "host_metric", "host_device"];
    for (rows, table) in rows.iter_mut().zip(tables) {
        *rows = count(database, &format!("SELECT count(*) FROM {table}")).await;
    }
    rows
}

async fn report(rig: &Rig, request: pb::SummaryRequest) -> pb::SummaryResponse {
    let now = now();
    let time = |micros: i64| {
        Some(prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos: 0 })
    };
    let (from, to) = (time(now - 3_600_000_000), time(now + 300_000_000));
    let request = pb::SummaryRequest { from, to, ..request };
    rig.summary().await.summary(request).await.unwrap().into_inner()
}

fn only(report: pb::Report) -> pb::SummaryRequest {
    pb::SummaryRequest { reports: vec![report.into()], ..Default::default() }
}

#[tokio::test]
async fn vitals_devices_and_metrics_become_rows_and_a_replay_adds_nothing() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let at = now() - TWO_MINUTES;
    let records = vec![
        sample(1, at, Some(waiting(40.0))),
        told(2, at + 1, devices(500)),
        // Another part of the same reading.
        told(
            3,
            at + 2,
            pb::Devices { metrics: vec![metric("x_total", &[])], ..Default::default() },
        ),
        sample(4, at + 60_000_000, Some(waiting(60.0))),
    ];
    agent.batch(records.clone()).await;
    let before = now();
    let clock = agent.acknowledged(4).await;
    assert!((before..=now()).contains(&clock), "the Ack tells the time: {clock}");
    let stored = rows(&database).await;
    assert_eq!(stored[..4], [2, 2, 2, 2]);
    for (what, query) in [
        (
            "vitals",
            "SELECT count(*) FROM host_vitals WHERE cpu_iowait = 35.5 AND cpu_steal IS NULL AND forks = 120 \
             AND memory_slab = 64 AND uptime_s = 7200 AND clock_offset_s = -2.5 AND net_rx_bytes = 6000000",
        ),
        (
            "filesystem",
            "SELECT count(*) * 2 FROM host_filesystem WHERE hostname = 'node1' AND mount = '/' AND type = 'ext4' \
             AND read_only AND size_kib = 1048576 AND inodes IS NULL",
        ),
        ("disk", "SELECT count(*) * 2 FROM host_disk WHERE name = 'vda' AND reads = 500"),
        (
            "interface",
            "SELECT count(*) * 2 FROM host_interface WHERE name = 'eth0' AND rx_bytes = 1::int8 << 50",
        ),
        (
            "process",
            "SELECT count(*) * 2 FROM host_process WHERE command = 'postgres' AND cpu_percent BETWEEN 399 AND 400",
        ),
        (
            "skipped",
            "SELECT count(*) * 2 FROM host_skipped WHERE item = '/mnt/nfs' AND reason = 'hung'",
        ),
        (
            "metric",
            "SELECT count(*) * 2 FROM host_metric WHERE labels = '{\"why\": \"kernel\"}' AND value = 1",
        ),
    ] {
        assert_eq!(count(&database, query).await, 2, "{what}");
    }
    // The same again, as after a lost acknowledgement.
    drop(agent);
    let mut again = rig.agent("node1").await;
    again.hello(pb::Hello { next_sequence: 5, ..hello("node1", 1) }).await;
    again.welcome().await;
    again.batch(records).await;
    again.acknowledged(4).await;
    assert_eq!(rows(&database).await, stored);
    rig.metrics_until("what was committed", |text| {
        ["device_readings_committed", "metrics_committed", "samples_committed"]
            .iter()
            .all(|name| text.contains(&format!("rowcall_{name}_total 2\n")))
    })
    .await;
}

#[tokio::test]
async fn a_viewer_sees_what_hosts_wait_for_and_how_network_and_disks_spread() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let at = now() - TWO_MINUTES;
    for (name, percent) in [("busy", 40.0), ("busier", 60.0), ("calm", 0.25)] {
        let (mut agent, _) = rig.connected(name, 1).await;
        agent.batch(vec![sample(1, at, Some(waiting(percent)))]).await;
        agent.acknowledged(1).await;
    }
    // An older agent: no vitals at all.
    let (mut older, _) = rig.connected("older", 1).await;
    older.batch(vec![sample(1, at, None)]).await;
    older.acknowledged(1).await;
    assert_eq!(rows(&database).await[..2], [4, 3]);
    let answer = report(&rig, only(pb::Report::Pressure)).await;
    let pressure = answer.pressure.unwrap();
    assert_eq!(pressure.unknown_hosts, 1);
    let told: Vec<_> = pressure
        .hosts
        .iter()
        .map(|host| (host.host_name.as_str(), host.waits_for(), host.wait_percent.unwrap()))
        .collect();
    use pb::Wait::{Cpu, Io};
    assert_eq!(told, [("busier", Io, 60.0), ("busy", Io, 40.0), ("calm", Cpu, 1.5)]);
    let worst = &pressure.hosts[0];
    assert_eq!((worst.io_full_percent, worst.iowait_percent), (Some(30.0), Some(35.5)));
    // 4 CPUs.
    assert_eq!((worst.load_per_cpu, worst.oom_kills, worst.samples), (Some(1.5), Some(2), 1));
    assert!(answer.roll.is_none() && answer.integrity.is_none());
    let balance = report(&rig, only(pb::Report::Balance)).await.balance.unwrap();
    let window = balance.windows.iter().find(|window| window.hosts == 4).unwrap();
    assert_eq!(window.net_bytes_per_s.unwrap().mean, Some(110_000.0));
    assert_eq!(window.disk_busy_percent.unwrap().max, Some(80.0));
    let all = report(&rig, pb::SummaryRequest::default()).await;
    assert!(all.pressure.is_some(), "no report named means all of them");
}

#[tokio::test]
async fn a_new_disk_and_a_reboot_are_told_by_the_reports_and_the_host() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let at = now() - TWO_MINUTES;
    let facts = |boot: &str, booted: i64, disks: &[&str]| pb::HostInfo {
        cpu_number: Some(4),
        boot_id: Some(boot.to_owned()),
        booted_unix_us: Some(booted),
        disks: Some(pb::DiskList {
            disks: disks
                .iter()
                .map(|name| pb::DiskFacts { name: (*name).to_owned(), ..Default::default() })
                .collect(),
        }),
        ..Default::default()
    };
    let mut agent = rig.agent("node1").await;
    let info = Some(facts("first", at - TWO_MINUTES, &["vda"]));
    agent.hello(pb::Hello { boot_id: "first".into(), host_info: info, ..hello("node1", 1) }).await;
    agent.welcome().await;
    let info = facts("second", at, &["vda", "vdb"]);
    let changed = record(1, at + 1_000_000, pb::record::Body::HostInfo(info.into()));
    agent.batch(vec![changed, told(2, at + 2_000_000, devices(1))]).await;
    agent.acknowledged(2).await;
    let mut admin = rig.admin("viewer").await;
    let mut get = async |include_history| {
        let request = pb::GetHostRequest { host_name: "node1".into(), include_history };
        admin.get_host(request).await.unwrap().into_inner()
    };
    let plain = get(false).await;
    assert!(plain.history.is_empty() && plain.boots.is_empty());
    let answer = get(true).await;
    let disks: Vec<_> = answer
        .history
        .iter()
        .map(|row| row.host_info.as_ref().unwrap().disks.as_ref().unwrap().disks.len())
        .collect();
    assert!(disks.contains(&1) && disks.contains(&2), "{:?}", answer.history);
    assert_eq!(answer.history.first().unwrap().valid_to, None);
    assert_eq!(answer.history.last().unwrap().valid_from, None);
    let mut boots: Vec<_> = answer.boots.iter().map(|boot| boot.boot_id.as_str()).collect();
    boots.sort_unstable();
    assert_eq!(boots, ["first", "second"]);
    let integrity = report(&rig, only(pb::Report::Integrity)).await.integrity.unwrap();
    let kinds: Vec<_> = integrity.findings.iter().map(pb::IntegrityFinding::kind).collect();
    assert!(kinds.contains(&pb::IntegrityKind::HardwareChanged), "{kinds:?}");
    let hung =
        integrity.findings.iter().find(|finding| finding.kind() == pb::IntegrityKind::NotRead);
    assert!(hung.unwrap().detail.contains("/mnt/nfs"), "{hung:?}");
    let before = pb::SummaryRequest {
        hardware_as_of: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        ..only(pb::Report::Hardware)
    };
    let groups = report(&rig, before).await.hardware.unwrap().groups;
    assert!(groups.is_empty(), "it had not joined then");
}

#[tokio::test]
async fn a_hostile_reading_is_bounded_and_its_neighbours_are_stored() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let at = now() - TWO_MINUTES;
    let crumbs = pb::Devices {
        cgroups: (0..5_000)
            .map(|n| pb::Cgroup { name: format!("{n}"), ..Default::default() })
            .collect(),
        sensors: (0..5_000)
            .map(|n| pb::Sensor { name: format!("{n}"), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let long = "x".repeat(250);
    let odd = pb::Devices {
        disks: vec![pb::Disk { name: "vda".into(), reads: u64::MAX, ..Default::default() }],
        filesystems: vec![pb::Filesystem { mount: "\0\n".into(), ..Default::default() }],
        metrics: vec![
            metric("no-name", &[]),
            metric("a", &[("b", "Robert'); DROP TABLE host_metric;--\0")]),
            metric(
                "too_long",
                &[("a", &*long), ("b", &*long), ("c", &*long), ("d", &*long), ("e", &*long)],
            ),
            pb::Metric { value: f64::NAN, ..metric("nan", &[]) },
            // Of two that are the same, one is stored.
            metric("twice", &[]),
            metric("twice", &[]),
        ],
        processes: vec![pb::Process {
            command: "x\u{202e}y".into(),
            cpu_percent: Some(f32::MAX),
            memory_kib: Some(u64::MAX),
            ..Default::default()
        }],
        ..Default::default()
    };
    agent
        .batch(vec![
            sample(1, at, None),
            told(2, at + 1, crumbs),
            told(3, at + 2, odd),
            told(4, at + 3, pb::Devices::default()),
            sample(5, at + 4, Some(waiting(1.0))),
        ])
        .await;
    agent.acknowledged(5).await;
    assert_eq!(rows(&database).await[..2], [2, 1]);
    assert_eq!(count(&database, "SELECT count(*) FROM host_cgroup").await, 64);
    assert_eq!(count(&database, "SELECT count(*) FROM host_sensor").await, 256);
    assert_eq!(count(&database, "SELECT count(*) FROM host_disk").await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM host_filesystem").await, 0);
    let process = "SELECT count(*) FROM host_process WHERE command = 'xy' AND memory_mib IS NULL";
    assert_eq!(count(&database, process).await, 1);
    let names = "SELECT count(*) FROM host_metric WHERE name IN ('a', 'twice')";
    assert_eq!(count(&database, names).await, 2);
    assert_eq!(count(&database, "SELECT count(*) FROM host_metric").await, 2);
    assert_eq!(rig.status().await.quarantined_samples, 0);
}

/// A stream of readings whose devices have new names each time.
#[tokio::test]
async fn names_that_are_always_new_do_not_grow_the_table_of_devices_without_end() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let at = now() - TWO_MINUTES;
    for sequence in 1..=4 {
        let interfaces = (0..1_024)
            .map(|n| pb::Interface { name: format!("veth{sequence}-{n}"), ..Default::default() })
            .collect();
        let time = at + i64::try_from(sequence).unwrap();
        send(&mut agent, told(sequence, time, pb::Devices { interfaces, ..Default::default() }))
            .await;
    }
    // The one beyond them stands for all others.
    assert!(rows(&database).await[4] <= 2_001, "{:?}", rows(&database).await);
    assert_eq!(count(&database, "SELECT count(*) FROM rowcall.device_sample").await, 4);
}

async fn send(agent: &mut Agent, record: pb::Record) {
    let sequence = record.sequence;
    agent.batch(vec![record]).await;
    agent.acknowledged(sequence).await;
}
