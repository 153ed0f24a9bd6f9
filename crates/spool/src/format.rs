//! What a segment's bytes mean; README.md of this crate has the tables.

use crate::bytes::{Put, Take};

/// The format written here. What a newer one writes is not touched.
pub(crate) const VERSION: u32 = 1;

/// How a segment begins.
const MAGIC: [u8; 8] = *b"rowclSEG";

/// A segment's header stands there twice, in different sectors; records begin after both.
pub(crate) const HEADER_BYTES: usize = 1024;
const HEADER_COPIES: [usize; 2] = [0, 512];
const HEADER_COPY_BYTES: usize = 64;

/// Before each record's payload.
pub(crate) const HEAD_BYTES: usize = 64;

/// The largest payload: facts with five texts of 256 bytes, or a hole with all its odd ticks, take
/// less than 4 KiB.
pub(crate) const MAX_RECORD_BYTES: usize = 16 * 1024;

/// Records stand at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// The last byte of every record: where it is missing, the record was never written whole.
pub(crate) const END: u8 = 0xa5;

const LENGTH_MASK: u32 = 0x00ff_ffff;
const CRC_END: usize = 8;

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Number of its first record.
    pub(crate) first: u64,
    /// Ticks due up to the record before.
    pub(crate) due_before: i64,
    /// Goes into each record's checksum: what was in this file before, or text inside a record,
    /// is no record.
    pub(crate) salt: u64,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadHeader {
    Ok(SegmentHeader),
    /// Written by a newer version.
    Newer(u32),
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut put = Put(Vec::with_capacity(HEADER_COPY_BYTES));
        put.bytes(&MAGIC);
        put.u32(VERSION);
        put.u32(0);
        put.u64(self.first);
        put.i64(self.due_before);
        put.u64(self.salt);
        put.0.resize(HEADER_COPY_BYTES - 4, 0);
        let crc = crc32c::crc32c(&put.0);
        put.u32(crc);
        let copy = put.0;
        let mut bytes = vec![0; HEADER_BYTES];
        for at in HEADER_COPIES {
            if let Some(place) = bytes.get_mut(at..at + HEADER_COPY_BYTES) {
                place.copy_from_slice(&copy);
            }
        }
        bytes
    }

    /// Reads whichever copy is whole.
    pub(crate) fn decode(bytes: &[u8]) -> ReadHeader {
        HEADER_COPIES
            .iter()
            .filter_map(|at| decode_copy(bytes.get(*at..at + HEADER_COPY_BYTES)?))
            .next()
            .unwrap_or(ReadHeader::Damaged)
    }
}

fn decode_copy(copy: &[u8]) -> Option<ReadHeader> {
    let (body, crc) = copy.split_last_chunk::<4>()?;
    let mut take = Take(body);
    let (magic, version) = (take.array::<8>()?, take.u32()?);
    if magic != MAGIC || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    if version > VERSION {
        return Some(ReadHeader::Newer(version));
    }
    take.u32()?;
    let (first, due_before, salt) = (take.u64()?, take.i64()?, take.u64()?);
    (first > 0).then_some(ReadHeader::Ok(SegmentHeader { first, due_before, salt }))
}

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An encoded `rowcall.v1.Record`.
    Record,
    /// A [`crate::hole::Hole`]: records that were dropped before they could be written.
    Hole,
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Numbers are dense over the whole life of a spool; an epoch's sequences count from its base.
    pub(crate) number: u64,
    /// Further numbers that it covers.
    pub(crate) span: u32,
    /// Ticks due up to and with this record, over the whole life of the spool.
    pub(crate) due: i64,
    /// Ticks that it stands for.
    pub(crate) ticks: i64,
    /// The spool's own clock, in microseconds.
    pub(crate) stamp: u64,
    /// Time since boot, in microseconds, and which boot.
    pub(crate) since_boot: u64,
    pub(crate) boot: u32,
    /// The wall clock as read, in microseconds.
    pub(crate) time: i64,
}

