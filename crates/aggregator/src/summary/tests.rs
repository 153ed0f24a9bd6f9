//! Rows by hand, and the parts and the whole that they make.

use rowcall_core::id::UnixMicros;

use std::time::Duration;

use prost::Message as _;
use rowcall_core::proto::v1 as pb;
use rowcall_store::reports::{
    Frame, HardwareRow, MemoryRow, PressureRow, RollRow, UnobservedCause, UnobservedRow, Wait,
    WindowState,
};

use super::{PARTS_WAITING, STALL, STALLED, Sink};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::parts::{Hardware, Memory, PART_HOSTS, hosts_in_part, merge};
use super::pressure::Pressure;
use super::roll::{Boots, Roll};

fn hardware(name: &str, cpus: Option<u32>) -> HardwareRow {
    HardwareRow {
        host_name: name.into(),
        cpu_number: cpus,
        total_mem_kib: Some(1),
        cpu_architecture: None,
        cpu_model: None,
        cpu_mhz: Some(2_400.0),
        l2_cache_kib: None,
        changed_at: UnixMicros(1_500_000),
    }
}

fn memory(name: &str, window: u32, used: f32) -> MemoryRow {
    let used_percent = Some(used);
    MemoryRow { host_name: name.into(), window, used_percent, unavailable_percent: None }
}

/// Three windows of 5 minutes from 1970 on.
fn frame() -> Frame {
    let to = UnixMicros(900_000_000);
    Frame { from: UnixMicros(0), to, window_s: 300, windows: 3, now: to, hosts: 0 }
}

fn rolled(rows: &[(&str, &[WindowState])]) -> Vec<pb::SummaryResponse> {
    rolled_without(Vec::new(), rows)
}

/// The same with times that nobody observed.
fn rolled_without(
    unobserved: Vec<UnobservedRow>,
    rows: &[(&str, &[WindowState])],
) -> Vec<pb::SummaryResponse> {
    let boots: Boots = [
        ("d-silent".to_owned(), vec![UnixMicros(301_000_000), UnixMicros(302_000_000)]),
        ("b-complete".to_owned(), vec![UnixMicros(1)]),
    ]
    .into();
    let mut roll = Roll::new(&frame(), unobserved, boots);
    for (name, states) in rows {
        for (window, state) in states.iter().enumerate() {
            roll.push(RollRow {
                host_name: (*name).into(),
                window: u32::try_from(window).unwrap(),
                state: *state,
                samples: 2,
                last_sample_at: Some(UnixMicros(0)),
            });
        }
    }
    roll.finish(2).collect()
}

#[test]
fn hosts_with_the_same_number_of_cpus_are_a_group_across_parts() {
    let mut builder = Hardware::default();
    let mut whole = pb::SummaryResponse::default();
    let mut parts = 0;
    for n in 0..1_200 {
        let cpus = if n < 1_100 { Some(8) } else { None };
        if let Some(part) = builder.push(hardware(&format!("n{n}"), cpus)) {
            parts += 1;
            merge(&mut whole, part);
        }
    }
    merge(&mut whole, builder.take().unwrap());
    assert_eq!(parts, 2);
    let groups = whole.hardware.unwrap().groups;
    let sizes: Vec<_> = groups.iter().map(|g| (g.cpu_number, g.hosts.len())).collect();
    assert_eq!(sizes, [(Some(8), 1_100), (None, 100)]);
    assert_eq!(groups[0].hosts[0].cpu_mhz, Some(2_400.0));
}

#[test]
fn windows_without_samples_are_nan() {
    let mut builder = Memory::new(3);
    assert!(builder.push(memory("a", 1, 40.0)).is_none());
    assert!(builder.push(memory("b", 0, 10.0)).is_none());
    let hosts = builder.take().unwrap().memory.unwrap().hosts;
    assert_eq!(hosts.len(), 2);
    let used = &hosts[0].used_percent;
    assert!(used[0].is_nan() && used[2].is_nan());
    assert!((used[1] - 40.0).abs() < f32::EPSILON);
    assert!(hosts[0].unavailable_percent.iter().all(|value| value.is_nan()));
    assert_eq!(hosts[0].unavailable_percent.len(), 3);
}

#[test]
fn parts_are_bounded_by_hosts_and_by_cells() {
    assert_eq!(hosts_in_part(12), PART_HOSTS);
    assert_eq!(hosts_in_part(1_000), 125);
    assert_eq!(hosts_in_part(100_000), 1);
    assert_eq!(hosts_in_part(1_000_000), 1);
}

