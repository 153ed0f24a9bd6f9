//! Finding out what a folder holds. Damage is counted and passed over, never an error.

use std::collections::VecDeque;
use std::sync::Arc;

use rowcall_core::clock::NOT_SET_BEFORE;
use rowcall_core::id::UnixMicros;

use crate::disk::{Disk, File, read_what_can_be};
use crate::format::{HEADER_BYTES, Kind, ReadHeader, SegmentHeader};
use crate::positions::{End, FILE, MAX_NUMBER, Newest, Positions, SLOT_BYTES, Slot};
use crate::scan::{Rest, Scanner, offset, rest};
use crate::segment::{Segment, first_of, name};

/// No spool holds more records than this behind the last one that is known.
const MOST_AHEAD: u64 = 1 << 24;

/// Written by a newer version, and which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newer(pub(crate) u32);

/// The two slots of the positions.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The newer whole one.
    pub(crate) positions: Option<Positions>,
    pub(crate) generation: u64,
    /// The slot to be written next: never the newer whole one.
    pub(crate) write_to: usize,
    pub(crate) file: Option<Arc<dyn File>>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segments: VecDeque<Segment>,
    /// One past the last number, ticks due up to there.
    pub(crate) end: End,
    /// The newest record that stands for ticks.
    pub(crate) newest: Option<Newest>,
    /// The newest stamp of the spool's clock, with the boot and the time since boot it was read at.
    pub(crate) stamp: Option<(u64, u32, u64)>,
    pub(crate) latest_time: Option<i64>,
    /// The first record of a boot whose own clock was not set, and its newest time since boot.
    pub(crate) unset: Option<u64>,
    pub(crate) latest_since_boot: u64,
    /// Something stands behind the last record that must be wiped before more is written.
    pub(crate) wipe: bool,
}

pub(crate) fn slots(disk: &dyn Disk) -> Result<Slots, Newer> {
    let mut slots = Slots { positions: None, generation: 0, write_to: 0, file: None };
    let Ok(file) = disk.open(FILE) else { return Ok(slots) };
    let mut bytes = vec![0; SLOT_BYTES];
    let mut newer = None;
    for slot in 0..2 {
        let at = offset(slot * SLOT_BYTES);
        if read_what_can_be(file.as_ref(), &mut bytes, at) < SLOT_BYTES {
            continue;
        }
        match Positions::decode(&bytes) {
            Slot::Ok(generation, positions) if generation >= slots.generation => {
                slots.generation = generation;
                slots.positions = Some(*positions);
                slots.write_to = 1 - slot;
            }
            Slot::Ok(..) | Slot::Damaged => {}
            Slot::Newer(version) => newer = Some(Newer(version)),
        }
    }
    slots.file = Some(file);
    newer.map_or(Ok(slots), Err)
}

/// Numbers of the segments that are there, in order.
pub(crate) fn firsts(disk: &dyn Disk) -> Vec<u64> {
    let names = disk.list().unwrap_or_default();
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    firsts
}

fn header(file: &dyn File) -> ReadHeader {
    let mut bytes = vec![0; HEADER_BYTES];
    let read = read_what_can_be(file, &mut bytes, 0);
    SegmentHeader::decode(bytes.get(..read).unwrap_or(&[]))
}

/// The host that it belongs to, where one is known, if no newer version wrote it.
pub(crate) fn owner(disk: &dyn Disk) -> Result<String, Newer> {
    let slots = slots(disk)?;
    believed(disk, &firsts(disk), slots.positions.as_ref())?;
    Ok(slots.positions.map(|positions| positions.owner).unwrap_or_default())
}

