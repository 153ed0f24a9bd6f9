//! What the spool knows beside its records: where its epoch begins, what is acknowledged, what was
//! dropped. One small file of two slots that are written in turn, so that one is always whole.

use rowcall_core::clock::NOT_SET_BEFORE;
use rowcall_core::id::{Epoch, UnixMicros};
use rowcall_core::record::EpochOrigin;

use crate::bytes::{Put, Take};
use crate::format::VERSION;
use crate::hole::Hole;

/// Its file.
pub(crate) const FILE: &str = "positions";
/// Each of its two slots.
pub(crate) const SLOT_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"rowclPOS";
const CRC_AT: std::ops::Range<usize> = 12..16;

/// Longest boot id kept; the kernel's has 36 bytes.
const MAX_BOOT_ID_BYTES: usize = 64;

/// Longest owner kept; no host's name is longer.
const MAX_OWNER_BYTES: usize = 255;

/// No spool comes to a number above this: one that is above is damage, whatever its checksum says.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Boots whose clock was found late, remembered one by one, the newest ones.
const MAX_SHIFTS: usize = 16;

/// An instant by the spool's clock and two of the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The spool's own clock, in microseconds: it never goes back and nobody sets it.
    pub(crate) stamp: u64,
    pub(crate) since_boot: u64,
    pub(crate) wall: i64,
}

/// The end of what is known to be kept: damage at the very end of the newest segment shows by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// One past the last number.
    pub(crate) next: u64,
    /// Ticks due up to it.
    pub(crate) due: i64,
}

/// The newest record that stands for ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) time: i64,
    pub(crate) since_boot: u64,
    pub(crate) boot: u32,
}

/// What was due up to a number that was acknowledged, so that it stands when its record is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) number: u64,
    pub(crate) due: i64,
    /// Time of the record that ends there.
    pub(crate) time: Option<UnixMicros>,
}

/// See the module's page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Positions {
    /// The host whose records these are; empty: nobody told yet.
    pub(crate) owner: String,
    pub(crate) epoch: Epoch,
    pub(crate) origin: EpochOrigin,
    /// The number before sequence 1, and the ticks due up to it.
    pub(crate) base: u64,
    pub(crate) base_due: i64,
    /// Acknowledged up to this number; when, by the wall clock, where anything was.
    pub(crate) acknowledged: u64,
    pub(crate) acknowledged_at: Option<UnixMicros>,
    /// Of the last acknowledgement that was stored.
    pub(crate) known: Option<Known>,
    /// Everything below this number was dropped, and the ticks due up to there.
    pub(crate) floor: u64,
    pub(crate) floor_due: i64,
    /// The part of it that nobody acknowledged.
    pub(crate) hole: Option<Hole>,
    /// Records of this epoch that were dropped unacknowledged; damaged ones among what is gone.
    pub(crate) dropped: u64,
    pub(crate) damaged_gone: u64,
    /// The boot in which this was written, and its number.
    pub(crate) boot_id: String,
    pub(crate) boot: u32,
    /// Wall clock less time since boot, of boots that began without a clock.
    pub(crate) shifts: Vec<(u32, i64)>,
    pub(crate) interval_us: u64,
    pub(crate) moment: Moment,
    pub(crate) end: End,
    pub(crate) newest: Option<Newest>,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Slot {
    Ok(u64, Box<Positions>),
    Newer(u32),
    Damaged,
}

impl Positions {
    /// Of a spool that holds nothing below `first`.
    pub(crate) fn new(epoch: Epoch, origin: EpochOrigin, first: u64, due: i64) -> Self {
        Self {
            owner: String::new(),
            epoch,
            origin,
            base: first - 1,
            base_due: due,
            acknowledged: first - 1,
            acknowledged_at: None,
            known: None,
            floor: first,
            floor_due: due,
            hole: None,
            dropped: 0,
            damaged_gone: 0,
            boot_id: String::new(),
            boot: 0,
            shifts: Vec::new(),
            interval_us: 0,
            moment: Moment::default(),
            end: End { next: first, due },
            newest: None,
        }
    }

    /// The time of a record that was read at `since_boot` of a boot, and by how much it was moved
    /// because the clock was not set then.
    pub(crate) fn time(&self, time: i64, boot: u32, since_boot: u64) -> (UnixMicros, i64) {
        let own = UnixMicros(time);
        if own >= NOT_SET_BEFORE {
            return (own, 0);
        }
        match self.shift(boot) {
            Some(offset) => {
                let since_boot = i64::try_from(since_boot).unwrap_or(i64::MAX);
                let moved = UnixMicros(offset.saturating_add(since_boot));
                (moved, moved.since(own))
            }
            None => (own, 0),
        }
    }

    /// What is known of the clock of a boot that began without one.
    pub(crate) fn shift(&self, boot: u32) -> Option<i64> {
        self.shifts.iter().find(|(known, _)| *known == boot).map(|(_, offset)| *offset)
    }

    /// Remembers it.
    pub(crate) fn set_shift(&mut self, boot: u32, offset: i64) {
        self.shifts.push((boot, offset));
        if self.shifts.len() > MAX_SHIFTS {
            self.shifts.remove(0);
        }
    }

