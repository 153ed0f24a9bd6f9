//! The roll: who answered. Silent hosts come first, as the aggregator orders them.

use anstyle::Style;
use rowcall_proto::v1::{self, WindowState};

use super::{Frame, instant, unobserved};
use crate::text::{self, BAD, Cell, Column, FAINT, GOOD, ODD, Screen, Table};

/// Fewest letters in a line.
const MIN_LETTERS: usize = 12;

/// Most reboots of a host whose times are shown: what fits a line.
const MAX_BOOTS: usize = 2;

/// A state's letter, style and words, the most alarming first.
const STATES: [(WindowState, char, Style, &str); 8] = [
    (WindowState::Silent, 'S', BAD, "silent"),
    (WindowState::Unobserved, 'U', BAD, "unobserved"),
    (WindowState::Partial, 'P', ODD, "partial"),
    (WindowState::Skewed, 'K', ODD, "skewed (its clock is off)"),
    (WindowState::Late, 'L', ODD, "late"),
    (WindowState::Excused, 'E', FAINT, "excused"),
    (WindowState::Complete, 'C', GOOD, "complete"),
    (WindowState::NotJudged, '.', FAINT, "not judged (open, or the host was not in the roll)"),
];
/// A state that this version does not know.
const UNKNOWN: (char, Style) = ('?', ODD);

pub(super) fn write(
    out: &mut String,
    report: &v1::RollReport,
    all: bool,
    frame: &Frame,
    screen: &Screen,
) {
    text::heading(out, "ROLL", "who answered in each finished window");
    if report.hosts == 0 {
        text::paragraph(out, screen, FAINT, &frame.no_hosts());
        return;
    }
    let totals = report.totals.unwrap_or_default();
    let judged = [
        (totals.complete, "complete", GOOD),
        (totals.silent, "silent", BAD),
        (totals.partial, "partial", ODD),
        (totals.skewed, "skewed", ODD),
        (totals.late, "late", ODD),
        (totals.unobserved, "unobserved", BAD),
        (totals.excused, "excused", FAINT),
    ];
    unobserved::write(out, &report.unobserved, report.hosts, frame, screen);
    if judged.iter().all(|(number, ..)| *number == 0) {
        text::paragraph(out, screen, FAINT, &frame.no_window(screen));
        return;
    }
    let pardons = unobserved::Pardons::of(&report.unobserved, frame);
    let (explained, shown): (Vec<_>, Vec<_>) =
        report.incomplete.iter().partition(|host| !all && pardons.explain(host));
    if !shown.is_empty() {
        hosts(out, &shown, screen);
    }
    let kept = u64::try_from(explained.len()).unwrap_or(u64::MAX);
    if kept > 0 {
        let noun = if shown.is_empty() { "host" } else { "further host" };
        let whose = text::plural(kept, noun);
        let words = format!(
            "{whose} kept the samples of a time that nobody observed, and sent them late; --all \
             shows which."
        );
        text::paragraph(out, screen, Style::new(), &words);
    }
    answered(out, report, totals, screen);
    counts(out, &judged, totals.not_judged, report.hosts, screen);
}

/// How many windows are in which state, broken between states where the line would be too long.
fn counts(
    out: &mut String,
    judged: &[(u64, &str, Style)],
    not_judged: u64,
    hosts: u32,
    screen: &Screen,
) {
    let mut parts: Vec<(Style, String)> = judged
        .iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, name, style)| (*style, format!("{} {name}", text::count(*number))))
        .collect();
    if not_judged > 0 {
        parts.push((FAINT, format!("{} not judged", text::count(not_judged))));
    }
    let windows = text::plural(judged.iter().map(|(number, ..)| number).sum(), "window");
    let mut line = match hosts {
        0 | 1 => format!("  {windows}: "),
        _ => format!("  {windows} of {}: ", text::plural(hosts.into(), "host")),
    };
    let mut width = line.chars().count();
    let last = parts.len().saturating_sub(1);
    for (index, (style, part)) in parts.iter().enumerate() {
        // Those that are not judged are not among the windows of this line.
        let comma = match last - index {
            0 => "",
            1 if not_judged > 0 => ";",
            _ => ",",
        };
        let takes = part.chars().count() + comma.len();
        if width + takes > screen.width {
            text::line(out, line.trim_end());
            line = "    ".to_owned();
            width = line.len();
        }
        line.push_str(&format!("{}{comma} ", text::paint(*style, part)));
        width += takes + 1;
    }
    text::line(out, line.trim_end());
}

/// Hosts of which every observed window is complete.
fn answered(out: &mut String, report: &v1::RollReport, totals: v1::RollTotals, screen: &Screen) {
    let (complete, all) = (report.complete_hosts, report.hosts);
    let windows = match totals.unobserved {
        0 => "in every window",
        _ => "in every window that was observed",
    };
    if !report.incomplete.is_empty() {
        if complete > 0 {
            let complete = text::plural(complete.into(), "further host");
            let words = format!("{complete} answered {windows}.");
            text::paragraph(out, screen, Style::new(), &words);
        }
        return;
    }
    let words = match (complete, all) {
        (0, _) => return,
        (1, 1) => format!("The one host answered {windows} since it joined."),
        _ if complete == all => {
            format!(
                "All {} answered {windows} since they joined.",
                text::plural(all.into(), "host")
            )
        }
        _ => format!(
            "{} of {} answered {windows}; the others joined too late to judge{}.",
            text::plural(complete.into(), "host"),
            text::count(all.into()),
            if totals.unobserved > 0 { ", or nobody observed them" } else { "" },
        ),
    };
    text::paragraph(out, screen, GOOD, &words);
}

