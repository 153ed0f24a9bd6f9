//! Summary and StreamSummary over real rows.

use prost::Message as _;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use tonic::Code;

use crate::rig::Rig;

/// 2026-01-05 00:00:00 UTC.
const MIDNIGHT: i64 = 1_767_571_200;

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Hosts n0000 and on, with 4 or 8 CPUs and nothing sent.
async fn hosts(database: &Database, hosts: i32) {
    let client = database.connect().await.unwrap();
    client
        .execute(
            "INSERT INTO host_info (hostname, cpu_number, total_mem, \"timestamp\") \
             SELECT 'n' || lpad(i::text, 4, '0'), 4 + 4 * (i % 2), 1000, now() \
             FROM generate_series(1, $1) i",
            &[&hosts],
        )
        .await
        .unwrap();
}

async fn merged(rig: &Rig, request: pb::SummaryRequest) -> (pb::SummaryResponse, usize) {
    let request = pb::StreamSummaryRequest { request: Some(request) };
    let mut parts = rig.summary().await.stream_summary(request).await.unwrap().into_inner();
    let (mut whole, mut count) = (pb::SummaryResponse::default(), 0);
    while let Some(part) = parts.message().await.unwrap() {
        count += 1;
        // As a client of any language would.
        whole.merge(part.part.unwrap().encode_to_vec().as_slice()).unwrap();
    }
    (whole, count)
}

/// What stands apart: the time of the report, and groups that parts cut.
fn comparable(mut response: pb::SummaryResponse) -> Vec<u8> {
    response.generated_at = None;
    if let Some(hardware) = &mut response.hardware {
        let mut groups: Vec<pb::HardwareGroup> = Vec::new();
        for group in std::mem::take(&mut hardware.groups) {
            match groups.last_mut() {
                Some(last) if last.cpu_number == group.cpu_number => last.hosts.extend(group.hosts),
                _ => groups.push(group),
            }
        }
        hardware.groups = groups;
    }
    // Encoded, since NaN is not equal to itself.
    response.encode_to_vec()
}

#[tokio::test]
async fn merged_parts_are_the_summary() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    hosts(&database, 1_100).await;
    let (mut agent, _) = rig.connected("with-samples", 1).await;
    agent.samples(1..=300).await;
    agent.acknowledged(300).await;
    let request = pb::SummaryRequest {
        from: time(crate::rig::now() / 1_000_000 - 3_600),
        to: time(crate::rig::now() / 1_000_000),
        ..Default::default()
    };
    let whole = rig.summary().await.summary(request.clone()).await.unwrap().into_inner();
    let hardware = whole.hardware.clone().unwrap();
    assert_eq!(hardware.groups.iter().map(|g| g.hosts.len()).sum::<usize>(), 1_101);
    assert_eq!(hardware.groups[0].cpu_number, Some(8));
    let memory = whole.memory.clone().unwrap();
    assert_eq!(memory.hosts.len(), 1);
    assert!(memory.hosts[0].used_percent.iter().any(|used| (used - 75.0).abs() < 0.1));
    assert!(memory.hosts[0].used_percent.iter().any(|used| used.is_nan()));
    assert_eq!(whole.roll.clone().unwrap().hosts, 1_101);
    assert!(!whole.balance.clone().unwrap().windows.is_empty());
    assert!(whole.integrity.is_some());
    let (parts, count) = merged(&rig, request).await;
    assert!(count > 3, "{count} parts");
    assert_eq!(comparable(parts), comparable(whole));
}

/// The worst an hour can look like: every host named at length, none complete.
#[tokio::test]
async fn ten_thousand_hosts_over_an_hour_fit_one_answer() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let hour = crate::rig::now() / 3_600_000_000 - 1;
    let rows = format!(
        "INSERT INTO host_info (hostname, cpu_number, cpu_architecture, cpu_model, cpu_mhz,
                                l2_cache, total_mem)
         SELECT 'node-' || lpad(i::text, 5, '0') || '.rack-' || i % 40 || '.example.com', 8, 'x86_64',
                'Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz', 3900, 1024, 263921484
         FROM generate_series(1, 10000) i;
         INSERT INTO host_latest (host_id, \"timestamp\", joined_at)
         SELECT id, now(), '2000-01-01+00' FROM host_info;
         INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s, cpu_idle,
                                 memory_free, memory_available)
         SELECT to_timestamp({hour} * 3600 + w * 300 + 7), id, w + 1, 0, 0.1, 50 + id % 40,
                100000 + id, 150000 + id
         FROM host_info, generate_series(0, 11) w;
         INSERT INTO host_vitals (\"timestamp\", host_id, cpu_iowait, cpu_steal, cpu_busy_max, load_1,
                                  swap_in_kib, swap_out_kib, oom_kills, pressure_cpu_some,
                                  pressure_memory_some, pressure_memory_full, pressure_io_some,
                                  pressure_io_full, net_rx_bytes, net_tx_bytes, disk_busy)
         SELECT \"timestamp\", host_id, 1.5, 0.5, 99, 3.5, 1000000, 1000000, 200, 20, 30, 10,
                host_id % 100, 20, 1000000, 1000000, 50
         FROM host_usage;
         INSERT INTO host_boot (host_id, boot_id, booted_at, seen_at)
         SELECT id, 'x', to_timestamp({hour} * 3600 + 300), now() FROM host_info;
         ANALYZE"
    );
    database.connect().await.unwrap().batch_execute(&rows).await.unwrap();
    let request = pb::SummaryRequest {
        from: time(hour * 3_600),
        to: time((hour + 1) * 3_600),
        ..Default::default()
    };
    // The client takes 4 MiB, as all do by default.
    let whole = rig.summary().await.summary(request).await.unwrap().into_inner();
    let roll = whole.roll.unwrap();
    assert_eq!((roll.hosts, roll.incomplete.len()), (10_000, 10_000));
    assert_eq!(roll.totals.unwrap().partial, 120_000);
    let memory = whole.memory.unwrap();
    assert_eq!(memory.hosts.len(), 10_000);
    assert!(memory.hosts.iter().all(|host| host.used_percent.len() == 12));
    assert!(roll.incomplete.iter().all(|host| host.booted_at.len() == 1));
    let pressure = whole.pressure.unwrap();
    assert_eq!((pressure.hosts.len(), pressure.further_hosts), (1_000, 9_000));
    assert!(pressure.hosts.is_sorted_by(|a, b| a.wait_percent >= b.wait_percent));
}

