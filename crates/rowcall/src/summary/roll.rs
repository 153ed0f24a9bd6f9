//! The roll: who answered. Silent hosts come first, as the aggregator orders them.

use anstyle::Style;
use rowcall_proto::v1::{self, WindowState};

use super::{Frame, instant};
use crate::text::{self, BAD, Cell, Column, FAINT, GOOD, ODD, Screen, Table};

/// Fewest letters in a line.
const MIN_LETTERS: usize = 12;

/// A state's letter, style and words, the most alarming first.
const STATES: [(WindowState, char, Style, &str); 7] = [
    (WindowState::Silent, 'S', BAD, "silent"),
    (WindowState::Unobserved, 'U', BAD, "unobserved"),
    (WindowState::Partial, 'P', ODD, "partial"),
    (WindowState::Late, 'L', ODD, "late"),
    (WindowState::Excused, 'E', FAINT, "excused"),
    (WindowState::Complete, 'C', GOOD, "complete"),
    (WindowState::NotJudged, '.', FAINT, "not judged (open, or the host was not in the roll)"),
];
/// A state that this version does not know.
const UNKNOWN: (char, Style) = ('?', ODD);

pub(super) fn write(out: &mut String, report: &v1::RollReport, frame: &Frame, screen: &Screen) {
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
        (totals.late, "late", ODD),
        (totals.unobserved, "unobserved", BAD),
        (totals.excused, "excused", FAINT),
    ];
    if judged.iter().all(|(number, ..)| *number == 0) {
        text::paragraph(out, screen, FAINT, &frame.no_window(screen));
        return;
    }
    if report.incomplete.is_empty() {
        let complete = text::plural(report.complete_hosts.into(), "host");
        let words = match (report.complete_hosts, report.hosts) {
            (1, 1) => "The one host answered in every window since it joined.".to_owned(),
            (complete_hosts, hosts) if complete_hosts == hosts => {
                format!("All {complete} answered in every window since they joined.")
            }
            (_, hosts) => format!(
                "{complete} of {hosts} answered in every window; the others joined too late to judge."
            ),
        };
        text::paragraph(out, screen, GOOD, &words);
    } else {
        hosts(out, &report.incomplete, screen);
        if report.complete_hosts > 0 {
            let complete = text::plural(report.complete_hosts.into(), "further host");
            let words = format!("{complete} answered in every window.");
            text::paragraph(out, screen, Style::new(), &words);
        }
    }
    let all: u64 = judged.iter().map(|(number, ..)| number).sum();
    let mut line = format!("  {}: ", text::plural(all, "window"));
    if report.hosts > 1 {
        line = format!(
            "  {} of {}: ",
            text::plural(all, "window"),
            text::plural(report.hosts.into(), "host")
        );
    }
    let parts: Vec<String> = judged
        .iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, name, style)| {
            text::paint(*style, &format!("{} {name}", text::count(*number)))
        })
        .collect();
    line.push_str(&parts.join(", "));
    if totals.not_judged > 0 {
        let rest = format!("; {} not judged", text::count(totals.not_judged));
        line.push_str(&text::paint(FAINT, &rest));
    }
    text::line(out, &line);
}

fn hosts(out: &mut String, incomplete: &[v1::RollHost], screen: &Screen) {
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
    table.write(out);
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
