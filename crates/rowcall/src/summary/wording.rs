//! What reports say of a time, of hosts and of numbers that are not what they look like.

use rowcall_proto::v1;

use super::samples::{answer, at, keep, shown};
use super::{Shown, render};
use crate::text::tests::{plain, screen};

#[test]
fn hardware_alone_is_told_without_a_range() {
    let text = shown(&screen(), |answer| keep(answer, v1::Report::Hardware));
    assert!(text.starts_with("HARDWARE  hosts by number of CPUs"), "{text}");
    let text = shown(&screen(), |answer| {
        let hardware = answer.hardware.clone();
        keep(answer, v1::Report::Memory);
        answer.hardware = hardware;
    });
    assert!(text.starts_with("2026-11-22T15:00:00Z to "), "{text}");
}

#[test]
fn a_selection_that_was_not_known_then_is_not_called_one_that_matches_nothing() {
    let hosts = v1::HostSelector { name_glob: "x*".to_owned(), ..v1::HostSelector::default() };
    let request = v1::SummaryRequest {
        hardware_as_of: at("2026-11-01T00:00:00Z"),
        hosts: Some(hosts),
        ..v1::SummaryRequest::default()
    };
    let hardware = Some(v1::HardwareReport::default());
    let answer = v1::SummaryResponse { hardware, ..v1::SummaryResponse::default() };
    let text = plain(&render(&answer, &request, Shown::default(), &screen()));
    assert!(text.contains("No host that matches --select and --name was known then."), "{text}");
}

#[test]
fn nobody_is_told_to_wait_for_windows_of_a_time_long_past() {
    let not_judged = |answer: &mut v1::SummaryResponse| {
        keep(answer, v1::Report::Roll);
        let totals = v1::RollTotals { not_judged: 24, ..v1::RollTotals::default() };
        answer.roll =
            Some(v1::RollReport { hosts: 4, totals: Some(totals), ..v1::RollReport::default() });
    };
    let text = shown(&screen(), not_judged);
    assert!(text.contains("No window can be judged yet"), "{text}");
    assert!(text.contains("The window that is open now ends at"), "{text}");
    let text = shown(&screen(), |answer| {
        not_judged(answer);
        answer.generated_at = at("2026-11-24T16:03:12Z");
    });
    assert!(text.contains("No window of this time can be judged"), "{text}");
    assert!(!text.contains("now ends at") && !text.contains("Sooner"), "{text}");
}

#[test]
fn whose_network_and_disk_is_balanced_is_said_where_they_are() {
    let said = "HOSTS: with samples; network and disk are of those whose agents tell of them.";
    let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = flat(shown(&screen(), |answer| keep(answer, v1::Report::Balance)));
    assert!(text.contains(said), "{text}");
    let text = flat(shown(&screen(), |answer| {
        keep(answer, v1::Report::Balance);
        for window in &mut answer.balance.as_mut().unwrap().windows {
            window.net_bytes_per_s = None;
        }
    }));
    assert!(!text.contains("HOSTS: with"), "{text}");
}

#[test]
fn readings_that_lack_something_are_not_counted_as_samples() {
    let mut answer = answer();
    keep(&mut answer, v1::Report::Integrity);
    let finding = v1::IntegrityFinding {
        kind: v1::IntegrityKind::NotRead.into(),
        samples: 15,
        detail: "metrics /srv: cannot be read or understood".to_owned(),
        ..answer.integrity.as_ref().unwrap().findings[0].clone()
    };
    answer.integrity.as_mut().unwrap().findings = vec![finding];
    let request = v1::SummaryRequest::default();
    let text = plain(&render(&answer, &request, Shown::default(), &screen()));
    assert!(text.contains("big1  not read        -  2026-"), "{text}");
    assert!(
        text.contains("metrics /srv: cannot be read or understood, in 15 readings\n"),
        "{text}"
    );
}

#[test]
fn a_finding_that_does_not_fit_ends_at_a_time_of_its_day() {
    let findings = |name: &str| {
        let mut answer = answer();
        keep(&mut answer, v1::Report::Integrity);
        let report = answer.integrity.as_mut().unwrap();
        let finding = v1::IntegrityFinding {
            host_name: name.to_owned(),
            kind: v1::IntegrityKind::DuplicateIdentity.into(),
            ..report.findings[0].clone()
        };
        let longer = v1::IntegrityFinding { to: at("2026-11-23T00:10:00Z"), ..finding.clone() };
        report.findings = vec![finding.clone(), finding, longer];
        report.findings[1].to = None;
        plain(&render(&answer, &v1::SummaryRequest::default(), Shown::default(), &screen()))
    };
    let text = findings("n1");
    assert!(text.contains("  2026-11-22T15:00:00Z  2026-11-22T15:10:00Z\n"), "{text}");
    let text = findings("node1.example.com");
    for line in ["15:10:00Z", "-", "2026-11-23T00:10:00Z"] {
        let line = format!("two of one name      312  2026-11-22T15:00:00Z  {line}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}
