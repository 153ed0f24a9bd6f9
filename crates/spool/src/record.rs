//! Bodies to payloads and back.

use prost::Message as _;
use rowcall_core::convert::{self, record_to_wire};
use rowcall_core::devices::{Devices, SkipReason, Skipped};
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::record::{Body, Gap, GapCause, GapState, HostFacts, Record};

use crate::bytes::Take;
use crate::format::{HEAD_BYTES, Head, Kind, MAX_RECORD_BYTES};
use crate::hole::{Dropped, Hole, width};
use crate::positions::{Known, Positions};

/// What a record adds to an encoded Batch, in bytes.
#[must_use]
pub fn wire_bytes(record: &Record) -> usize {
    let body = record_to_wire(record).encoded_len();
    1 + prost::length_delimiter_len(body) + body
}

/// A body as it is kept: a record without what its head tells. One that no record holds is cut
/// down to what its kind can do without.
pub(crate) fn payload(body: Body) -> Vec<u8> {
    let sequence = Sequence::FIRST;
    let record =
        |body| record_to_wire(&Record { sequence, time: UnixMicros(0), due_ticks: 0, body });
    let fits = |wire: &pb::Record| wire.encoded_len() + HEAD_BYTES + 2 <= MAX_RECORD_BYTES;
    let mut wire = record(body);
    if !fits(&wire) {
        match wire.body {
            Some(pb::record::Body::HostInfo(info)) => {
                // Texts longer than any aggregator would keep, or more devices than fit.
                let facts = convert::host_facts(*info);
                wire = record(Body::HostFacts(Box::new(facts.clone())));
                if !fits(&wire) {
                    let without = HostFacts { disks: None, interfaces: None, ..facts };
                    wire = record(Body::HostFacts(Box::new(without)));
                }
            }
            Some(pb::record::Body::Devices(_)) => {
                wire = record(Body::Devices(Box::new(too_large())));
            }
            _ => {}
        }
    }
    wire.sequence = 0;
    if let Some(pb::record::Body::Gap(gap)) = &mut wire.body {
        gap.through_sequence = 0;
    }
    wire.encode_to_vec()
}

/// In place of a reading of devices that should have come in parts.
fn too_large() -> Devices {
    let (collector, reason) = ("devices".to_owned(), SkipReason::Limit);
    Devices {
        skipped: vec![Skipped { collector, item: None, reason, count: 1 }],
        ..Devices::default()
    }
}

/// The sequence of a number, within the epoch of these positions.
pub(crate) fn sequence(positions: &Positions, number: u64) -> Sequence {
    Sequence::new(number.saturating_sub(positions.base)).unwrap_or(Sequence::FIRST)
}

/// A record as it is sent.
pub(crate) fn record(positions: &Positions, head: &Head, payload: &[u8]) -> Record {
    record_from(positions, head, payload, head.number)
}

/// The part of it from a number on: only what covers many has parts.
pub(crate) fn record_from(positions: &Positions, head: &Head, payload: &[u8], from: u64) -> Record {
    let sequence = sequence(positions, head.number);
    let (time, shift) = positions.time(head.time, head.boot, head.since_boot);
    let due_ticks = head.due.saturating_sub(positions.base_due);
    if head.kind == Kind::Hole {
        let covered = (head.number, head.through());
        let hole =
            Hole::decode(&mut Take(payload)).filter(|hole| (hole.first, hole.through) == covered);
        return match hole {
            Some(hole) => gap_of(positions, &hole, from),
            None => unreadable_hole(positions, head, from, time, due_ticks),
        };
    }
    let Ok(mut wire) = pb::Record::decode(payload) else {
        return invalid(sequence, time, due_ticks);
    };
    wire.sequence = sequence.as_u64();
    if let Some(pb::record::Body::Gap(gap)) = &mut wire.body {
        gap.through_sequence = sequence.as_u64();
    }
    match convert::record(wire) {
        Ok(mut record) => {
            record.time = time;
            record.due_ticks = due_ticks;
            if shift != 0 {
                move_body(&mut record.body, shift);
            }
            record
        }
        Err(_) => invalid(sequence, time, due_ticks),
    }
}

/// The times in a body are moved along with the record's.
fn move_body(body: &mut Body, shift: i64) {
    match body {
        Body::Sample(sample) => sample.clock_shift_us = Some(shift),
        Body::Gap(gap) => {
            gap.from = gap.from.plus_micros(shift);
            gap.to = gap.to.plus_micros(shift);
        }
        Body::HostFacts(facts) => {
            facts.booted = facts.booted.map(|booted| booted.plus_micros(shift));
        }
        Body::Devices(_) | Body::Invalid(_) => {}
    }
}

