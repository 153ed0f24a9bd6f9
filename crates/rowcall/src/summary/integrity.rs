//! The integrity report: what doesn't add up.

use rowcall_proto::v1::{self, IntegrityKind};

use super::{Frame, instant, ledger};
use crate::text::{self, Cell, Column, FAINT, GOOD, ODD, Screen, Table};

pub(super) fn write(
    out: &mut String,
    report: &v1::IntegrityReport,
    frame: &Frame,
    screen: &Screen,
) {
    text::heading(out, "INTEGRITY", "what does not add up");
    if report.findings.is_empty() {
        // Nobody's rows add up to nothing.
        if frame.no_match {
            text::paragraph(out, screen, FAINT, &frame.no_hosts());
        } else {
            text::paragraph(out, screen, GOOD, "Nothing found: everything adds up.");
            ledger::write(out, report, screen);
        }
        return;
    }
    findings(out, report, screen);
    ledger::write(out, report, screen);
}

fn findings(out: &mut String, report: &v1::IntegrityReport, screen: &Screen) {
    let whole = table(report, screen, |_, to| to.to_owned());
    let table =
        if whole.fits(screen.width) { whole } else { table(report, screen, without_the_day) };
    let mut rows = String::new();
    table.write(&mut rows);
    // Each finding's words stand under its row.
    let mut rows = rows.lines();
    rows.by_ref().take(1).for_each(|titles| text::line(out, titles));
    for (row, finding) in rows.zip(&report.findings) {
        text::line(out, row);
        if !finding.detail.is_empty() {
            let inner = Screen { width: screen.width.saturating_sub(4), ..screen.clone() };
            let mut words = String::new();
            text::paragraph(&mut words, &inner, FAINT, &detail(finding));
            words.lines().for_each(|words| text::line(out, &format!("    {words}")));
        }
    }
    let shown = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
    if report.total_findings > shown {
        let words = format!(
            "{} of {} shown; --select, --name and a shorter time show the others.",
            text::count(shown),
            text::plural(report.total_findings, "finding")
        );
        text::paragraph(out, screen, ODD, &words);
    }
}

/// A row for each finding; `end` shows the time to which it goes, knowing where it begins.
fn table(
    report: &v1::IntegrityReport,
    screen: &Screen,
    end: impl Fn(&str, &str) -> String,
) -> Table {
    let titles = ["HOST", "WHAT"].map(Column::left);
    let columns = [Column::right("SAMPLES"), Column::left("FROM"), Column::left("TO")];
    let mut table = Table::new(titles.into_iter().chain(columns));
    for finding in &report.findings {
        let at = |time: &Option<prost_types::Timestamp>| {
            let at = instant(time.as_ref());
            at.map_or_else(|| "-".to_owned(), |at| text::timestamp(at, &screen.zone))
        };
        let samples = match finding.samples {
            0 => "-".to_owned(),
            // Readings of devices: the words under the row say how many.
            _ if finding.kind() == IntegrityKind::NotRead => "-".to_owned(),
            number => text::count(number),
        };
        let (from, to) = (at(&finding.from), at(&finding.to));
        let to = end(&from, &to);
        table.row([
            text::clean(&finding.host_name).into(),
            Cell::styled(ODD, name(finding.kind())),
            samples.into(),
            from.into(),
            to.into(),
        ]);
    }
    table
}

/// A time of the day where the day is that of the beginning.
fn without_the_day(from: &str, to: &str) -> String {
    let day = |time: &str| time.split_once('T').map(|(day, _)| day.to_owned());
    match to.split_once('T') {
        Some((own, rest)) if day(from).as_deref() == Some(own) => rest.to_owned(),
        _ => to.to_owned(),
    }
}

/// What stands under a finding's row.
fn detail(finding: &v1::IntegrityFinding) -> String {
    let detail = text::clean(&finding.detail);
    match (finding.kind(), finding.samples) {
        (_, 0) => detail,
        (IntegrityKind::NotRead, readings) => {
            format!("{detail}, in {}", text::plural(readings, "reading"))
        }
        _ => detail,
    }
}

/// A kind of finding in words.
fn name(kind: IntegrityKind) -> &'static str {
    match kind {
        IntegrityKind::Unspecified => "other",
        IntegrityKind::Dropped => "dropped",
        IntegrityKind::Missed => "missed",
        IntegrityKind::Impossible => "impossible",
        IntegrityKind::ClockSkew => "clock skew",
        IntegrityKind::Quarantined => "quarantined",
        IntegrityKind::EpochChanged => "spool replaced",
        IntegrityKind::UnexplainedGap => "unexplained gap",
        IntegrityKind::Restarted => "restarted",
        IntegrityKind::Unbalanced => "does not add up",
        IntegrityKind::DuplicateIdentity => "two of one name",
        IntegrityKind::HardwareChanged => "changed",
        IntegrityKind::NotRead => "not read",
    }
}
