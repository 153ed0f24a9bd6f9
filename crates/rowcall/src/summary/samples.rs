//! An answer made by hand, and what it must look like.

use jiff::Timestamp;
use rowcall_proto::v1::{self, WindowState};

use super::{Shown, render};
use crate::text::Screen;
use crate::text::tests::{plain, screen};

pub(super) fn at(text: &str) -> Option<prost_types::Timestamp> {
    let at: Timestamp = text.parse().unwrap();
    Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

/// A host of the roll, its windows by their letters.
pub(super) fn roll(name: &str, letters: &str, last: Option<&str>) -> v1::RollHost {
    v1::RollHost {
        host_name: name.to_owned(),
        states: letters
            .chars()
            .map(|letter| match letter {
                'C' => WindowState::Complete.into(),
                'S' => WindowState::Silent.into(),
                'P' => WindowState::Partial.into(),
                'L' => WindowState::Late.into(),
                'U' => WindowState::Unobserved.into(),
                'E' => WindowState::Excused.into(),
                'K' => WindowState::Skewed.into(),
                _ => i32::from(WindowState::NotJudged),
            })
            .collect(),
        samples: vec![10; letters.len()],
        last_sample_at: last.and_then(at),
        booted_at: Vec::new(),
    }
}

/// Four hosts over an hour in windows of 10 minutes.
pub(super) fn answer() -> v1::SummaryResponse {
    let host = |name: &str, mem: Option<u64>| v1::HardwareHost {
        host_name: name.to_owned(),
        total_mem_kib: mem,
        cpu_architecture: Some("x86_64".to_owned()),
        cpu_model: Some("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz".to_owned()),
        cpu_mhz: Some(3300.0),
        l2_cache_kib: Some(256),
        changed_at: at("2026-11-01T08:00:00Z"),
    };
    let unknown = v1::HardwareHost { host_name: "odd".to_owned(), ..v1::HardwareHost::default() };
    let memory = |name: &str, used: [f32; 6]| v1::MemoryHost {
        host_name: name.to_owned(),
        used_percent: used.to_vec(),
        unavailable_percent: used.iter().map(|value| value / 2.0).collect(),
    };
    let spread = |mean: f32| v1::Spread {
        mean: Some(mean),
        standard_deviation: Some(10.0),
        min: Some(5.0),
        max: Some(100.0),
        coefficient_of_variation: Some(10.0 / mean),
        weighted_mean: Some(mean + 1.0),
        weighted_standard_deviation: None,
    };
    let window = |start: &str, mean: f32| v1::BalanceWindow {
        start: at(start),
        hosts: 3,
        cpu_busy_percent: Some(spread(mean)),
        memory_used_percent: Some(spread(mean / 2.0)),
        net_bytes_per_s: Some(spread(mean * 250_000.0)),
        disk_busy_percent: None,
    };
    let waits = |name: &str, wait, percent| v1::HostPressure {
        host_name: name.to_owned(),
        waits_for: v1::Wait::into(wait),
        wait_percent: Some(percent),
        cpu_some_percent: Some(3.25),
        memory_some_percent: Some(0.0),
        memory_full_percent: Some(0.0),
        io_some_percent: Some(percent),
        io_full_percent: Some(percent / 2.0),
        iowait_percent: Some(21.0),
        steal_percent: Some(0.1),
        load_per_cpu: Some(1.5),
        cpu_busy_max_percent: Some(99.0),
        swapped_kib: Some(20 << 10),
        oom_kills: Some(0),
        samples: 60,
    };
    let old_kernel = v1::HostPressure {
        cpu_some_percent: None,
        memory_some_percent: None,
        memory_full_percent: None,
        io_some_percent: None,
        io_full_percent: None,
        ..waits("odd", v1::Wait::Cpu, 12.0)
    };
    v1::SummaryResponse {
        from: at("2026-11-22T15:00:00Z"),
        to: at("2026-11-22T16:00:00Z"),
        window_s: 600,
        generated_at: at("2026-11-22T16:03:12.345Z"),
        pressure: Some(v1::PressureReport {
            hosts: vec![
                v1::HostPressure { oom_kills: Some(2), ..waits("big1", v1::Wait::Io, 45.5) },
                old_kernel,
                waits("big2.example.org", v1::Wait::Nothing, 0.4),
            ],
            unknown_hosts: 1,
            further_hosts: 9_000,
        }),
        hardware: Some(v1::HardwareReport {
            groups: vec![
                v1::HardwareGroup {
                    cpu_number: Some(56),
                    hosts: vec![
                        host("big1", Some(264_000_000)),
                        host("big2.example.org", Some(132_000_000)),
                    ],
                },
                v1::HardwareGroup { cpu_number: None, hosts: vec![unknown] },
            ],
        }),
        memory: Some(v1::MemoryReport {
            hosts: vec![
                memory("big1", [10.0, 20.0, 30.0, 40.0, 50.0, 90.0]),
                memory("big2.example.org", [f32::NAN, f32::NAN, 55.0, 55.5, f32::NAN, f32::NAN]),
                memory("odd", [f32::NAN; 6]),
            ],
        }),
        roll: Some(v1::RollReport {
            finished_windows: 6,
            totals: Some(v1::RollTotals {
                complete: 14,
                silent: 6,
                partial: 1,
                late: 1,
                not_judged: 2,
                ..v1::RollTotals::default()
            }),
            incomplete: vec![
                roll("odd", "SSSSSS", None),
                v1::RollHost {
                    booted_at: at("2026-11-22T15:21:30Z").into_iter().collect(),
                    ..roll("big2.example.org", "..PCLC", Some("2026-11-22T15:40:01Z"))
                },
            ],
            complete_hosts: 2,
            hosts: 4,
            unobserved: Vec::new(),
        }),
        balance: Some(v1::BalanceReport {
            windows: vec![
                window("2026-11-22T15:00:00Z", 40.0),
                window("2026-11-22T15:10:00Z", 50.0),
            ],
        }),
        integrity: Some(v1::IntegrityReport {
            findings: vec![v1::IntegrityFinding {
                host_name: "big1".to_owned(),
                kind: v1::IntegrityKind::Dropped.into(),
                samples: 312,
                from: at("2026-11-22T15:00:00Z"),
                to: at("2026-11-22T15:10:00Z"),
                detail: "312 samples dropped: the queue was full".to_owned(),
            }],
            total_findings: 2,
            ledger_totals: Some(v1::Ledger {
                due: 41_312,
                committed: 40_998,
                spooled: 2,
                dropped: 312,
                duplicates: 4,
                epochs: 4,
                ..v1::Ledger::default()
            }),
            ledger: vec![v1::HostLedger {
                host_name: "big1".to_owned(),
                spool_epoch: (1 << 62) + 1,
                opened_at: at("2026-11-01T08:00:00Z"),
                closed_at: None,
                counts: Some(v1::Ledger {
                    due: 10_312,
                    committed: 9_998,
                    spooled: 2,
                    dropped: 312,
                    epochs: 1,
                    ..v1::Ledger::default()
                }),
            }],
        }),
    }
}

/// As it looks; `only` empties the reports that a test is not about.
pub(super) fn shown(screen: &Screen, only: impl Fn(&mut v1::SummaryResponse)) -> String {
    let mut answer = answer();
    only(&mut answer);
    plain(&render(&answer, &v1::SummaryRequest::default(), Shown::default(), screen))
}

/// Only this report.
pub(super) fn keep(answer: &mut v1::SummaryResponse, report: v1::Report) {
    let all = std::mem::take(answer);
    *answer = v1::SummaryResponse {
        from: all.from,
        to: all.to,
        window_s: all.window_s,
        generated_at: all.generated_at,
        ..v1::SummaryResponse::default()
    };
    match report {
        v1::Report::Hardware => answer.hardware = all.hardware,
        v1::Report::Memory => answer.memory = all.memory,
        v1::Report::Roll => answer.roll = all.roll,
        v1::Report::Balance => answer.balance = all.balance,
        v1::Report::Pressure => answer.pressure = all.pressure,
        _ => answer.integrity = all.integrity,
    }
}

#[test]
fn everything_in_utc_at_80_columns() {
    let text = shown(&screen(), |_| ());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn everything_in_another_zone_with_ascii() {
    let zone = jiff::tz::TimeZone::get("America/St_Johns").unwrap();
    let text = shown(&Screen { width: 100, unicode: false, zone }, |_| ());
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn long_ranges_fold_into_the_line() {
    let text = shown(&screen(), |answer| {
        keep(answer, v1::Report::Roll);
        for host in &mut answer.roll.as_mut().unwrap().incomplete {
            host.states = vec![WindowState::Complete.into(); 288];
            host.states[100] = WindowState::Silent.into();
        }
    });
    assert!(text.contains("  CCCCCSCCCCCCCCC\n"), "{text}");
    assert!(text.contains("one letter per 20 windows, the worst of them"), "{text}");
}

#[test]
fn a_fleet_whose_first_window_is_open_is_told_when_it_ends() {
    let not_yet = |answer: &mut v1::SummaryResponse| {
        let totals = v1::RollTotals { not_judged: 48, ..v1::RollTotals::default() };
        answer.memory.as_mut().unwrap().hosts.clear();
        answer.roll =
            Some(v1::RollReport { hosts: 4, totals: Some(totals), ..v1::RollReport::default() });
        answer.balance = Some(v1::BalanceReport::default());
        answer.pressure = Some(v1::PressureReport::default());
        answer.integrity = Some(v1::IntegrityReport::default());
    };
    insta::assert_snapshot!(shown(&screen(), not_yet));
}

#[test]
fn a_fleet_without_hosts_is_told_how_they_join() {
    let empty = |answer: &mut v1::SummaryResponse| {
        answer.hardware = Some(v1::HardwareReport::default());
        keep(answer, v1::Report::Hardware);
    };
    let text = shown(&screen(), empty);
    assert!(text.contains("No host has joined yet. A host joins with its agent's first"), "{text}");

    let mut answer = answer();
    empty(&mut answer);
    let hosts = v1::HostSelector { name_glob: "x*".to_owned(), ..v1::HostSelector::default() };
    let request = v1::SummaryRequest { hosts: Some(hosts), ..v1::SummaryRequest::default() };
    let text = plain(&render(&answer, &request, Shown::default(), &screen()));
    assert!(text.contains("No host matches --select and --name."), "{text}");
}

#[test]
fn a_complete_roll_is_one_sentence() {
    let text = shown(&screen(), |answer| {
        keep(answer, v1::Report::Roll);
        let roll = answer.roll.as_mut().unwrap();
        roll.incomplete.clear();
        roll.complete_hosts = 4;
        roll.totals = Some(v1::RollTotals { complete: 24, ..v1::RollTotals::default() });
    });
    assert!(text.contains("  All 4 hosts answered in every window since they joined.\n"), "{text}");
    assert!(text.contains("  24 windows of 4 hosts: 24 complete\n"), "{text}");
}

#[test]
fn hosts_too_new_to_judge_are_not_called_complete() {
    let text = shown(&screen(), |answer| {
        keep(answer, v1::Report::Roll);
        let roll = answer.roll.as_mut().unwrap();
        roll.incomplete.clear();
        roll.complete_hosts = 3;
        roll.totals = Some(v1::RollTotals { complete: 18, ..v1::RollTotals::default() });
    });
    assert!(
        text.contains("3 hosts of 4 answered in every window; the others joined too"),
        "{text}"
    );
}

#[test]
fn text_from_hosts_cannot_send_escape_sequences() {
    let mut answer = answer();
    let evil = "\x1b]0;owned\x07";
    answer.hardware.as_mut().unwrap().groups[0].hosts[0].cpu_model = Some(evil.to_owned());
    answer.integrity.as_mut().unwrap().findings[0].detail = evil.to_owned();
    let text = render(&answer, &v1::SummaryRequest::default(), Shown::default(), &screen());
    assert!(!text.contains("\x1b]") && text.contains("?]0;owned?"), "{text}");
}

#[test]
fn json_has_the_contracts_names_and_null_for_what_is_missing() {
    let mut answer = answer();
    let balance = answer.balance.take();
    let text = super::json::render(&answer).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["from"], "2026-11-22T15:00:00Z");
    assert_eq!(value["generated_at"], "2026-11-22T16:03:12.345Z");
    assert_eq!(value["hardware"]["groups"][0]["cpu_number"], 56);
    assert!(value["hardware"]["groups"][1]["hosts"][0]["total_mem_kib"].is_null());
    assert!(value["memory"]["hosts"][1]["used_percent"][0].is_null());
    assert_eq!(value["memory"]["hosts"][1]["used_percent"][3], 55.5);
    assert_eq!(value["roll"]["totals"]["silent"], 6);
    assert_eq!(value["roll"]["incomplete"][1]["states"][0], "not_judged");
    assert_eq!(value["integrity"]["findings"][0]["kind"], "dropped");
    assert!(value.get("balance").is_none());
    assert_eq!(value["roll"]["incomplete"][1]["booted_at"][0], "2026-11-22T15:21:30Z");
    let pressure = &value["pressure"];
    assert_eq!(
        (&pressure["hosts"][0]["waits_for"], &pressure["unknown_hosts"]),
        (&"io".into(), &1.into())
    );
    assert_eq!(pressure["hosts"][0]["io_some_percent"], 45.5);
    assert!(pressure["hosts"][1]["cpu_some_percent"].is_null());
    answer.balance = balance;
    let value: serde_json::Value =
        serde_json::from_str(&super::json::render(&answer).unwrap()).unwrap();
    assert_eq!(value["balance"]["windows"][0]["net_bytes_per_s"]["mean"], 1e7);
    assert!(value["balance"]["windows"][0]["disk_busy_percent"].is_null());
}

/// Three days in windows of 5 minutes, which one is least even known.
fn three_days() -> v1::SummaryResponse {
    let mut answer = answer();
    keep(&mut answer, v1::Report::Balance);
    let first: Timestamp = "2026-11-19T16:00:00Z".parse().unwrap();
    let windows = &mut answer.balance.as_mut().unwrap().windows;
    let pattern = windows[0];
    windows.clear();
    for number in 0..864_u16 {
        let mut window = pattern;
        let start = first.as_second() + i64::from(number) * 300;
        window.start = Some(prost_types::Timestamp { seconds: start, nanos: 0 });
        let spread = window.cpu_busy_percent.as_mut().unwrap();
        spread.standard_deviation = Some(if number == 100 { 44.0 } else { 10.0 });
        windows.push(window);
    }
    answer
}

#[test]
fn of_many_windows_the_least_even_ones_are_shown_under_a_line_over_all() {
    let text = plain(&render(
        &three_days(),
        &v1::SummaryRequest::default(),
        Shown::default(),
        &Screen { width: 100, ..screen() },
    ));
    insta::assert_snapshot!(text);
    let all = Shown { all: true, ..Shown::default() };
    let text = plain(&render(&three_days(), &v1::SummaryRequest::default(), all, &screen()));
    assert_eq!(text.lines().filter(|line| line.starts_with("  2026-")).count(), 3 * 864);
    assert!(!text.contains("--all"), "{text}");
}

#[test]
fn a_selector_that_no_host_matches_is_said_by_every_report() {
    let hosts = v1::HostSelector { name_glob: "x*".to_owned(), ..v1::HostSelector::default() };
    let request = v1::SummaryRequest { hosts: Some(hosts), ..v1::SummaryRequest::default() };
    let empty = |with_roll: bool| v1::SummaryResponse {
        hardware: with_roll.then(v1::HardwareReport::default),
        memory: Some(v1::MemoryReport::default()),
        roll: with_roll.then(v1::RollReport::default),
        balance: Some(v1::BalanceReport::default()),
        integrity: Some(v1::IntegrityReport::default()),
        window_s: 600,
        ..v1::SummaryResponse::default()
    };
    let shown = |answer: &v1::SummaryResponse, no_match| {
        plain(&render(answer, &request, Shown { no_match, all: false }, &screen()))
    };
    let said = |text: &str| text.matches("No host matches --select and --name.").count();
    assert_eq!(said(&shown(&empty(true), false)), 5);
    assert_eq!(said(&shown(&empty(false), true)), 3);
    // Hosts match, or nobody knows: then it is the samples that are missing.
    let text = shown(&empty(false), false);
    assert_eq!(text.matches("No sample of the hosts selected in this time.").count(), 2, "{text}");
    assert!(text.contains("everything adds up"), "{text}");
}

#[test]
fn absurd_values_keep_the_tables_narrow() {
    let text = shown(&screen(), |answer| {
        let host = &mut answer.hardware.as_mut().unwrap().groups[0].hosts[0];
        host.cpu_mhz = Some(f32::MAX);
        host.total_mem_kib = Some(u64::MAX);
        host.cpu_architecture = Some("x".repeat(64 * 1024));
        answer.memory.as_mut().unwrap().hosts[0].used_percent[0] = f32::INFINITY;
        let window = &mut answer.balance.as_mut().unwrap().windows[0];
        let spread = window.cpu_busy_percent.as_mut().unwrap();
        spread.max = Some(f32::MAX);
        spread.min = Some(f32::NEG_INFINITY);
    });
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(!text.contains("inf"), "{text}");
}

#[test]
fn a_footnote_stands_only_where_something_needs_it() {
    let wide = Screen { width: 130, ..screen() };
    let text = shown(&wide, |_| ());
    assert_eq!(text.matches("K: 1,024 bytes.").count(), 2, "{text}");
    assert!(!text.contains("A wider terminal"), "{text}");
    let text = shown(&wide, |answer| {
        for window in &mut answer.balance.as_mut().unwrap().windows {
            for value in window.net_bytes_per_s.iter_mut() {
                (value.mean, value.weighted_mean, value.max) = (Some(3.0), Some(3.0), Some(9.0));
            }
        }
        for host in &mut answer.pressure.as_mut().unwrap().hosts {
            host.swapped_kib = Some(0);
        }
    });
    assert!(!text.contains("K: 1,024 bytes."), "{text}");
    let text = shown(&screen(), |answer| keep(answer, v1::Report::Hardware));
    assert!(text.contains("also has CHANGED."), "{text}");
}

#[test]
fn the_hardware_of_another_time_says_so() {
    let request = v1::SummaryRequest {
        hardware_as_of: at("2026-11-01T00:00:00Z"),
        ..v1::SummaryRequest::default()
    };
    let mut answer = answer();
    keep(&mut answer, v1::Report::Hardware);
    let text = plain(&render(&answer, &request, Shown::default(), &screen()));
    assert!(text.contains("most memory first, as of 2026-11-01T00:00:00Z\n"), "{text}");
    answer.hardware = Some(v1::HardwareReport::default());
    let text = plain(&render(&answer, &request, Shown::default(), &screen()));
    assert!(text.contains("No host was known then."), "{text}");
}

#[test]
fn many_reboots_of_a_host_are_a_number_and_the_newest() {
    let text = shown(&screen(), |answer| {
        keep(answer, v1::Report::Roll);
        let host = &mut answer.roll.as_mut().unwrap().incomplete[0];
        host.booted_at =
            (0..5).filter_map(|minute| at(&format!("2026-11-22T15:0{minute}:00Z"))).collect();
    });
    let line = "rebooted 3 times before, 2026-11-22T15:03:00Z, 2026-11-22T15:04:00Z\n";
    assert!(text.contains(line), "{text}");
}
