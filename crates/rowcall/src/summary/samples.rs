//! An answer made by hand, and what it must look like.

use jiff::Timestamp;
use rowcall_proto::v1::{self, WindowState};

use super::render;
use crate::text::Screen;
use crate::text::tests::{plain, screen};

fn at(text: &str) -> Option<prost_types::Timestamp> {
    let at: Timestamp = text.parse().unwrap();
    Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
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
    let roll = |name: &str, letters: &str, last: Option<&str>| v1::RollHost {
        host_name: name.to_owned(),
        states: letters
            .chars()
            .map(|letter| match letter {
                'C' => WindowState::Complete.into(),
                'S' => WindowState::Silent.into(),
                'P' => WindowState::Partial.into(),
                'L' => WindowState::Late.into(),
                _ => i32::from(WindowState::NotJudged),
            })
            .collect(),
        samples: vec![10; letters.len()],
        last_sample_at: last.and_then(at),
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
    };
    v1::SummaryResponse {
        from: at("2026-11-22T15:00:00Z"),
        to: at("2026-11-22T16:00:00Z"),
        window_s: 600,
        generated_at: at("2026-11-22T16:03:12.345Z"),
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
                roll("big2.example.org", "..PCLC", Some("2026-11-22T15:40:01Z")),
            ],
            complete_hosts: 2,
            hosts: 4,
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
        }),
    }
}

/// As it looks; `only` empties the reports that a test is not about.
fn shown(screen: &Screen, only: impl Fn(&mut v1::SummaryResponse)) -> String {
    let mut answer = answer();
    only(&mut answer);
    plain(&render(&answer, &v1::SummaryRequest::default(), screen))
}

#[test]
fn everything_in_utc() {
    let text = shown(&screen(), |_| ());
    insta::assert_snapshot!(text);
}