/// Looks through the segments. Times are told as `positions` knows them.
pub(crate) fn segments(
    disk: &dyn Disk,
    firsts: &[u64],
    positions: Option<&Positions>,
    this_boot: Option<u32>,
) -> Result<Found, Newer> {
    let mut found = Found {
        segments: VecDeque::new(),
        end: End { next: 1, due: 0 },
        newest: None,
        stamp: None,
        latest_time: None,
        unset: None,
        latest_since_boot: 0,
        wipe: false,
    };
    if let Some(positions) = positions {
        found.end = End { next: positions.floor, due: positions.floor_due };
    }
    let mut behind = Rest::Clean;
    let files = believed(disk, firsts, positions)?;
    for (at, Candidate { first, file, header }) in files.iter().enumerate() {
        let limit = files.get(at + 1).map_or(MAX_NUMBER, |next| next.first);
        let len = file.len().unwrap_or(0);
        if let Some(known) = positions.and_then(|p| p.known).filter(|k| k.number < *first) {
            found.end.due = found.end.due.max(known.due);
        }
        let due_before = header.map_or(found.end.due, |header| header.due_before);
        let salt = header.map(|header| header.salt);
        let data = offset(HEADER_BYTES).min(len);
        let mut segment = Segment::new(*first, due_before, salt, data, len);
        if let Some(salt) = salt {
            found.scan(&mut segment, file.as_ref(), salt, limit, positions, this_boot);
        }
        if at + 1 == files.len() && salt.is_some() {
            behind = rest(file.as_ref(), segment.data_end, len);
        }
        found.end = End { next: segment.last + 1, due: segment.due_last };
        found.segments.push_back(segment);
    }
    found.wipe = behind != Rest::Clean;
    let known = positions.map_or_else(End::default, |positions| positions.end);
    if known.next > found.end.next {
        found.end = End { next: known.next, due: known.due.max(found.end.due) };
    } else if behind == Rest::Damaged {
        found.end = End { next: found.end.next + 1, due: found.end.due.saturating_add(1) };
    }
    if let Some(known) = positions.and_then(|positions| positions.known)
        && known.number >= found.end.next
    {
        found.end = End { next: known.number + 1, due: known.due.max(found.end.due) };
    }
    if let Some(positions) = positions {
        // What was acknowledged existed, whatever became of it.
        let least = positions.acknowledged.saturating_add(1);
        let unknown = least.saturating_sub(found.end.next);
        found.end.next += unknown;
        found.end.due = found.end.due.saturating_add(i64::try_from(unknown).unwrap_or(0));
        if let Some(told) = positions.newest.filter(|told| told.number < found.end.next)
            && found.newest.is_none_or(|newest| newest.number < told.number)
        {
            found.newest = Some(told);
        }
    }
    Ok(found)
}

/// A file that has a segment's name.
struct Candidate {
    first: u64,
    file: Arc<dyn File>,
    /// `None`: it is damaged, or another segment's.
    header: Option<SegmentHeader>,
}

/// The files that are segments. One that does not say itself what its name says is believed only
/// where its number could be: else it is left alone, and nothing of it counts.
fn believed(
    disk: &dyn Disk,
    firsts: &[u64],
    positions: Option<&Positions>,
) -> Result<Vec<Candidate>, Newer> {
    let mut next = positions.map_or(1, |p| p.end.next.max(p.acknowledged).max(p.floor));
    let mut files = Vec::with_capacity(firsts.len());
    for first in firsts.iter().copied() {
        let Ok(file) = disk.open(&name(first)) else { continue };
        let header = match header(file.as_ref()) {
            ReadHeader::Ok(header) if header.first == first && first <= MAX_NUMBER => Some(header),
            ReadHeader::Newer(version) => return Err(Newer(version)),
            ReadHeader::Ok(_) | ReadHeader::Damaged => None,
        };
        if header.is_some() {
            next = next.max(first);
        } else if first > next.saturating_add(MOST_AHEAD) {
            tracing::warn!(file = name(first), "this is no segment of the spool; it is left alone");
            continue;
        }
        files.push(Candidate { first, file, header });
    }
    Ok(files)
}

impl Found {
    fn scan(
        &mut self,
        segment: &mut Segment,
        file: &dyn File,
        salt: u64,
        limit: u64,
        positions: Option<&Positions>,
        this_boot: Option<u32>,
    ) {
        let base = positions.map_or(0, |positions| positions.base);
        let mut scanner = Scanner::whole(file, salt, segment.len);
        while let Some(record) = scanner.next(segment.last.saturating_add(1)) {
            let head = record.head;
            if head.number >= limit {
                break;
            }
            let time = positions.map_or(UnixMicros(head.time), |positions| {
                positions.time(head.time, head.boot, head.since_boot).0
            });
            let expected = segment.last.saturating_add(1).max(base.saturating_add(1));
            segment.damaged += head.number.saturating_sub(expected);
            segment.push(&head, time.0, record.next);
            if head.ticks > 0 && head.kind == Kind::Record {
                self.newest = Some(Newest {
                    number: head.number,
                    time: head.time,
                    since_boot: head.since_boot,
                    boot: head.boot,
                });
            }
            self.latest_time = self.latest_time.max(Some(time.0));
            self.stamp = Some((head.stamp, head.boot, head.since_boot));
            if Some(head.boot) == this_boot {
                self.latest_since_boot = self.latest_since_boot.max(head.since_boot);
                if time < NOT_SET_BEFORE && head.kind == Kind::Record {
                    self.unset.get_or_insert(head.number);
                }
            }
        }
    }
}
