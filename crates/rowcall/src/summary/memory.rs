//! The memory report: one line per host, one mark per window.

use rowcall_proto::v1;

use super::Frame;
use crate::text::{self, Cell, Column, FAINT, SPARK_NONE_ASCII, Screen, Table};

/// Fewest marks in a line.
const MIN_MARKS: usize = 12;

pub(super) fn write(out: &mut String, report: &v1::MemoryReport, frame: &Frame, screen: &Screen) {
    text::heading(out, "MEMORY", "used (total - free), in percent of total; caches count as used");
    let has_value = |host: &v1::MemoryHost| host.used_percent.iter().any(|value| !value.is_nan());
    if !report.hosts.iter().any(has_value) {
        text::paragraph(out, screen, FAINT, &frame.no_sample(screen));
        return;
    }
    let columns = [
        Column::left("HOST"),
        Column::right("AVERAGE"),
        Column::right("MIN"),
        Column::right("MAX"),
        Column::right("LAST"),
        Column::right("HELD"),
    ];
    let cells = |host: &v1::MemoryHost| -> [Cell; 6] {
        let values = Values::of(&host.used_percent);
        [
            text::clean(&host.host_name).into(),
            percent(values.mean),
            percent(values.min),
            percent(values.max),
            percent(values.last),
            percent(Values::of(&host.unavailable_percent).mean),
        ]
    };
    let mut fixed = Table::new(columns.clone());
    for host in &report.hosts {
        fixed.row(cells(host));
    }
    let room = fixed.room(screen.width).max(MIN_MARKS);
    let mut table = Table::new(columns.into_iter().chain([Column::left("WINDOWS")]));
    let mut size = 1;
    for host in &report.hosts {
        let mean = |group: &[f32]| Values::of(group).mean.unwrap_or(f32::NAN);
        let (marks, group) = text::fold(&host.used_percent, room, mean);
        size = size.max(group);
        let marks = text::spark(&marks, screen.unicode);
        table.row(cells(host).into_iter().chain([marks.into()]));
    }
    table.write(out);
    let scale = if screen.unicode {
        "WINDOWS: ▁ is 0 %, █ is 100 %, a blank has no sample".to_owned()
    } else {
        format!("WINDOWS: 4 is 40 to 49 %, {SPARK_NONE_ASCII} has no sample")
    };
    let size = if size > 1 { format!(", one mark per {size} windows") } else { String::new() };
    let legend = format!(
        "{scale}{size}. HELD: average of what programs hold (total - available). AVERAGE, MIN and \
         MAX are over windows, LAST is the last one with a sample."
    );
    text::paragraph(out, screen, FAINT, &legend);
}

fn percent(value: Option<f32>) -> Cell {
    value.map_or_else(|| "-".to_owned(), |value| text::decimal(value.into(), 1)).into()
}

/// What the windows with a sample say together.
#[derive(Debug, Default, PartialEq)]
struct Values {
    mean: Option<f32>,
    min: Option<f32>,
    max: Option<f32>,
    last: Option<f32>,
}

impl Values {
    fn of(windows: &[f32]) -> Self {
        let there = || windows.iter().copied().filter(|value| !value.is_nan());
        let (sum, number) =
            there().fold((0.0_f32, 0.0_f32), |(sum, number), value| (sum + value, number + 1.0));
        Self {
            mean: (number > 0.0).then(|| sum / number),
            min: there().reduce(f32::min),
            max: there().reduce(f32::max),
            last: there().next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_without_a_sample_count_for_nothing() {
        let values = Values::of(&[f32::NAN, 10.0, 30.0, f32::NAN]);
        let some = Some;
        assert_eq!(
            values,
            Values { mean: some(20.0), min: some(10.0), max: some(30.0), last: some(30.0) }
        );
        assert_eq!(Values::of(&[f32::NAN]), Values::default());
    }
}