#[test]
fn the_roll_puts_the_worst_first_and_leaves_complete_hosts_out() {
    use WindowState::{Complete, Late, NotJudged, Partial, Silent};
    let parts = rolled(&[
        ("a-late", &[Late, Late, NotJudged]),
        ("b-complete", &[Complete, Complete, NotJudged]),
        ("c-partial", &[Partial, Complete, NotJudged]),
        ("d-silent", &[Silent, Complete, NotJudged]),
        ("e-silent-partial", &[Silent, Partial, NotJudged]),
        ("f-silent", &[Silent, Complete, NotJudged]),
        ("g-not-judged", &[NotJudged, NotJudged, NotJudged]),
    ]);
    assert_eq!(parts.len(), 1);
    let roll = parts[0].roll.clone().unwrap();
    let names: Vec<_> = roll.incomplete.iter().map(|host| host.host_name.as_str()).collect();
    assert_eq!(names, ["e-silent-partial", "d-silent", "f-silent", "c-partial", "a-late"]);
    assert_eq!((roll.hosts, roll.complete_hosts, roll.finished_windows), (7, 1, 2));
    let booted = |at: usize| -> Vec<_> {
        roll.incomplete[at].booted_at.iter().map(|time| time.seconds).collect()
    };
    assert_eq!((booted(0), booted(1)), (vec![], vec![301, 302]));
    let totals = roll.totals.unwrap();
    assert_eq!((totals.complete, totals.silent, totals.partial, totals.late), (5, 3, 2, 2));
    assert_eq!(totals.not_judged, 9);
    let worst = &roll.incomplete[0];
    assert_eq!(worst.samples, [2, 2, 2]);
    let states: Vec<_> = worst.states().collect();
    use pb::WindowState as S;
    assert_eq!(states, [S::Silent, S::Partial, S::NotJudged]);
}

#[test]
fn what_nobody_observed_is_told_once_with_the_number_of_its_hosts() {
    use WindowState::{Complete, Excused, Late, NotJudged, Silent, Skewed, Unobserved};
    let hole = |from: i64, to: Option<i64>, cause| UnobservedRow {
        from: UnixMicros(from * 1_000_000),
        to: to.map(|to| UnixMicros(to * 1_000_000)),
        cause,
    };
    let parts = rolled_without(
        vec![
            // Agents come back within 2 minutes: until 300 and 600.
            hole(-500, Some(180), UnobservedCause::Stopped),
            hole(-500, Some(181), UnobservedCause::Stopped),
            hole(310, Some(480), UnobservedCause::Database),
            hole(800, None, UnobservedCause::Down),
        ],
        &[
            ("a", &[Unobserved, Unobserved, Complete]),
            ("b", &[Complete, Unobserved, Unobserved]),
            ("c", &[Late, Late, Complete]),
            ("d", &[Unobserved, Unobserved, Unobserved]),
            ("e", &[Unobserved, Silent, NotJudged]),
            ("f", &[Complete, Complete, Excused]),
            ("g", &[Skewed, Skewed, Complete]),
        ],
    );
    let roll = parts[0].roll.clone().unwrap();
    let hosts: Vec<_> = roll.unobserved.iter().map(|span| (span.cause(), span.hosts)).collect();
    use pb::UnobservedCause as C;
    assert_eq!(hosts, [(C::Stopped, 3), (C::Stopped, 4), (C::Database, 3), (C::Down, 2)]);
    assert!(roll.unobserved[0].to.is_some() && roll.unobserved[3].to.is_none());
    // Only what is the hosts' own.
    let names: Vec<_> = roll.incomplete.iter().map(|host| host.host_name.as_str()).collect();
    assert_eq!(names, ["e", "c", "f", "g"]);
    assert_eq!((roll.hosts, roll.complete_hosts), (7, 2));
    let totals = roll.totals.unwrap();
    assert_eq!((totals.unobserved, totals.excused, totals.skewed), (8, 1, 2));
    assert_eq!(totals.not_judged, 1);
}

#[test]
fn merged_parts_of_a_roll_keep_order_and_totals() {
    let names: Vec<_> = (0..1_100).map(|n| format!("n{n:04}")).collect();
    let silent: &[WindowState] = &[WindowState::Silent; 3];
    let rows: Vec<_> = names.iter().map(|name| (name.as_str(), silent)).collect();
    let hole = UnobservedRow { from: UnixMicros(0), to: None, cause: UnobservedCause::Down };
    let parts = rolled_without(vec![hole], &rows);
    assert_eq!(parts.len(), 3);
    assert!(parts[..2].iter().all(|part| part.roll.as_ref().unwrap().totals.is_none()));
    let mut ours = pb::SummaryResponse::default();
    let mut protobufs = pb::SummaryResponse::default();
    for part in parts {
        protobufs.merge(part.encode_to_vec().as_slice()).unwrap();
        merge(&mut ours, part);
    }
    assert_eq!(ours, protobufs);
    let roll = ours.roll.unwrap();
    assert_eq!((roll.hosts, roll.incomplete.len()), (1_100, 1_100));
    assert!(roll.incomplete.is_sorted_by(|a, b| a.host_name < b.host_name));
}