impl Head {
    /// The last number that it covers.
    pub(crate) fn through(&self) -> u64 {
        self.number.saturating_add(self.span.into())
    }

    /// Ticks due before it.
    pub(crate) fn due_before(&self) -> i64 {
        self.due.saturating_sub(self.ticks)
    }
}

/// Bytes of a record with such a payload.
pub(crate) fn record_bytes(payload: usize) -> usize {
    (HEAD_BYTES + payload + 2).next_multiple_of(ALIGN)
}

/// Appends a record.
pub(crate) fn encode_record(head: &Head, payload: &[u8], salt: u64, into: &mut Vec<u8>) {
    let length = record_bytes(payload.len());
    let mut put = Put(Vec::with_capacity(length));
    let kind = match head.kind {
        Kind::Record => 1_u32,
        Kind::Hole => 2,
    };
    put.u32(u32::try_from(length).unwrap_or(LENGTH_MASK) | (kind << 24));
    put.u32(0);
    put.u64(head.number);
    put.i64(head.due);
    put.i64(head.ticks);
    put.u64(head.stamp);
    put.u64(head.since_boot);
    put.i64(head.time);
    put.u32(head.span);
    put.u32(head.boot);
    put.bytes(payload);
    // The byte before the last says how many zeros stand before it.
    let padding = length - HEAD_BYTES - payload.len() - 2;
    put.0.resize(length - 2, 0);
    put.u8(u8::try_from(padding).unwrap_or(0));
    put.u8(END);
    let crc = checksum(&put.0, salt);
    if let Some(place) = put.0.get_mut(4..CRC_END) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    into.extend_from_slice(&put.0);
}

fn checksum(record: &[u8], salt: u64) -> u32 {
    let seed = crc32c::crc32c(&salt.to_le_bytes());
    let (length, rest) = (record.get(..4).unwrap_or(&[]), record.get(CRC_END..).unwrap_or(&[]));
    crc32c::crc32c_append(crc32c::crc32c_append(seed, length), rest)
}

/// The length that a record at the beginning of `bytes` would have, if it can be one at all.
pub(crate) fn plausible_length(bytes: &[u8]) -> Option<usize> {
    let word = Take(bytes).u32()?;
    let length = usize::try_from(word & LENGTH_MASK).ok()?;
    let fits = (record_bytes(0)..=MAX_RECORD_BYTES).contains(&length) && length % ALIGN == 0;
    (fits && matches!(word >> 24, 1 | 2)).then_some(length)
}

/// The record at the beginning of `bytes`, if there is a whole one with a number of at least
/// `least`; its payload and its length.
pub(crate) fn decode_record(bytes: &[u8], salt: u64, least: u64) -> Option<(Head, &[u8], usize)> {
    let length = plausible_length(bytes)?;
    let record = bytes.get(..length)?;
    let mut take = Take(record);
    let (word, crc) = (take.u32()?, take.u32()?);
    let number = take.u64()?;
    if number < least || record.last() != Some(&END) || checksum(record, salt) != crc {
        return None;
    }
    let head = Head {
        kind: if word >> 24 == 1 { Kind::Record } else { Kind::Hole },
        number,
        due: take.i64()?,
        ticks: take.i64()?,
        stamp: take.u64()?,
        since_boot: take.u64()?,
        time: take.i64()?,
        span: take.u32()?,
        boot: take.u32()?,
    };
    // Only a hole covers more than its own number.
    let fits = head.kind == Kind::Hole || head.span == 0;
    fits.then_some((head, unpadded(take.0)?, length))
}

/// The payload of a record without what ends it.
fn unpadded(rest: &[u8]) -> Option<&[u8]> {
    let (payload, [padding, _end]) = rest.split_last_chunk::<2>()?;
    payload.get(..payload.len().checked_sub(usize::from(*padding))?)
}
