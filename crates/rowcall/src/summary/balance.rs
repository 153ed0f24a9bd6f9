//! The balance report: how evenly load spreads over hosts, window by window.

use rowcall_proto::v1;

use super::{Frame, instant};
use crate::text::{self, Cell, Column, FAINT, HEADING, Screen, Table};

pub(super) fn write(out: &mut String, report: &v1::BalanceReport, frame: &Frame, screen: &Screen) {
    text::heading(out, "BALANCE", "how evenly load spreads over the hosts, per window");
    if report.windows.is_empty() {
        text::paragraph(out, screen, FAINT, &frame.no_sample(screen));
        return;
    }
    let spreads: [(&str, Pick); 2] = [
        ("CPU busy (100 - idle), percent", |window| window.cpu_busy_percent.as_ref()),
        ("Memory used (total - free), percent", |window| window.memory_used_percent.as_ref()),
    ];
    for (title, pick) in spreads {
        text::line(out, &format!("  {}", text::paint(HEADING, title)));
        table(&report.windows, pick, screen).write(out);
    }
    text::paragraph(
        out,
        screen,
        FAINT,
        "SD: standard deviation. CV: standard deviation / mean. WMEAN, WSD: weighted by \
         number of CPUs.",
    );
}

type Pick = fn(&v1::BalanceWindow) -> Option<&v1::Spread>;

fn table(windows: &[v1::BalanceWindow], pick: Pick, screen: &Screen) -> Table {
    let titles = ["HOSTS", "MEAN", "SD", "MIN", "MAX", "CV", "WMEAN", "WSD"];
    let columns = titles.map(Column::right);
    let mut table = Table::new([Column::left("WINDOW FROM")].into_iter().chain(columns));
    for window in windows {
        let start = instant(window.start.as_ref());
        let start = start.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone));
        let spread = pick(window).copied().unwrap_or_default();
        let number = |value: Option<f32>, digits: usize| -> Cell {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}")).into()
        };
        table.row([
            start.into(),
            text::count(window.hosts.into()).into(),
            number(spread.mean, 1),
            number(spread.standard_deviation, 1),
            number(spread.min, 1),
            number(spread.max, 1),
            number(spread.coefficient_of_variation, 2),
            number(spread.weighted_mean, 1),
            number(spread.weighted_standard_deviation, 1),
        ]);
    }
    table
}
