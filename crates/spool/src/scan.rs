//! Finds the records of a segment, past whatever is damaged.

use crate::disk::{File, read_what_can_be};
use crate::format::{
    ALIGN, END, HEADER_BYTES, Head, MAX_RECORD_BYTES, decode_record, plausible_length,
};

/// Read at a time; at least twice the largest record.
const WINDOW_BYTES: usize = 64 * 1024;

/// Walks over a segment through a small window.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    file: &'a dyn File,
    salt: u64,
    /// Nothing at or past this offset is looked at.
    end: u64,
    window: Vec<u8>,
    /// Offset of the window's first byte.
    window_at: u64,
    /// Where the next record is looked for, in the window.
    at: usize,
    payload: std::ops::Range<usize>,
}

/// A record that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) head: Head,
    /// Where the next one may begin.
    pub(crate) next: u64,
}

/// What stands behind the last record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    Clean,
    /// A record that was never written whole.
    Torn,
    /// What may have been a whole record.
    Damaged,
}

impl<'a> Scanner<'a> {
    /// From an offset at which a record may begin.
    pub(crate) fn new(file: &'a dyn File, salt: u64, from: u64, end: u64) -> Self {
        Self { file, salt, end, window: Vec::new(), window_at: from, at: 0, payload: 0..0 }
    }

    /// Over the whole of a segment.
    pub(crate) fn whole(file: &'a dyn File, salt: u64, end: u64) -> Self {
        Self::new(file, salt, offset(HEADER_BYTES), end)
    }

    /// The next whole record with a number of at least `least`.
    pub(crate) fn next(&mut self, least: u64) -> Option<Found> {
        loop {
            self.fill(MAX_RECORD_BYTES);
            let bytes = self.window.get(self.at..).unwrap_or(&[]);
            if bytes.is_empty() {
                return None;
            }
            if let Some((head, payload, length)) = decode_record(bytes, self.salt, least) {
                let begin = self.at + crate::format::HEAD_BYTES;
                self.payload = begin..begin + payload.len();
                self.at += length;
                return Some(Found { head, next: self.window_at + offset(self.at) });
            }
            self.at = (self.at + ALIGN).min(self.window.len());
        }
    }

    /// What the record found last carries.
    pub(crate) fn payload(&self) -> &[u8] {
        self.window.get(self.payload.clone()).unwrap_or(&[])
    }

    /// Moves the window on when fewer than `least` bytes are left in it.
    fn fill(&mut self, least: usize) {
        if self.window.len() - self.at >= least {
            return;
        }
        let read_to = self.window_at + offset(self.window.len());
        let wanted = usize::try_from(self.end.saturating_sub(read_to)).unwrap_or(usize::MAX);
        if wanted == 0 {
            return;
        }
        self.window.drain(..self.at);
        self.window_at += offset(self.at);
        self.at = 0;
        let kept = self.window.len();
        self.window.resize((kept + wanted).min(WINDOW_BYTES), 0);
        let free = self.window.get_mut(kept..).unwrap_or(&mut []);
        let read = read_what_can_be(self.file, free, read_to);
        self.window.truncate(kept + read);
        if read == 0 {
            self.end = read_to;
        }
    }
}

/// What stands from `from`, behind the last record, to the end of the file.
pub(crate) fn rest(file: &dyn File, from: u64, end: u64) -> Rest {
    let mut window = vec![0; 4096];
    let (mut at, mut last, mut first_length) = (from, None, None);
    while at < end {
        let wanted = usize::try_from(end - at).map_or(window.len(), |left| left.min(window.len()));
        let Some(buffer) = window.get_mut(..wanted) else { break };
        let read = read_what_can_be(file, buffer, at);
        if read == 0 {
            break;
        }
        let bytes = buffer.get(..read).unwrap_or(&[]);
        if at == from {
            first_length = plausible_length(bytes);
        }
        if let Some(place) = bytes.iter().rposition(|byte| *byte != 0) {
            let byte = bytes.get(place).copied().unwrap_or(0);
            last = Some((at + offset(place), byte));
        }
        at += offset(read);
    }
    let Some((place, byte)) = last else { return Rest::Clean };
    let length = usize::try_from(place + 1 - from).unwrap_or(usize::MAX);
    // A record that was written whole ends with a byte of its own.
    let whole = byte == END && length.is_multiple_of(ALIGN);
    let reaches = first_length.is_none_or(|first| length >= first);
    if whole || (reaches && first_length.is_some()) { Rest::Damaged } else { Rest::Torn }
}

pub(crate) fn offset(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
