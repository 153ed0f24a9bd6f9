//! What a host was before, and its boots.

use rowcall_proto::v1;

use super::facts::{self, NAME};
use crate::summary::instant;
use crate::text::{self, Cell, Column, FAINT, Screen, Table};

/// Fewest characters of a boot's id that tell it from the others; JSON has it whole.
const MIN_BOOT_ID: usize = 15;

/// Changes and boots, under headings, the newest first.
pub(super) fn write(out: &mut String, answer: &v1::GetHostResponse, screen: &Screen) {
    text::heading(out, "HISTORY", "what changed, the newest first");
    match answer.history.as_slice() {
        [] => text::paragraph(out, screen, FAINT, "Nothing is known: it has not told what it is."),
        // What it is stands above already.
        [only] => {
            let joined = || instant(answer.host.as_ref()?.joined_at.as_ref());
            let since = instant(only.valid_from.as_ref()).or_else(joined);
            let since = since.map(|at| format!(" since {}", text::timestamp(at, &screen.zone)));
            let words = format!("Nothing has changed{}.", since.unwrap_or_default());
            text::paragraph(out, screen, FAINT, &words);
        }
        rows => {
            for (index, row) in rows.iter().enumerate() {
                changed(out, row, rows.get(index + 1), screen);
            }
        }
    }
    boots(out, &answer.boots, screen);
}

fn boots(out: &mut String, boots: &[v1::Boot], screen: &Screen) {
    text::heading(out, "BOOTS", "the newest first");
    if boots.is_empty() {
        text::paragraph(out, screen, FAINT, "None is known.");
        return;
    }
    let times = |boot: &v1::Boot| -> [Cell; 2] {
        [boot.booted_at, boot.seen_at].map(|time| {
            let at = instant(time.as_ref());
            at.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone)).into()
        })
    };
    let columns = || ["BOOTED", "HEARD OF"].map(Column::left);
    let mut fixed = Table::new(columns());
    for boot in boots {
        fixed.row(times(boot));
    }
    let room = fixed.room(screen.width).max(MIN_BOOT_ID);
    let mut table = Table::new(columns().into_iter().chain([Column::left("BOOT ID")]));
    for boot in boots {
        let id = text::cut(&text::clean(&boot.boot_id), room);
        table.row(times(boot).into_iter().chain([id.into()]));
    }
    table.write(out);
}

/// A span, and what became different with it. Each change stands whole on its line.
fn changed(
    out: &mut String,
    row: &v1::HostHistory,
    before: Option<&v1::HostHistory>,
    screen: &Screen,
) {
    let at = |time: &Option<prost_types::Timestamp>| {
        instant(time.as_ref()).map(|at| text::timestamp(at, &screen.zone))
    };
    let span = match (at(&row.valid_from), at(&row.valid_to)) {
        (Some(from), Some(to)) => format!("{from} to {to}"),
        (Some(from), None) => format!("{from} to now"),
        (None, Some(to)) => format!("from the beginning to {to}"),
        (None, None) => "from the beginning to now".to_owned(),
    };
    text::line(out, &format!("  {span}"));
    let info = row.host_info.clone().unwrap_or_default();
    let mut change = |name: &str, words: &str| {
        let name = text::paint(FAINT, &format!("{name:<NAME$}"));
        text::line(out, &format!("    {name} {words}"));
    };
    let Some(before) = before else {
        // As it was first known, in short: `host show` has all that it is now.
        let first = facts::of(&info);
        let first = first.iter().filter_map(|(name, words)| Some((name, words.as_ref()?)));
        for (name, words) in first {
            change(name, words);
        }
        return;
    };
    let earlier = before.host_info.clone().unwrap_or_default();
    for (name, words) in facts::changes(&earlier, &info) {
        change(&name, &words);
    }
}