fn hosts(out: &mut String, incomplete: &[&v1::RollHost], screen: &Screen) {
    let columns = [
        Column::left("HOST"),
        Column::right("SILENT"),
        Column::right("PARTIAL"),
        Column::right("LATE"),
        Column::left("LAST SAMPLE"),
    ];
    let cells = |host: &v1::RollHost| -> [Cell; 5] {
        let number = |state: WindowState| {
            let number = host.states().filter(|s| *s == state).count();
            u64::try_from(number).unwrap_or(u64::MAX)
        };
        let last = instant(host.last_sample_at.as_ref());
        [
            text::clean(&host.host_name).into(),
            Cell::alarming(BAD, number(WindowState::Silent)),
            Cell::alarming(ODD, number(WindowState::Partial)),
            Cell::alarming(ODD, number(WindowState::Late)),
            last.map_or_else(
                || Cell::styled(BAD, "never"),
                |at| text::timestamp(at, &screen.zone).into(),
            ),
        ]
    };
    let mut fixed = Table::new(columns.clone());
    for host in incomplete {
        fixed.row(cells(host));
    }
    let room = fixed.room(screen.width).max(MIN_LETTERS);
    let mut table = Table::new(columns.into_iter().chain([Column::left("WINDOWS")]));
    let mut size = 1;
    for host in incomplete {
        let (letters, group) = text::fold(&host.states, room, worst);
        size = size.max(group);
        table.row(cells(host).into_iter().chain([strip(&letters)]));
    }
    let mut rows = String::new();
    table.write(&mut rows);
    // What explains a gap stands under its host.
    let mut rows = rows.lines();
    rows.by_ref().take(1).for_each(|titles| text::line(out, titles));
    for (row, host) in rows.zip(incomplete) {
        text::line(out, row);
        if let Some(words) = rebooted(host, screen) {
            text::line(out, &format!("      {}", text::paint(FAINT, &words)));
        }
    }
    let seen = |state: WindowState| incomplete.iter().any(|host| host.states().any(|s| s == state));
    let legend: Vec<String> = STATES
        .iter()
        .filter(|(state, ..)| seen(*state))
        .map(|(_, letter, _, name)| format!("{letter} {name}"))
        .collect();
    let mut legend = format!("WINDOWS: {}", legend.join(", "));
    if size > 1 {
        legend.push_str(&format!("; one letter per {size} windows, the worst of them"));
    }
    text::paragraph(out, screen, FAINT, &legend);
}

/// Reboots within the range in words, the newest last.
fn rebooted(host: &v1::RollHost, screen: &Screen) -> Option<String> {
    let at = |time| instant(Some(time)).map(|at| text::timestamp(at, &screen.zone));
    let earlier = host.booted_at.len().saturating_sub(MAX_BOOTS);
    let times: Vec<String> = host.booted_at.iter().skip(earlier).filter_map(at).collect();
    if times.is_empty() {
        return None;
    }
    let before = match u64::try_from(earlier) {
        Ok(0) | Err(_) => String::new(),
        Ok(number) => format!("{} before, ", text::plural(number, "time")),
    };
    Some(format!("rebooted {before}{}", times.join(", ")))
}

fn find(state: i32) -> Option<usize> {
    STATES.iter().position(|(known, ..)| i32::from(*known) == state)
}

fn worst(group: &[i32]) -> i32 {
    let rank = |state: &i32| find(*state).unwrap_or(0);
    group.iter().copied().min_by_key(rank).unwrap_or_default()
}

/// The letters, each in its colour, neighbours of one state in one go.
fn strip(states: &[i32]) -> Cell {
    let runs: Vec<(Style, String)> = states
        .chunk_by(|a, b| a == b)
        .map(|run| {
            let first = run.first().copied().unwrap_or_default();
            let (letter, style) = find(first)
                .and_then(|index| STATES.get(index))
                .map_or(UNKNOWN, |(_, letter, style, _)| (*letter, *style));
            (style, letter.to_string().repeat(run.len()))
        })
        .collect();
    Cell::parts(runs.iter().map(|(style, text)| (*style, text.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_windows_shows_its_worst() {
        let state = |state: WindowState| i32::from(state);
        let all = [WindowState::Complete, WindowState::Late, WindowState::Partial].map(state);
        assert_eq!(worst(&all), state(WindowState::Partial));
        assert_eq!(worst(&[state(WindowState::NotJudged)]), state(WindowState::NotJudged));
        // What is unknown is shown rather than hidden.
        assert_eq!(worst(&[state(WindowState::Complete), 99]), 99);
    }
}
