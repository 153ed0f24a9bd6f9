//! What a pressure report looks like, and what else diagnostics add to a summary.

use clap::Parser as _;
use rowcall_proto::v1;

use super::samples::{answer, at, keep, shown};
use super::{Shown, render, request};
use crate::cli::{Cli, Command};
use crate::text::Screen;
use crate::text::tests::{plain, screen};

/// So many hosts that wait for nothing, after one that waits.
fn calm(hosts: usize) -> impl Fn(&mut v1::SummaryResponse) {
    move |answer| {
        keep(answer, v1::Report::Pressure);
        let report = answer.pressure.as_mut().unwrap();
        let host = report.hosts.pop().unwrap();
        report.hosts.truncate(1);
        report.hosts.extend(std::iter::repeat_n(host, hosts));
        (report.unknown_hosts, report.further_hosts) = (0, 0);
    }
}

#[test]
fn of_a_large_fleet_only_those_are_shown_that_wait() {
    let text = shown(&screen(), calm(9));
    assert_eq!(text.matches("big2.example.org").count(), 9, "{text}");
    let text = shown(&screen(), calm(1_000));
    assert!(!text.contains("big2"), "{text}");
    assert!(text.contains("1,000 further hosts waited for nothing"), "{text}");
    let mut answer = answer();
    calm(1_000)(&mut answer);
    let all = Shown { all: true, ..Shown::default() };
    let text = plain(&render(&answer, &v1::SummaryRequest::default(), all, &screen()));
    assert_eq!(text.matches("big2").count(), 1_000);
}

#[test]
fn columns_that_nobody_fills_or_no_line_holds_are_left_out() {
    let pressure = |answer: &mut v1::SummaryResponse| keep(answer, v1::Report::Pressure);
    let text = shown(&Screen { width: 110, ..screen() }, pressure);
    assert!(
        text.contains("MEM FULL   I/O  I/O FULL  IOWAIT  STEAL  LOAD  SWAPPED  OOM\n"),
        "{text}"
    );
    assert!(!text.contains("wider"), "{text}");
    let text = shown(&Screen { width: 60, ..screen() }, pressure);
    // But for the titles.
    let mut lines = text.lines().filter(|line| line.starts_with("  "));
    assert!(lines.all(|line| line.chars().count() <= 60), "{text}");
    assert!(text.contains("has LOAD, I/O FULL, MEM FULL,"), "{text}");
    let text = shown(&Screen { width: 100, ..screen() }, |answer| {
        pressure(answer);
        for host in &mut answer.pressure.as_mut().unwrap().hosts {
            (host.steal_percent, host.memory_full_percent) = (None, None);
        }
    });
    assert!(text.contains("MEM   I/O") && !text.contains("STEAL  "), "{text}");
}

/// A report of these hosts alone, on a screen that holds all columns.
fn of_hosts(hosts: &[v1::HostPressure]) -> String {
    shown(&Screen { width: 140, ..screen() }, |answer| {
        keep(answer, v1::Report::Pressure);
        let hosts = hosts.to_vec();
        answer.pressure = Some(v1::PressureReport { hosts, ..v1::PressureReport::default() });
    })
}

#[test]
fn what_is_swapped_comes_in_kib_and_is_shown_in_short() {
    let host = v1::HostPressure { swapped_kib: Some(20 << 10), ..v1::HostPressure::default() };
    let text = of_hosts(&[host]);
    assert!(text.contains(" 20M\n") && text.contains("K: 1,024 bytes."), "{text}");
}

#[test]
fn a_stand_in_is_named_only_where_the_kernel_tells_neither() {
    let words = "steal stands in for CPU";
    for (cpu, io, stands_in) in
        [(None, None, true), (Some(1.0), None, false), (None, Some(1.0), false)]
    {
        let host = v1::HostPressure {
            wait_percent: Some(2.0),
            cpu_some_percent: cpu,
            io_some_percent: io,
            ..v1::HostPressure::default()
        };
        let text = of_hosts(&[host]);
        assert_eq!(text.contains(words), stands_in, "{text}");
    }
}

#[test]
fn calm_hosts_are_shown_up_to_ten_hosts_and_counted_beyond() {
    let text = shown(&screen(), calm(10));
    assert!(!text.contains("big2"), "{text}");
    assert!(text.contains("10 further hosts waited for nothing"), "{text}");
    let calm = v1::HostPressure {
        waits_for: v1::Wait::Nothing.into(),
        wait_percent: Some(0.5),
        ..v1::HostPressure::default()
    };
    let text = of_hosts(&vec![calm; 11]);
    assert!(text.contains("  11 hosts waited for nothing") && !text.contains("HOST "), "{text}");
}

#[test]
fn each_number_of_a_host_has_its_own_name_in_json() {
    let mut answer = answer();
    keep(&mut answer, v1::Report::Pressure);
    answer.pressure.as_mut().unwrap().hosts = vec![v1::HostPressure {
        host_name: "a".to_owned(),
        waits_for: v1::Wait::Memory.into(),
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
    }];
    let text = super::json::render(&answer).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "host_name": "a", "waits_for": "memory", "wait_percent": 1.0, "cpu_some_percent": 2.0,
        "memory_some_percent": 3.0, "memory_full_percent": 4.0, "io_some_percent": 5.0,
        "io_full_percent": 6.0, "iowait_percent": 7.0, "steal_percent": 8.0, "load_per_cpu": 9.0,
        "cpu_busy_max_percent": 10.0, "swapped_kib": 11, "oom_kills": 12, "samples": 13,
    });
    assert_eq!(value["pressure"]["hosts"][0], expected);
}

#[test]
fn what_was_not_read_and_what_changed_are_called_so() {
    let finding = |kind: v1::IntegrityKind| v1::IntegrityFinding {
        host_name: "a".to_owned(),
        kind: kind.into(),
        ..v1::IntegrityFinding::default()
    };
    for (kind, words) in [
        (v1::IntegrityKind::NotRead, "  a     not read"),
        (v1::IntegrityKind::HardwareChanged, "  a     changed"),
    ] {
        let text = shown(&screen(), |answer| {
            keep(answer, v1::Report::Integrity);
            answer.integrity.as_mut().unwrap().findings = vec![finding(kind)];
        });
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_time_of_the_hardware_is_asked_for() {
    let line = ["rowcall", "summary", "--as-of", "2026-11-01T00:00:00Z"];
    let Command::Summary(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not a summary")
    };
    let now = "2026-11-22T16:00:00Z".parse().unwrap();
    let request = request(&args, now).unwrap();
    assert_eq!(request.hardware_as_of, at("2026-11-01T00:00:00Z"));
    assert_eq!((request.from, request.to), (None, None));
}