#[tokio::test]
async fn only_the_reports_named_are_present_and_empty_ones_too() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let request = pb::SummaryRequest {
        reports: vec![pb::Report::Roll.into(), pb::Report::Memory.into()],
        from: time(MIDNIGHT),
        to: time(MIDNIGHT + 3_600),
        ..Default::default()
    };
    let whole = rig.summary().await.summary(request.clone()).await.unwrap().into_inner();
    assert!(whole.hardware.is_none() && whole.balance.is_none() && whole.integrity.is_none());
    assert_eq!(whole.memory, Some(pb::MemoryReport::default()));
    let roll = whole.roll.clone().unwrap();
    assert_eq!((roll.finished_windows, roll.hosts), (12, 0));
    assert_eq!((whole.from, whole.window_s), (time(MIDNIGHT), 300));
    assert_eq!(comparable(merged(&rig, request).await.0), comparable(whole));
}

#[tokio::test]
async fn too_many_cells_name_the_call_that_serves_them() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    hosts(&database, 300).await;
    // 300 hosts x 1,000 windows.
    let request = pb::SummaryRequest {
        reports: vec![pb::Report::Roll.into()],
        from: time(MIDNIGHT),
        to: time(MIDNIGHT + 1_000),
        window_s: Some(1),
        ..Default::default()
    };
    let status = rig.summary().await.summary(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("300000 cells"), "{status}");
    assert!(status.message().contains("rowcall.v1.SummaryService/StreamSummary"), "{status}");
    let roll = merged(&rig, request).await.0.roll.unwrap();
    assert_eq!((roll.hosts, roll.totals.unwrap().not_judged), (300, 300_000));
}

#[tokio::test]
async fn an_answer_over_4_mib_names_the_call_that_serves_it() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "INSERT INTO host_info (hostname, cpu_model, \"timestamp\") \
             SELECT repeat('x', 200) || i, repeat('m', 250), now() FROM generate_series(1, 10000) i",
        )
        .await
        .unwrap();
    let request =
        pb::SummaryRequest { reports: vec![pb::Report::Hardware.into()], ..Default::default() };
    let status = rig.summary().await.summary(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("rowcall.v1.SummaryService/StreamSummary"), "{status}");
    let groups = merged(&rig, request).await.0.hardware.unwrap().groups;
    assert_eq!(groups.iter().map(|group| group.hosts.len()).sum::<usize>(), 10_000);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_invalid_with_a_reason() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let glob = pb::HostSelector { name_glob: "\0".into(), ..Default::default() };
    for (request, reason) in [
        (pb::SummaryRequest { reports: vec![42], ..Default::default() }, "42 is no report"),
        (pb::SummaryRequest { window_s: Some(0), ..Default::default() }, "window of 0 s"),
        (
            pb::SummaryRequest { from: time(9), to: time(3), ..Default::default() },
            "ends before it starts",
        ),
        (pb::SummaryRequest { hosts: Some(glob), ..Default::default() }, "zero byte"),
    ] {
        let status = rig.summary().await.summary(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
}

#[tokio::test]
async fn a_report_that_outlasts_the_statement_time_out_says_so_and_what_to_do() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.statement_timeout = std::time::Duration::from_millis(500);
        config.pool_wait = config.statement_timeout;
    })
    .await;
    assert!(rig.handle.ready().await);
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_info IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut summary = rig.summary().await;
    let request = pb::SummaryRequest::default();
    let status = summary.summary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("ask for fewer hosts or a shorter range"), "{status}");
    lock.rollback().await.unwrap();
}