fn pressure(name: &str, waits_for: Option<Wait>) -> PressureRow {
    PressureRow {
        host_name: name.into(),
        waits_for,
        wait_percent: Some(4.5),
        cpu_some_percent: None,
        memory_some_percent: None,
        memory_full_percent: None,
        io_some_percent: Some(4.5),
        io_full_percent: None,
        iowait_percent: None,
        steal_percent: None,
        load_per_cpu: None,
        cpu_busy_max_percent: None,
        swapped_kib: None,
        oom_kills: Some(1),
        samples: 60,
    }
}

#[test]
fn hosts_under_pressure_keep_their_order_and_those_unknown_are_a_number() {
    let mut builder = Pressure::default();
    let mut ours = pb::SummaryResponse::default();
    let mut protobufs = pb::SummaryResponse::default();
    let mut parts = Vec::new();
    for n in 0..1_300 {
        let wait = if n < 1_100 { Some(Wait::Io) } else { None };
        parts.extend(builder.push(pressure(&format!("n{n:04}"), wait)));
    }
    parts.push(builder.finish());
    assert_eq!(parts.len(), 2);
    for part in parts {
        protobufs.merge(part.encode_to_vec().as_slice()).unwrap();
        merge(&mut ours, part);
    }
    assert_eq!(ours, protobufs);
    let report = ours.pressure.unwrap();
    assert_eq!((report.hosts.len(), report.further_hosts), (1_000, 100));
    assert_eq!(report.unknown_hosts, 200);
    assert!(report.hosts.is_sorted_by(|a, b| a.host_name < b.host_name));
    assert_eq!(report.hosts[0].waits_for(), pb::Wait::Io);
    assert_eq!((report.hosts[0].io_some_percent, report.hosts[0].oom_kills), (Some(4.5), Some(1)));
}

#[test]
fn each_number_of_a_host_under_pressure_has_its_own_field() {
    for (wait, on_wire) in [
        (Wait::Nothing, pb::Wait::Nothing),
        (Wait::Cpu, pb::Wait::Cpu),
        (Wait::Memory, pb::Wait::Memory),
        (Wait::Io, pb::Wait::Io),
    ] {
        let mut builder = Pressure::default();
        let row = PressureRow {
            host_name: "a".into(),
            waits_for: Some(wait),
            wait_percent: Some(1.0),
            cpu_some_percent: Some(2.0),
            memory_some_percent: Some(3.0),
            memory_full_percent: Some(4.0),
            io_some_percent: Some(5.0),
            io_full_percent: Some(6.0),
            iowait_percent: Some(7.0),
            steal_percent: Some(8.0),
            load_per_cpu: Some(9.0),
            cpu_busy_max_percent: Some(10.0),
            swapped_kib: Some(11),
            oom_kills: Some(12),
            samples: 13,
        };
        assert!(builder.push(row).is_none());
        let expected = pb::HostPressure {
            host_name: "a".into(),
            waits_for: on_wire.into(),
            wait_percent: Some(1.0),
            cpu_some_percent: Some(2.0),
            memory_some_percent: Some(3.0),
            memory_full_percent: Some(4.0),
            io_some_percent: Some(5.0),
            io_full_percent: Some(6.0),
            iowait_percent: Some(7.0),
            steal_percent: Some(8.0),
            load_per_cpu: Some(9.0),
            cpu_busy_max_percent: Some(10.0),
            swapped_kib: Some(11),
            oom_kills: Some(12),
            samples: 13,
        };
        assert_eq!(builder.finish().pressure.unwrap().hosts, [expected]);
    }
}

#[test]
fn an_empty_roll_still_has_its_totals() {
    let parts = rolled(&[]);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].roll.as_ref().unwrap().totals, Some(pb::RollTotals::default()));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_ends_its_report_after_10_seconds_with_the_reason() {
    let (sender, mut parts) = mpsc::channel(PARTS_WAITING);
    let mut sink = Sink::Parts(sender);
    for _ in 0..PARTS_WAITING {
        sink.put(pb::SummaryResponse::default()).await.unwrap();
    }
    let started = Instant::now();
    let put = sink.put(pb::SummaryResponse::default());
    let put = tokio::time::timeout(STALL * 60, put).await.expect("it waits for ever");
    let status = put.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(status.message(), STALLED);
    // A slow one gets it all.
    let (slow, taken) = tokio::join!(sink.put(pb::SummaryResponse::default()), async {
        tokio::time::sleep(STALL - Duration::from_millis(1)).await;
        parts.recv().await
    });
    assert!(slow.is_ok() && taken.is_some());
}