fn invalid(sequence: Sequence, time: UnixMicros, due_ticks: i64) -> Record {
    let body = Body::Invalid("a record of the spool that this version cannot read");
    Record { sequence, time, due_ticks, body }
}

/// A hole that does not say what its head says: all that it covers is told, and its ticks.
fn unreadable_hole(
    positions: &Positions,
    head: &Head,
    from: u64,
    time: UnixMicros,
    due_ticks: i64,
) -> Record {
    let gap = Gap {
        through: sequence(positions, head.through()),
        ticks: head.ticks,
        state: GapState::Corrupt,
        cause: GapCause::Storage,
        from: time,
        to: time,
    };
    Record { sequence: sequence(positions, from), time, due_ticks, body: Body::Gap(gap) }
}

/// The part of a hole from a number on, as it is sent.
pub(crate) fn gap_of(positions: &Positions, hole: &Hole, from: u64) -> Record {
    let first = from.max(hole.first);
    let gap = Gap {
        through: sequence(positions, hole.through),
        ticks: hole.due_at(hole.through).saturating_sub(hole.due_at(first.saturating_sub(1))),
        state: GapState::Dropped,
        cause: hole.cause,
        from: hole.from,
        to: hole.to,
    };
    Record {
        sequence: sequence(positions, first),
        time: hole.time,
        due_ticks: hole.due_at(hole.through).saturating_sub(positions.base_due),
        body: Body::Gap(gap),
    }
}

/// What a hole is told of a record.
pub(crate) fn dropped(positions: &Positions, head: &Head, payload: &[u8]) -> Dropped {
    let record = record(positions, head, payload);
    let (from, to) = match &record.body {
        Body::Gap(gap) => (gap.from, gap.to),
        Body::Sample(_) | Body::HostFacts(_) | Body::Devices(_) | Body::Invalid(_) => {
            (record.time, record.time)
        }
    };
    Dropped {
        first: head.number,
        through: head.through(),
        due_before: head.due_before(),
        ticks: head.ticks,
        from,
        to,
        time: record.time,
    }
}

/// Records that are lost from the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) first: u64,
    pub(crate) through: u64,
    /// Ticks due before the first, and up to the last.
    pub(crate) due_before: i64,
    pub(crate) due_through: i64,
    /// Time of the record before and of the one after, where there are any.
    pub(crate) before: Option<UnixMicros>,
    pub(crate) after: Option<UnixMicros>,
    /// A number at or before these up to which it is known what was due, and when that was.
    pub(crate) known: Option<Known>,
    /// Where the epoch begins, and ticks due there.
    pub(crate) base: (u64, i64),
}

impl Lost {
    /// Ticks due up to a number inside. What was due where the acknowledged part ends is known. Of
    /// each part besides it is lost which stood for how many: it is one each, with what is too many
    /// at the end, and none at the beginning where there are too few.
    pub(crate) fn due_at(&self, number: u64) -> i64 {
        let (mut first, mut through) = (self.first, self.through);
        let (mut due_before, mut due_through) = (self.due_before, self.due_through);
        let known = self.known.map(|known| (known.number, known.due));
        for (at, due) in [Some(self.base), known].into_iter().flatten() {
            if !(first..through).contains(&at) {
                continue;
            }
            let due = due.max(due_before).min(due_through);
            if number <= at {
                (through, due_through) = (at, due);
            } else {
                (first, due_before) = (at.saturating_add(1), due);
            }
        }
        if number >= through {
            return due_through;
        }
        let ticks = due_through.saturating_sub(due_before);
        let too_few = width(first, through).saturating_sub(ticks).max(0);
        due_before.saturating_add((width(first, number) - too_few).max(0))
    }

    /// The part from a number on, as it is sent. Its time is that of the record before, which
    /// stays the same as long as that record does.
    pub(crate) fn gap(&self, positions: &Positions, from: u64) -> Record {
        let first = from.max(self.first);
        let known = self.known.filter(|known| known.number < first).and_then(|known| known.time);
        let time = self.before.or(known).or(self.after);
        let time = time.unwrap_or(UnixMicros(positions.moment.wall));
        let gap = Gap {
            through: sequence(positions, self.through),
            ticks: self.due_through.saturating_sub(self.due_at(first.saturating_sub(1))),
            state: GapState::Corrupt,
            cause: GapCause::Storage,
            from: time,
            to: self.after.unwrap_or(time).max(time),
        };
        Record {
            sequence: sequence(positions, first),
            time,
            due_ticks: self.due_through.saturating_sub(positions.base_due),
            body: Body::Gap(gap),
        }
    }
}
