//! The hardware report: hosts by number of CPUs.

use rowcall_proto::v1;

use super::{Frame, instant};
use crate::text::{self, Cell, Column, FAINT, HEADING, Screen, Table};

/// Fewest characters of a CPU's model that say anything.
const MIN_MODEL: usize = 12;
/// Most characters of an architecture; the longest that there is has 11.
const MAX_ARCHITECTURE: usize = 16;

/// When a host last changed: the column that goes first where not all fit.
const CHANGED: &str = "CHANGED";

pub(super) fn write(out: &mut String, report: &v1::HardwareReport, frame: &Frame, screen: &Screen) {
    let about = "hosts by number of CPUs, most memory first";
    let then = frame.as_of.map(|at| text::timestamp(at, &screen.zone));
    match &then {
        None => text::heading(out, "HARDWARE", about),
        Some(then) => text::heading(out, "HARDWARE", &format!("{about}, as of {then}")),
    }
    if report.groups.is_empty() {
        let words = match then {
            Some(_) if frame.selected => {
                "No host that matches --select and --name was known then.".to_owned()
            }
            Some(_) => "No host was known then.".to_owned(),
            None => frame.no_hosts(),
        };
        text::paragraph(out, screen, FAINT, &words);
        return;
    }
    let (table, is_whole) = table(&report.groups, screen);
    table.write(out);
    let hosts: usize = report.groups.iter().map(|group| group.hosts.len()).sum();
    if hosts > 1 {
        let hosts = text::plural(u64::try_from(hosts).unwrap_or(u64::MAX), "host");
        text::paragraph(out, screen, FAINT, &hosts);
    }
    if !is_whole {
        text::paragraph(out, screen, FAINT, &super::left_out(&[CHANGED]));
    }
}

/// The table, and whether it has every column.
fn table(groups: &[v1::HardwareGroup], screen: &Screen) -> (Table, bool) {
    let columns = || {
        [
            Column::right("CPUS"),
            Column::left("HOST"),
            Column::right("MEMORY"),
            Column::right("L2"),
            Column::right("MHZ"),
            Column::left("ARCH"),
        ]
    };
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // The number of CPUs stands in the first row of its group alone.
    let rows = || {
        groups.iter().flat_map(|group| {
            let number = known(group.cpu_number.map(|number| text::count(number.into())));
            let numbers = std::iter::once(number).chain(std::iter::repeat(String::new()));
            group.hosts.iter().zip(numbers)
        })
    };
    let cells = |host: &v1::HardwareHost, number: String| -> [Cell; 6] {
        [
            Cell::styled(HEADING, &number),
            text::clean(&host.host_name).into(),
            known(host.total_mem_kib.map(text::kib)).into(),
            known(host.l2_cache_kib.map(text::kib)).into(),
            known(host.cpu_mhz.map(|mhz| text::decimal(mhz.into(), 0))).into(),
            known(host.cpu_architecture.as_deref().map(architecture)).into(),
        ]
    };
    let mut fixed = Table::new(columns());
    for (host, number) in rows() {
        fixed.row(cells(host, number));
    }
    // What is left is the model's and, where that fits, the last change's.
    let changed = |host: &v1::HardwareHost| {
        let at = instant(host.changed_at.as_ref());
        at.map_or_else(|| "-".to_owned(), |at| text::timestamp(at, &screen.zone))
    };
    let width = |text: &dyn Fn(&v1::HardwareHost) -> String| {
        rows().map(|(host, _)| text(host).chars().count()).max().unwrap_or(0)
    };
    let (room, changes) = (fixed.room(screen.width), width(&changed));
    let with_change = room >= width(&model).max(MIN_MODEL) + 2 + changes;
    let extra = with_change.then(|| Column::left(CHANGED));
    let mut table = Table::new(columns().into_iter().chain([Column::left("MODEL")]).chain(extra));
    for (host, number) in rows() {
        let model =
            if with_change { model(host) } else { text::cut(&model(host), room.max(MIN_MODEL)) };
        let extra = with_change.then(|| Cell::from(changed(host)));
        table.row(cells(host, number).into_iter().chain([model.into()]).chain(extra));
    }
    (table, with_change)
}

fn architecture(name: &str) -> String {
    text::cut(&text::clean(name), MAX_ARCHITECTURE)
}

/// The model without what only lawyers need.
fn model(host: &v1::HardwareHost) -> String {
    let Some(model) = &host.cpu_model else { return "-".to_owned() };
    let model = text::clean(model).replace("(R)", "").replace("(TM)", "");
    model.split_whitespace().collect::<Vec<_>>().join(" ")
}
