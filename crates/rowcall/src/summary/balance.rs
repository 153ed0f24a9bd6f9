//! The balance report: how evenly load spreads over hosts, window by window. Network and disks are
//! shown where agents tell of them.
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
    let few = !all && report.windows.len() > MOST;
    let (mut bytes_are_short, mut is_of_some) = (false, false);
    for measure in &MEASURES {
        if !report.windows.iter().any(|window| (measure.pick)(window).is_some()) {
            continue;
        }
        text::line(out, &format!("  {}", text::paint(HEADING, measure.title)));
        let shown = if few {
            least_even(&report.windows, measure.pick)
        } else {
            report.windows.iter().collect()
        };
        table(&shown, few.then_some(&report.windows), measure, screen).write(out);
        let spreads = report.windows.iter().filter_map(|window| (measure.pick)(window));
        bytes_are_short |= measure.is_bytes && spreads.into_iter().any(has_thousands);
        is_of_some |= measure.is_of_some;
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
    let mut words =
        "SD: standard deviation. CV: standard deviation / mean. WMEAN, WSD: weighted by \
                     number of CPUs."
            .to_owned();
    if is_of_some {
        words.push_str(
            " HOSTS: with samples; network and disk are of those whose agents tell of them.",
        );
    }
    if bytes_are_short {
        words.push_str(text::K_IS);
    }
    text::paragraph(out, screen, FAINT, &words);
}

type Pick = fn(&v1::BalanceWindow) -> Option<&v1::Spread>;

/// What is spread.
struct Measure {
    title: &'static str,
    pick: Pick,
    /// A value as it is shown.
    show: fn(f32) -> String,
    /// Whether it is shown in K, M, G.
    is_bytes: bool,
    /// Whether agents may be told not to tell it, so that hosts with samples are missing in it.
    is_of_some: bool,
}

const MEASURES: [Measure; 4] = [
    Measure {
        title: "CPU busy (100 - idle), percent",
        pick: |window| window.cpu_busy_percent.as_ref(),
        show: percent,
        is_bytes: false,
        is_of_some: false,
    },
    Measure {
        title: "Memory used (total - free), percent",
        pick: |window| window.memory_used_percent.as_ref(),
        show: percent,
        is_bytes: false,
        is_of_some: false,
    },
    Measure {
        title: "Network, received and sent, bytes per second",
        pick: |window| window.net_bytes_per_s.as_ref(),
        show: bytes,
        is_bytes: true,
        is_of_some: true,
    },
    Measure {
        title: "Busiest disk of each host, percent of the time",
        pick: |window| window.disk_busy_percent.as_ref(),
        show: percent,
        is_bytes: false,
        is_of_some: true,
    },
];

fn percent(value: f32) -> String {
    text::decimal(value.into(), 1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole bytes are enough, and what is no number or negative is 0"
)]
fn bytes(value: f32) -> String {
    text::short_bytes(value as u64)
}

/// Whether any of them is shown in K or more.
fn has_thousands(spread: &v1::Spread) -> bool {
    let v1::Spread { mean, standard_deviation, min, max, weighted_mean, .. } = *spread;
    let values = [mean, standard_deviation, min, max, weighted_mean];
    let values = values.into_iter().chain([spread.weighted_standard_deviation]);
    values.flatten().any(|value| value >= 1_024.0)
}

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
    measure: &Measure,
    screen: &Screen,
) -> Table {
    let titles = ["HOSTS", "MEAN", "SD", "MIN", "MAX", "CV", "WMEAN", "WSD"];
    let columns = titles.map(Column::right);
    let mut table = Table::new([Column::left("WINDOW FROM")].into_iter().chain(columns));
    if let Some(all) = all {
        let hosts = all.iter().map(|window| window.hosts).max().unwrap_or(0);
        let number = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let name = format!("all {} windows", text::count(number));
        let spread = over_all(all, measure.pick);
        table.row(row(Cell::styled(HEADING, &name), hosts, &spread, measure.show));
    }
    for window in windows {
        let start = instant(window.start.as_ref());
        let start = start.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone));
        let spread = (measure.pick)(window).copied().unwrap_or_default();
        table.row(row(start.into(), window.hosts, &spread, measure.show));
    }
    table
}

fn row(name: Cell, hosts: u32, spread: &v1::Spread, show: fn(f32) -> String) -> [Cell; 9] {
    let number = |value: Option<f32>| -> Cell {
        value.filter(|value| !value.is_nan()).map_or_else(|| "-".to_owned(), show).into()
    };
    let ratio = spread.coefficient_of_variation;
    [
        name,
        text::count(hosts.into()).into(),
        number(spread.mean),
        number(spread.standard_deviation),
        number(spread.min),
        number(spread.max),
        ratio.map_or_else(|| "-".to_owned(), |ratio| text::decimal(ratio.into(), 2)).into(),
        number(spread.weighted_mean),
        number(spread.weighted_standard_deviation),
    ]
}
