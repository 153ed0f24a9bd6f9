//! The pressure report: what hosts wait for.

use anstyle::Style;
use rowcall_proto::v1::{self, Wait};

use super::Frame;
use crate::text::{self, BAD, Cell, Column, FAINT, ODD, Screen, Table};

/// A fleet of up to so many hosts is shown whole, also those that wait for nothing.
const FEW: usize = 10;

/// Ends the titles of what holds all tasks up.
const FULL: &str = " FULL";

/// A column of numbers: its title, what stands in it, and whether it may be left out where it does
/// not fit, the lowest number first.
struct Number {
    title: &'static str,
    cell: fn(&v1::HostPressure) -> Option<Cell>,
    expendable: Option<u8>,
}

/// In the order in which they are shown.
const NUMBERS: [Number; 11] = [
    Number { title: "WAIT %", cell: |host| percent(host.wait_percent), expendable: None },
    Number { title: "CPU", cell: |host| percent(host.cpu_some_percent), expendable: None },
    Number { title: "MEM", cell: |host| percent(host.memory_some_percent), expendable: None },
    Number {
        title: "MEM FULL",
        cell: |host| percent(host.memory_full_percent),
        expendable: Some(4),
    },
    Number { title: "I/O", cell: |host| percent(host.io_some_percent), expendable: None },
    Number { title: "I/O FULL", cell: |host| percent(host.io_full_percent), expendable: Some(5) },
    Number { title: "IOWAIT", cell: |host| percent(host.iowait_percent), expendable: Some(2) },
    Number { title: "STEAL", cell: |host| percent(host.steal_percent), expendable: Some(3) },
    Number { title: "LOAD", cell: |host| load(host.load_per_cpu), expendable: Some(6) },
    Number { title: "SWAPPED", cell: |host| swapped(host.swapped_kib), expendable: Some(1) },
    Number { title: "OOM", cell: |host| killed(host.oom_kills), expendable: None },
];

pub(super) fn write(
    out: &mut String,
    report: &v1::PressureReport,
    all: bool,
    frame: &Frame,
    screen: &Screen,
) {
    text::heading(out, "PRESSURE", "what hosts wait for, those that wait most first");
    if report.hosts.is_empty() && report.unknown_hosts == 0 {
        text::paragraph(out, screen, FAINT, &frame.no_sample(screen));
        return;
    }
    let waits = |host: &&v1::HostPressure| host.waits_for() != Wait::Nothing;
    let whole = all || report.hosts.len() <= FEW;
    let shown: Vec<_> = report.hosts.iter().filter(|host| whole || waits(host)).collect();
    if !shown.is_empty() {
        hosts(out, &shown, screen);
    }
    let calm = u64::try_from(report.hosts.len() - shown.len()).unwrap_or(u64::MAX);
    if calm > 0 {
        let noun = if shown.is_empty() { "host" } else { "further host" };
        let words = format!(
            "{} waited for nothing worth the name: below 1 % of the time; --all shows them.",
            text::plural(calm, noun)
        );
        text::paragraph(out, screen, Style::new(), &words);
    }
    if report.further_hosts > 0 {
        let words = format!(
            "{} waited less than these; --select and --name show them.",
            text::plural(report.further_hosts.into(), "host")
        );
        text::paragraph(out, screen, ODD, &words);
    }
    if report.unknown_hosts > 0 {
        let words = format!(
            "{} with samples and no word on this: the agent is told to send the classic columns \
             alone, or is older.",
            text::plural(report.unknown_hosts.into(), "host")
        );
        text::paragraph(out, screen, FAINT, &words);
    }
}

fn hosts(out: &mut String, shown: &[&v1::HostPressure], screen: &Screen) {
    // What nobody tells takes no room.
    let told = |number: &&Number| shown.iter().any(|host| (number.cell)(host).is_some());
    let mut numbers: Vec<&Number> = NUMBERS.iter().filter(told).collect();
    let mut left_out = Vec::new();
    let table = loop {
        let table = table(shown, &numbers);
        let next = numbers.iter().filter_map(|number| number.expendable).min();
        let (false, Some(next)) = (table.fits(screen.width), next) else { break table };
        left_out.extend(
            numbers.extract_if(.., |n| n.expendable == Some(next)).map(|number| number.title),
        );
    };
    table.write(out);
    let mut legend = "Percent of the time. CPU, MEM, I/O: when some task waited for it".to_owned();
    if numbers.iter().any(|number| number.title.ends_with(FULL)) {
        legend.push_str("; FULL: when all did");
    }
    for (title, words) in [
        ("IOWAIT", "IOWAIT, STEAL: of all CPUs' time"),
        ("LOAD", "LOAD: average over 1 minute per CPU"),
        ("SWAPPED", "SWAPPED: from and to swap"),
        ("OOM", "OOM: processes killed for want of memory"),
    ] {
        if numbers.iter().any(|number| number.title == title) {
            legend.push_str(&format!(". {words}"));
        }
    }
    legend.push('.');
    let sizes = shown.iter().filter(|_| numbers.iter().any(|number| number.title == "SWAPPED"));
    if sizes.filter_map(|host| host.swapped_kib).any(|kib| kib > 0) {
        legend.push_str(text::K_IS);
    }
    let untold = |host: &&&v1::HostPressure| {
        host.wait_percent.is_some() && host.cpu_some_percent.or(host.io_some_percent).is_none()
    };
    if shown.iter().any(|host| untold(&host)) {
        legend.push_str(
            " Where the kernel does not tell who waits, steal stands in for CPU and iowait for I/O.",
        );
    }
    if !left_out.is_empty() {
        left_out.reverse();
        legend.push_str(&super::left_out(&left_out));
    }
    text::paragraph(out, screen, FAINT, &legend);
}

fn table(shown: &[&v1::HostPressure], numbers: &[&Number]) -> Table {
    let words = ["HOST", "WAITS FOR"].map(Column::left);
    let columns = numbers.iter().map(|number| Column::right(number.title));
    let mut table = Table::new(words.into_iter().chain(columns));
    for host in shown {
        let (words, style) = wait(host.waits_for());
        let first = [text::clean(&host.host_name).into(), Cell::styled(style, words)];
        let cells = numbers.iter().map(|number| (number.cell)(host).unwrap_or_else(|| "-".into()));
        table.row(first.into_iter().chain(cells));
    }
    table
}

fn wait(wait: Wait) -> (&'static str, Style) {
    match wait {
        Wait::Unspecified => ("other", ODD),
        Wait::Nothing => ("nothing", FAINT),
        Wait::Cpu => ("CPU", ODD),
        Wait::Memory => ("memory", ODD),
        Wait::Io => ("I/O", ODD),
    }
}

fn percent(value: Option<f32>) -> Option<Cell> {
    Some(text::decimal(value?.into(), 1).into())
}

fn load(value: Option<f32>) -> Option<Cell> {
    Some(text::decimal(value?.into(), 2).into())
}

fn swapped(kib: Option<u64>) -> Option<Cell> {
    Some(text::short_bytes(kib?.saturating_mul(1024)).into())
}

fn killed(number: Option<u64>) -> Option<Cell> {
    Some(Cell::alarming(BAD, number?))
}
