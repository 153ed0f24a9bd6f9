//! What a pressure report looks like.

use rowcall_proto::v1;

use super::samples::{answer, keep, shown};
use super::{Shown, render};
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
