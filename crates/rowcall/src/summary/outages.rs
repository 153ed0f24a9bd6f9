//! What an outage looks like: of the aggregator, of the database, of hosts that said so.

use rowcall_proto::v1::{self, UnobservedCause};

use super::samples::{answer, at, keep, roll};
use super::{Shown, json, render};
use crate::text::tests::{plain, screen};

fn span(from: &str, to: Option<&str>, cause: UnobservedCause, hosts: u32) -> v1::UnobservedSpan {
    v1::UnobservedSpan { from: at(from), to: to.and_then(at), cause: cause.into(), hosts }
}

/// An hour in windows of 10 minutes with two outages, the second one not over.
fn outages() -> v1::SummaryResponse {
    let mut answer = answer();
    keep(&mut answer, v1::Report::Roll);
    let last = Some("2026-11-22T15:49:31Z");
    let report = answer.roll.as_mut().unwrap();
    report.unobserved = vec![
        span("2026-11-22T15:11:00Z", Some("2026-11-22T15:20:00Z"), UnobservedCause::Database, 0),
        span("2026-11-22T15:50:00Z", None, UnobservedCause::Stopped, 1_000),
    ];
    report.incomplete = vec![
        roll("node7", "CLSSSU", Some("2026-11-22T15:19:31Z")),
        roll("node3", "CLKKCU", last),
        roll("node9", "CLEECU", last),
        roll("node1", "CLCCCU", last),
        roll("node2", "CLCCCU", last),
        roll("odd", "CLCLCU", last),
    ];
    report.hosts = 1_000;
    report.complete_hosts = 994;
    report.totals = Some(v1::RollTotals {
        complete: 4_983,
        silent: 3,
        late: 7,
        unobserved: 1_000,
        excused: 2,
        skewed: 2,
        ..v1::RollTotals::default()
    });
    answer
}

fn shown(answer: &v1::SummaryResponse, all: bool) -> String {
    let shown = Shown { all, ..Shown::default() };
    plain(&render(answer, &v1::SummaryRequest::default(), shown, &screen()))
}

#[test]
fn an_outage_is_one_line_with_its_cause_and_no_line_for_each_host() {
    let text = shown(&outages(), false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
    let text = shown(&outages(), true);
    assert!(text.contains("\n  node1 ") && !text.contains("--all"), "{text}");
}

#[test]
fn a_fleet_that_nobody_observed_at_all_is_not_called_complete() {
    let mut answer = outages();
    let report = answer.roll.as_mut().unwrap();
    report.incomplete.clear();
    report.complete_hosts = 0;
    report.totals = Some(v1::RollTotals { unobserved: 6_000, ..v1::RollTotals::default() });
    let text = shown(&answer, false);
    assert!(!text.contains("answered in every window"), "{text}");
    assert!(text.ends_with("  6,000 windows of 1,000 hosts: 6,000 unobserved\n"), "{text}");
    report_complete(&mut answer, 1_000);
    let words = "All 1,000 hosts answered in every window that was observed since they joined.";
    assert!(shown(&answer, false).contains(words));
    report_complete(&mut answer, 900);
    let text = shown(&answer, false).replace("\n ", "");
    assert!(text.contains("joined too late to judge, or nobody observed them."), "{text}");
}

fn report_complete(answer: &mut v1::SummaryResponse, hosts: u32) {
    let report = answer.roll.as_mut().unwrap();
    report.complete_hosts = hosts;
    report.totals.as_mut().unwrap().complete = u64::from(hosts) * 4;
}

#[test]
fn of_many_outages_the_last_ones_are_shown() {
    let mut answer = outages();
    let report = answer.roll.as_mut().unwrap();
    report.unobserved = vec![report.unobserved[0]; 21];
    let text = shown(&answer, false);
    assert_eq!(text.matches("0 of 1,000  database\n").count(), 20);
    assert!(text.contains("  1 more before; a shorter time shows them."), "{text}");
}

#[test]
fn json_has_outages_states_and_the_ledger() {
    let mut whole = answer();
    whole.roll = outages().roll;
    let text = json::render(&whole).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let roll = &value["roll"];
    assert_eq!(roll["unobserved"][0]["cause"], "database");
    assert_eq!(roll["unobserved"][0]["to"], "2026-11-22T15:20:00Z");
    assert!(roll["unobserved"][1]["to"].is_null());
    assert_eq!(roll["unobserved"][1]["hosts"], 1_000);
    assert_eq!(roll["totals"]["skewed"], 2);
    assert_eq!(roll["incomplete"][1]["states"][2], "skewed");
    assert_eq!(roll["incomplete"][2]["states"][2], "excused");
    let integrity = &value["integrity"];
    assert_eq!(integrity["ledger_totals"]["due"], 41_312);
    assert_eq!(integrity["ledger"][0]["spool_epoch"], "4611686018427387905");
    assert_eq!(integrity["ledger"][0]["counts"]["dropped"], 312);
}

#[test]
fn the_ledger_shows_the_worst_spools_and_names_a_wrong_sum() {
    let mut answer = answer();
    keep(&mut answer, v1::Report::Integrity);
    let report = answer.integrity.as_mut().unwrap();
    report.findings.clear();
    report.total_findings = 0;
    let line = report.ledger[0].clone();
    let counts = |spooled: u64, dropped: u64, unbalanced_epochs: u64| v1::Ledger {
        due: 1_000,
        spooled,
        dropped,
        unbalanced_epochs,
        epochs: 1,
        ..v1::Ledger::default()
    };
    report.ledger = vec![
        v1::HostLedger { counts: Some(counts(0, 0, 1)), ..line.clone() },
        // A sample or two on their way are nothing to look at.
        v1::HostLedger { counts: Some(counts(2, 0, 0)), host_name: "well".into(), ..line },
    ];
    let old = v1::HostLedger { closed_at: at("2026-11-22T15:00:00Z"), ..line };
    report.ledger.extend(vec![v1::HostLedger { counts: Some(counts(3, 1, 0)), ..old }; 12]);
    report.ledger_totals.as_mut().unwrap().unbalanced_epochs = 1;
    let text = shown(&answer, false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}
