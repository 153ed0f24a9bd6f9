//! What a check has to say of hosts and windows, and of how many.

use rowcall_proto::v1::{self, UnobservedCause, WindowState};

use super::{Frame, unobserved};
use crate::text;

/// The hosts of a roll by what is to be said of them.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    /// With a silent window.
    pub(super) silent: Vec<&'a str>,
    /// With a window that is partial, skewed, or late by a fault of its own.
    pub(super) flawed: Vec<&'a str>,
    /// With samples, and nothing against them.
    pub(super) well: u64,
    /// Windows late because nobody could receive.
    pub(super) pardoned: Count,
    /// Of the last one.
    pub(super) cause: Option<UnobservedCause>,
    /// Windows of planned stops.
    pub(super) excused: Count,
}

impl<'a> Seen<'a> {
    /// Looks at all hosts that are not complete.
    pub(super) fn of(roll: &'a v1::RollReport, frame: &Frame) -> Self {
        let pardons = unobserved::Pardons::of(&roll.unobserved, frame);
        let mut seen = Self { well: roll.complete_hosts.into(), ..Self::default() };
        for host in &roll.incomplete {
            let (mut silent, mut flawed, mut answered) = (false, false, false);
            let (mut pardoned, mut excused) = (0, 0);
            for (window, state) in host.states().enumerate() {
                match state {
                    WindowState::Complete => answered = true,
                    WindowState::Silent => silent = true,
                    WindowState::Partial | WindowState::Skewed => flawed = true,
                    WindowState::Late => match pardons.late(window) {
                        Some(cause) => {
                            answered = true;
                            pardoned += 1;
                            seen.cause = Some(cause);
                        }
                        None => flawed = true,
                    },
                    WindowState::Excused => excused += 1,
                    _ => {}
                }
            }
            if silent {
                seen.silent.push(&host.host_name);
            }
            if flawed {
                seen.flawed.push(&host.host_name);
            }
            seen.well += u64::from(answered && !silent && !flawed);
            seen.pardoned.add(pardoned);
            seen.excused.add(excused);
        }
        seen
    }
}

/// Windows of how many hosts.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    /// Over all these hosts.
    pub(super) windows: u64,
    hosts: u64,
    /// Of the host that has most of them.
    most: u64,
}

impl Count {
    /// The windows of one more host.
    fn add(&mut self, windows: u64) {
        self.windows += windows;
        self.hosts += u64::from(windows > 0);
        self.most = self.most.max(windows);
    }

    /// The line ends with how many windows there were: no number here may be mistaken for those.
    pub(super) fn words(self) -> String {
        let hosts = text::plural(self.hosts, "host");
        match self.hosts {
            0 | 1 => text::plural(self.windows, "window"),
            all if all.saturating_mul(self.most) == self.windows => {
                format!("{} of {hosts}", text::plural(self.most, "window"))
            }
            _ => format!("{} of {hosts} together", text::plural(self.windows, "window")),
        }
    }
}

/// So many unobserved windows in words, and the last cause of some. Hosts that are complete but for
/// these stand in the answer by their number only.
pub(super) fn unobserved_of(roll: &v1::RollReport, windows: u64) -> (Count, &'static str) {
    let missing = || roll.unobserved.iter().filter(|span| span.hosts > 0);
    let last = missing().next_back().or_else(|| roll.unobserved.last());
    let why = last.map_or("?", |span| unobserved::why(span.cause()));
    let hosts = last.map_or(0, |span| span.hosts);
    // Where times differ in their hosts, those may be any.
    let count = if missing().all(|span| span.hosts == hosts) {
        let each = windows.checked_div(hosts.into()).unwrap_or(windows);
        Count { windows, hosts: hosts.into(), most: each }
    } else {
        Count { windows, hosts: roll.hosts.into(), most: windows }
    };
    (count, why)
}