    pub(crate) fn encode(&self, generation: u64) -> Vec<u8> {
        let mut put = Put(Vec::with_capacity(SLOT_BYTES));
        put.bytes(&MAGIC);
        put.u32(VERSION);
        put.u32(0);
        put.u64(generation);
        put.u64(self.epoch.as_u64());
        put.u8(match self.origin {
            EpochOrigin::Unknown => 0,
            EpochOrigin::New => 1,
            EpochOrigin::RolledBack => 2,
            EpochOrigin::Damaged => 3,
        });
        put.u64(self.base);
        put.i64(self.base_due);
        put.u64(self.acknowledged);
        put.u8(u8::from(self.acknowledged_at.is_some()));
        put.i64(self.acknowledged_at.map_or(0, |at| at.0));
        put.u64(self.floor);
        put.i64(self.floor_due);
        put.u64(self.dropped);
        put.u64(self.damaged_gone);
        let boot_id = self.boot_id.as_bytes();
        let boot_id = boot_id.get(..boot_id.len().min(MAX_BOOT_ID_BYTES)).unwrap_or(&[]);
        put.u8(u8::try_from(boot_id.len()).unwrap_or(0));
        put.bytes(boot_id);
        put.u32(self.boot);
        put.u8(u8::try_from(self.shifts.len()).unwrap_or(0));
        for (boot, offset) in &self.shifts {
            put.u32(*boot);
            put.i64(*offset);
        }
        put.u64(self.interval_us);
        put.u64(self.moment.stamp);
        put.u64(self.moment.since_boot);
        put.i64(self.moment.wall);
        put.u64(self.end.next);
        put.i64(self.end.due);
        put.u8(u8::from(self.newest.is_some()));
        if let Some(newest) = &self.newest {
            put.u64(newest.number);
            put.i64(newest.time);
            put.u64(newest.since_boot);
            put.u32(newest.boot);
        }
        put.u8(u8::from(self.hole.is_some()));
        if let Some(hole) = &self.hole {
            hole.encode(&mut put);
        }
        put.u8(u8::from(self.known.is_some()));
        if let Some(known) = &self.known {
            put.u64(known.number);
            put.i64(known.due);
            put.u8(u8::from(known.time.is_some()));
            put.i64(known.time.map_or(0, |time| time.0));
        }
        let owner = self.owner.as_bytes();
        let owner = owner.get(..owner.len().min(MAX_OWNER_BYTES)).unwrap_or(&[]);
        put.u8(u8::try_from(owner.len()).unwrap_or(0));
        put.bytes(owner);
        put.0.resize(SLOT_BYTES, 0);
        let crc = crc32c::crc32c(&put.0);
        if let Some(place) = put.0.get_mut(CRC_AT) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        put.0
    }

    pub(crate) fn decode(slot: &[u8]) -> Slot {
        decode(slot).unwrap_or(Slot::Damaged)
    }
}

fn decode(slot: &[u8]) -> Option<Slot> {
    let mut zeroed = slot.to_vec();
    let crc = Take(slot.get(CRC_AT)?).u32()?;
    zeroed.get_mut(CRC_AT)?.fill(0);
    let mut take = Take(slot);
    let (magic, version) = (take.array::<8>()?, take.u32()?);
    if magic != MAGIC || crc32c::crc32c(&zeroed) != crc {
        return None;
    }
    if version > VERSION {
        return Some(Slot::Newer(version));
    }
    take.u32()?;
    let generation = take.u64()?;
    let epoch = Epoch::new(take.u64()?).ok()?;
    let origin = match take.u8()? {
        1 => EpochOrigin::New,
        2 => EpochOrigin::RolledBack,
        3 => EpochOrigin::Damaged,
        _ => EpochOrigin::Unknown,
    };
    let (base, base_due) = (take.u64()?, take.i64()?);
    let acknowledged = take.u64()?;
    let was_acknowledged = take.u8()? == 1;
    let acknowledged_at = UnixMicros(take.i64()?);
    let (floor, floor_due) = (take.u64()?, take.i64()?);
    let (dropped, damaged_gone) = (take.u64()?, take.u64()?);
    let length = usize::from(take.u8()?);
    let boot_id = String::from_utf8(take.bytes(length)?.to_vec()).ok()?;
    let boot = take.u32()?;
    let mut shifts = Vec::new();
    for _ in 0..take.u8()? {
        shifts.push((take.u32()?, take.i64()?));
    }
    let interval_us = take.u64()?;
    let moment = Moment { stamp: take.u64()?, since_boot: take.u64()?, wall: take.i64()? };
    let end = End { next: take.u64()?, due: take.i64()? };
    let newest = match take.u8()? {
        1 => Some(Newest {
            number: take.u64()?,
            time: take.i64()?,
            since_boot: take.u64()?,
            boot: take.u32()?,
        }),
        _ => None,
    };
    let hole = if take.u8()? == 1 { Some(Hole::decode(&mut take)?) } else { None };
    let known = match take.u8()? {
        1 => {
            let (number, due, is_timed) = (take.u64()?, take.i64()?, take.u8()? == 1);
            let time = UnixMicros(take.i64()?);
            Some(Known { number, due, time: is_timed.then_some(time) })
        }
        _ => None,
    };
    let length = usize::from(take.u8()?);
    let owner = String::from_utf8(take.bytes(length)?.to_vec()).ok()?;
    let numbers = [
        base,
        acknowledged,
        floor,
        end.next,
        newest.as_ref().map_or(0, |newest| newest.number),
        hole.as_ref().map_or(0, |hole| hole.through),
        known.map_or(0, |known| known.number),
    ];
    if floor == 0 || numbers.iter().any(|number| *number > MAX_NUMBER) {
        return None;
    }
    let positions = Positions {
        owner,
        epoch,
        origin,
        base,
        base_due,
        acknowledged,
        acknowledged_at: was_acknowledged.then_some(acknowledged_at),
        known,
        floor,
        floor_due,
        hole,
        dropped,
        damaged_gone,
        boot_id,
        boot,
        shifts,
        interval_us,
        moment,
        end,
        newest,
    };
    Some(Slot::Ok(generation, Box::new(positions)))
}
