//! What is kept in memory of a segment: a few numbers, whatever it holds.

use crate::format::Head;

/// The file that becomes the next segment.
pub(crate) const NEXT: &str = "next";

const SUFFIX: &str = ".seg";

/// A segment on disk.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Number of its first record, and ticks due before that.
    pub(crate) first: u64,
    pub(crate) due_before: i64,
    /// `None`: its header is damaged, and nothing in it can be read.
    pub(crate) salt: Option<u64>,
    /// The last number that is known to be in it (one below `first`: none), and ticks due there.
    pub(crate) last: u64,
    pub(crate) due_last: i64,
    /// Where the next record goes.
    pub(crate) data_end: u64,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Its first and last record.
    pub(crate) oldest: Option<Head>,
    pub(crate) newest: Option<Head>,
    /// No time of its records lies outside.
    pub(crate) times: Option<(i64, i64)>,
    /// Numbers that are damaged, among those from `first` through `last`.
    pub(crate) damaged: u64,
}

impl Segment {
    pub(crate) fn new(first: u64, due_before: i64, salt: Option<u64>, data: u64, len: u64) -> Self {
        Self {
            first,
            due_before,
            salt,
            last: first - 1,
            due_last: due_before,
            data_end: data,
            len,
            oldest: None,
            newest: None,
            times: None,
            damaged: 0,
        }
    }

    /// A record is in it, and ends at `data_end`.
    pub(crate) fn push(&mut self, head: &Head, time: i64, data_end: u64) {
        self.last = head.through();
        self.due_last = head.due;
        self.data_end = data_end;
        self.oldest.get_or_insert(*head);
        self.newest = Some(*head);
        let (min, max) = self.times.unwrap_or((time, time));
        self.times = Some((min.min(time), max.max(time)));
    }

    pub(crate) fn name(&self) -> String {
        name(self.first)
    }
}

/// The file of the segment that begins at a number.
pub(crate) fn name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The number that a segment's file name tells.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_name = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_name { digits.parse().ok().filter(|first| *first > 0) } else { None }
}
