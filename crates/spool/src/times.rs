//! No two records that are held have the same time: host and time name a row.

use std::collections::BTreeSet;

use crate::disk::Disk;
use crate::positions::Positions;
use crate::scan::Scanner;
use crate::segment::Segment;

/// Times remembered at once.
const REMEMBERED: usize = 4096;

/// The times that are held in a span: asked for only while the wall clock is behind what it was.
#[derive(Debug)]
pub(crate) struct Taken {
    from: i64,
    /// Times from here on are not known; `None`: all are.
    until: Option<i64>,
    times: BTreeSet<i64>,
}

impl Taken {
    /// Reads the times from `from` on.
    pub(crate) fn read(
        disk: &dyn Disk,
        segments: &[Segment],
        positions: &Positions,
        from: i64,
    ) -> Self {
        let mut taken = Self { from, until: None, times: BTreeSet::new() };
        for segment in segments {
            if segment.times.is_none_or(|(_, max)| max < from) {
                continue;
            }
            let Some((file, salt)) = disk.open(&segment.name()).ok().zip(segment.salt) else {
                continue;
            };
            let mut scanner = Scanner::whole(file.as_ref(), salt, segment.data_end);
            let mut least = segment.first;
            while let Some(found) = scanner.next(least) {
                let head = found.head;
                least = head.through().saturating_add(1);
                taken.insert(positions.time(head.time, head.boot, head.since_boot).0.0);
            }
        }
        taken
    }

    /// Whether it is known of a time whether it is taken.
    pub(crate) fn knows(&self, time: i64) -> bool {
        time >= self.from && self.until.is_none_or(|until| time < until)
    }

    pub(crate) fn contains(&self, time: i64) -> bool {
        self.times.contains(&time)
    }

    /// A time is taken now.
    pub(crate) fn insert(&mut self, time: i64) {
        if !self.knows(time) {
            return;
        }
        self.times.insert(time);
        if self.times.len() > REMEMBERED {
            self.until = self.times.pop_last();
        }
    }
}
