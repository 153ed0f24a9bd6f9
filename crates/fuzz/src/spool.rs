//! The agent's files on disk.

use std::collections::BTreeMap;

use rowcall_core::clock::TestClock;
use rowcall_core::id::UnixMicros;
use rowcall_spool::read_image;

/// The boot in which the seeds were written, and are read.
const BOOT_ID: &str = "3bd22b5c-0000-4000-8000-000000000001";
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

const HEADER_BYTES: usize = 64;
const RECORDS_AT: usize = 1024;
const SLOT_BYTES: usize = 4096;
const SALT: std::ops::Range<usize> = 32..40;
const LENGTH_MASK: u32 = 0x00ff_ffff;

/// A spool's two files, without what a checksum guards twice: see the tables in the README of
/// `rowcall-spool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// One slot of the positions, without the zeros at its end; empty: there is none.
    pub slot: Vec<u8>,
    /// One copy of the first segment's header, then its records.
    pub segment: Vec<u8>,
}

impl Files {
    /// As one input: the slot's length in two bytes, the slot, the segment.
    #[must_use]
    pub fn to_input(&self) -> Vec<u8> {
        let length = u16::try_from(self.slot.len()).unwrap_or(u16::MAX).to_le_bytes();
        [&length[..], &self.slot, &self.segment].concat()
    }

    /// An input as its files; `None`: it is too short.
    #[must_use]
    pub fn of_input(input: &[u8]) -> Option<Self> {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len()).min(SLOT_BYTES);
        let (slot, segment) = rest.split_at(length);
        Some(Self { slot: slot.to_vec(), segment: segment.to_vec() })
    }

    /// As they lie in a folder, every checksum made good: no fuzzer guesses one.
    #[must_use]
    pub fn mended(self) -> BTreeMap<String, Vec<u8>> {
        let Self { mut slot, mut segment } = self;
        let mut files = BTreeMap::new();
        if !slot.is_empty() {
            slot.resize(SLOT_BYTES, 0);
            put(&mut slot, 12, 0);
            let crc = crc32c::crc32c(&slot);
            put(&mut slot, 12, crc);
            slot.resize(2 * SLOT_BYTES, 0);
            files.insert("positions".to_owned(), slot);
        }
        if segment.len() >= HEADER_BYTES {
            let records = segment.split_off(HEADER_BYTES);
            let crc = crc32c::crc32c(segment.get(..HEADER_BYTES - 4).unwrap_or(&[]));
            put(&mut segment, HEADER_BYTES - 4, crc);
            let seed = crc32c::crc32c(segment.get(SALT).unwrap_or(&[]));
            let number = segment.get(16..24).and_then(|bytes| bytes.try_into().ok());
            let first = number.map_or(1, u64::from_le_bytes);
            segment.resize(RECORDS_AT, 0);
            segment.extend(records);
            mend_records(segment.get_mut(RECORDS_AT..).unwrap_or(&mut []), seed);
            files.insert(format!("{first:020}.seg"), segment);
        }
        files
    }
}

fn mend_records(mut records: &mut [u8], seed: u32) {
    while let Some(word) = records.first_chunk::<4>().copied() {
        let length = usize::try_from(u32::from_le_bytes(word) & LENGTH_MASK).unwrap_or(0);
        let length = if length < 16 || length > records.len() { 8 } else { length };
        let Some((record, rest)) = records.split_at_mut_checked(length) else { return };
        if length > 8 {
            let crc = crc32c::crc32c_append(seed, &word);
            let crc = crc32c::crc32c_append(crc, record.get(8..).unwrap_or(&[]));
            put(record, 4, crc);
        }
        records = rest;
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// What an agent finds on its disk when it starts; good: it holds a record.
///
/// # Panics
/// If the records that would be sent have holes between them, which every aggregator refuses; a
/// bug.
#[must_use]
pub fn spool(bytes: &[u8]) -> bool {
    let Some(files) = Files::of_input(bytes) else { return false };
    let clock = TestClock::at(NOW);
    let Some(image) = read_image(files.mended(), &clock, BOOT_ID) else { return false };
    let mut records = image.records.iter();
    let Some(first) = records.next() else { return false };
    records.fold(first, |before, record| {
        assert_eq!(record.sequence, before.through().next(), "sequences are dense");
        record
    });
    true
}
