//! The balance report: how evenly load spreads over hosts, window by window.
//!
//! Of many windows only the least even ones are shown, under a line over all of them.

use rowcall_proto::v1;

use super::{Frame, instant};
use crate::text::{self, Cell, Column, FAINT, HEADING, Screen, Table};

/// Most windows that are shown unless all are asked for: an hour of them.
const MOST: usize = 12;

pub(super) fn write(
    out: &mut String,
    report: &v1::BalanceReport,
    all: bool,
    frame: &Frame,
    screen: &Screen,
) {
    text::heading(out, "BALANCE", "how evenly load spreads over the hosts, per window");
    if report.windows.is_empty() {
        text::paragraph(out, screen, FAINT, &frame.no_sample(screen));
        return;
    }
    let spreads: [(&str, Pick); 2] = [
        ("CPU busy (100 - idle), percent", |window| window.cpu_busy_percent.as_ref()),
        ("Memory used (total - free), percent", |window| window.memory_used_percent.as_ref()),
    ];
    let few = !all && report.windows.len() > MOST;
    for (title, pick) in spreads {
        text::line(out, &format!("  {}", text::paint(HEADING, title)));
        if few {
            table(&least_even(&report.windows, pick), Some(&report.windows), pick, screen)
                .write(out);
        } else {
            let windows: Vec<&v1::BalanceWindow> = report.windows.iter().collect();
            table(&windows, None, pick, screen).write(out);
        }
    }
    if few {
        let number = u64::try_from(report.windows.len()).unwrap_or(u64::MAX);
        let words = format!(
            "The {MOST} least even windows by SD, of {}; --all shows every one. The first line is \
             over all: the smallest MIN, the largest HOSTS and MAX, else averages.",
            text::count(number)
        );
        text::paragraph(out, screen, FAINT, &words);
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

/// The windows with the largest deviation, in the order of time; of equal ones the latest.
fn least_even(windows: &[v1::BalanceWindow], pick: Pick) -> Vec<&v1::BalanceWindow> {
    let deviation = |window: &v1::BalanceWindow| {
        let deviation = pick(window).and_then(|spread| spread.standard_deviation);
        deviation.filter(|value| !value.is_nan()).unwrap_or(-1.0)
    };
    let mut ranked: Vec<(usize, &v1::BalanceWindow)> = windows.iter().enumerate().collect();
    ranked.sort_by(|(i, a), (j, b)| deviation(b).total_cmp(&deviation(a)).then(j.cmp(i)));
    ranked.truncate(MOST);
    ranked.sort_by_key(|(index, _)| *index);
    ranked.into_iter().map(|(_, window)| window).collect()
}

/// What all windows say together.
fn over_all(windows: &[v1::BalanceWindow], pick: Pick) -> v1::Spread {
    let values = |field: fn(&v1::Spread) -> Option<f32>| {
        let spreads = windows.iter().filter_map(pick);
        spreads.filter_map(field).filter(|value| !value.is_nan())
    };
    let mean = |field: fn(&v1::Spread) -> Option<f32>| {
        let (sum, number) = values(field)
            .fold((0.0_f32, 0.0_f32), |(sum, number), value| (sum + value, number + 1.0));
        (number > 0.0).then(|| sum / number)
    };
    v1::Spread {
        mean: mean(|spread| spread.mean),
        standard_deviation: mean(|spread| spread.standard_deviation),
        min: values(|spread| spread.min).reduce(f32::min),
        max: values(|spread| spread.max).reduce(f32::max),
        coefficient_of_variation: mean(|spread| spread.coefficient_of_variation),
        weighted_mean: mean(|spread| spread.weighted_mean),
        weighted_standard_deviation: mean(|spread| spread.weighted_standard_deviation),
    }
}

fn table(
    windows: &[&v1::BalanceWindow],
    all: Option<&[v1::BalanceWindow]>,
    pick: Pick,
    screen: &Screen,
) -> Table {
    let titles = ["HOSTS", "MEAN", "SD", "MIN", "MAX", "CV", "WMEAN", "WSD"];
    let columns = titles.map(Column::right);
    let mut table = Table::new([Column::left("WINDOW FROM")].into_iter().chain(columns));
    if let Some(all) = all {
        let hosts = all.iter().map(|window| window.hosts).max().unwrap_or(0);
        let number = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let name = format!("all {} windows", text::count(number));
        table.row(row(Cell::styled(HEADING, &name), hosts, &over_all(all, pick)));
    }
    for window in windows {
        let start = instant(window.start.as_ref());
        let start = start.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone));
        let spread = pick(window).copied().unwrap_or_default();
        table.row(row(start.into(), window.hosts, &spread));
    }
    table
}

fn row(name: Cell, hosts: u32, spread: &v1::Spread) -> [Cell; 9] {
    let number = |value: Option<f32>, digits: usize| -> Cell {
        value.map_or_else(|| "-".to_owned(), |value| text::decimal(value.into(), digits)).into()
    };
    [
        name,
        text::count(hosts.into()).into(),
        number(spread.mean, 1),
        number(spread.standard_deviation, 1),
        number(spread.min, 1),
        number(spread.max, 1),
        number(spread.coefficient_of_variation, 2),
        number(spread.weighted_mean, 1),
        number(spread.weighted_standard_deviation, 1),
    ]
}
