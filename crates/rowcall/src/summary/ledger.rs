//! The ledger: what became of every due sample.

use rowcall_proto::v1;

use crate::text::{self, BAD, Cell, Column, FAINT, ODD, Screen, Table};

/// Most spools that are shown, the worst ones.
const MAX_LINES: usize = 10;

/// Adds the sum over all spools, and the worst of them.
pub(super) fn write(out: &mut String, report: &v1::IntegrityReport, screen: &Screen) {
    let Some(totals) = report.ledger_totals.filter(|totals| totals.epochs > 0) else { return };
    let columns = ["DUE", "COMMITTED", "ASIDE", "SPOOLED", "DROPPED", "MISSED", "AGAIN"];
    let mut table =
        Table::new([Column::left("LEDGER")].into_iter().chain(columns.map(Column::right)));
    let all = match totals.epochs {
        1 => "the one spool".to_owned(),
        epochs => format!("all {} spools", text::count(epochs)),
    };
    table.row(cells(all.into(), &totals));
    let lines = report.ledger.iter().filter(|line| stands_out(line)).take(MAX_LINES);
    for line in lines {
        let counts = line.counts.unwrap_or_default();
        let name = text::clean(&line.host_name);
        let old = if line.closed_at.is_some() { " (old)" } else { "" };
        table.row(cells(format!("{name}{old}").into(), &counts));
    }
    table.write(out);
    if totals.unbalanced_epochs > 0 {
        let number = text::plural(totals.unbalanced_epochs, "spool");
        let verb = if totals.unbalanced_epochs == 1 { "does" } else { "do" };
        let words = format!("{number} {verb} not add up: a fault of Rowcall's, please report it.");
        text::paragraph(out, screen, BAD, &words);
    }
    let more = report.ledger.iter().filter(|line| stands_out(line)).count();
    if let Some(more) = more.checked_sub(MAX_LINES).filter(|more| *more > 0) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let words = format!("{} more with samples that did not arrive.", text::count(more));
        text::paragraph(out, screen, ODD, &words);
    }
    let words = "LEDGER: of the spools in use in this time, each from its beginning. DUE = \
                 COMMITTED + ASIDE (refused, kept aside) + SPOOLED (still on the nodes, as last \
                 told) + DROPPED + MISSED. AGAIN: received again and at or below the mark, up to \
                 which everything was acknowledged; stored once. Samples of a spool that was put \
                 back count in both of its lives.";
    text::paragraph(out, screen, FAINT, words);
}

/// More than a few samples on their way.
fn stands_out(line: &v1::HostLedger) -> bool {
    /// A node that is well has one or two.
    const ON_THEIR_WAY: u64 = 2;
    let counts = line.counts.unwrap_or_default();
    counts.unbalanced_epochs > 0
        || counts.quarantined + counts.dropped + counts.missed > 0
        || counts.spooled > ON_THEIR_WAY
}

fn cells(name: Cell, counts: &v1::Ledger) -> [Cell; 8] {
    // An agent that does not tell what was due still has samples.
    let told = counts.due > 0 || counts.committed == 0;
    let due = if told { text::count(counts.due) } else { "-".to_owned() };
    [
        name,
        if counts.unbalanced_epochs > 0 { Cell::styled(BAD, &due) } else { due.into() },
        text::count(counts.committed).into(),
        Cell::alarming(ODD, counts.quarantined),
        text::count(counts.spooled).into(),
        Cell::alarming(BAD, counts.dropped),
        Cell::alarming(ODD, counts.missed),
        text::count(counts.duplicates).into(),
    ]
}
