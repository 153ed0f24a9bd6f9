//! The part of the thread that writes records, makes segments and drops them.

use std::io;
use std::sync::Arc;

use rowcall_core::record::GapCause;

use crate::bytes::Put;
use crate::disk::{File, zeros};
use crate::format::{HEADER_BYTES, Head, Kind, SegmentHeader, encode_record, record_bytes};
use crate::scan::offset;
use crate::segment::{NEXT, Segment, name};
use crate::state::Pending;
use crate::writer::{Writer, is_full};

/// Most bytes of records that share one write and one sync.
const BATCH_BYTES: usize = 64 * 1024;

/// A segment spans at most this part of the age limit, so that what is too old goes in time.
const AGE_PARTS: u64 = 16;

/// Records that are written next, in order.
type Batch = Vec<(Head, Vec<u8>)>;

impl Writer {
    /// Writes and syncs what waits.
    pub(crate) fn write_tail(&mut self) -> io::Result<()> {
        loop {
            let batch = self.next_batch();
            if batch.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.write(&batch) {
                // Nothing is known of what was written. It counts as not written, and this file
                // is never synced again: once more, in another one.
                self.failed(&error);
                self.write(&batch).inspect_err(|error| self.failed(error))?;
            }
        }
    }

    fn next_batch(&self) -> Batch {
        let state = self.shared.lock();
        let mut batch = Batch::new();
        let mut bytes = 0;
        if let Some(hole) = &state.tail_hole {
            let mut put = Put::default();
            hole.encode(&mut put);
            let since_boot = state.latest_since_boot;
            let head = Head {
                kind: Kind::Hole,
                number: hole.first,
                span: u32::try_from(hole.through - hole.first).unwrap_or(u32::MAX),
                due: hole.due_at(hole.through),
                ticks: hole.ticks(),
                stamp: state.stamp(since_boot),
                since_boot,
                boot: state.positions.boot,
                time: hole.time.0,
            };
            batch.push((head, put.0));
        }
        // Without the clock that their times are made by, two could have the same after a crash.
        let waits = |head: &Head| state.positions_urgent && state.time_of(head).0 != head.time;
        let ready = |pending: &&Pending| pending.settled && !waits(&pending.head);
        for pending in state.tail.iter().take_while(ready) {
            bytes += record_bytes(pending.payload.len());
            if bytes > BATCH_BYTES {
                break;
            }
            batch.push((pending.head, pending.payload.clone()));
        }
        batch
    }

    fn failed(&mut self, error: &io::Error) {
        tracing::debug!(%error, "a segment could not be written");
        self.active = None;
        let mut state = self.shared.lock();
        state.write_failures += 1;
    }

    /// Writes as much of a batch as the segment takes, at least one record.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let Some((first, payload)) = batch.first() else { return Ok(()) };
        let (file, segment) = self.writable(first, record_bytes(payload.len()))?;
        let Some(salt) = segment.salt else { return Err(io::ErrorKind::InvalidData.into()) };
        let room = usize::try_from(segment.len - segment.data_end).unwrap_or(0);
        if std::mem::take(&mut self.wipe) {
            zero(file.as_ref(), segment.data_end, segment.len)?;
        }
        let mut bytes = Vec::new();
        let mut written = Vec::new();
        for (head, payload) in batch {
            if bytes.len() + record_bytes(payload.len()) > room {
                break;
            }
            encode_record(head, payload, salt, &mut bytes);
            written.push((head, payload, segment.data_end + offset(bytes.len())));
        }
        file.write_at(&bytes, segment.data_end)?;
        file.sync()?;
        if !file.is_linked()? {
            self.folder_is_gone()?;
            return Err(io::Error::new(io::ErrorKind::NotFound, "the spool's folder was deleted"));
        }
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        for (head, _, end) in &written {
            let time = state.positions.time(head.time, head.boot, head.since_boot).0;
            if let Some(segment) = state.segments.back_mut() {
                // Damage at the end of what was kept leaves numbers out.
                segment.damaged += head.number.saturating_sub(segment.last.saturating_add(1));
                segment.push(head, time.0, *end);
            }
            if head.kind == Kind::Hole {
                state.positions.dropped += head.through() + 1 - head.number;
                state.positions_changed = true;
            }
            state.forget_written(head);
        }
        let positions = state.positions.clone();
        drop(guard);
        for (head, payload, _) in &written {
            crate::kept::tell(&positions, head, payload);
        }
        Ok(())
    }

    /// The file to write a record to, and what is known of its segment.
    fn writable(&mut self, head: &Head, bytes: usize) -> io::Result<(Arc<dyn File>, Segment)> {
        let last = self.shared.lock().segments.back().cloned();
        if let (Some(file), Some(segment)) = (&self.active, &last) {
            let fits = segment.data_end + offset(bytes) <= segment.len;
            let age = segment.oldest.map_or(0, |oldest| head.stamp.saturating_sub(oldest.stamp));
            if fits && age <= self.limits.age_us / AGE_PARTS {
                return Ok((Arc::clone(file), segment.clone()));
            }
        }
        self.begin_segment(head.number, head.due_before())
    }

    /// Makes the file that waits the newest segment.
    pub(crate) fn begin_segment(
        &mut self,
        first: u64,
        due: i64,
    ) -> io::Result<(Arc<dyn File>, Segment)> {
        self.remove_empty(first)?;
        let file = match self.spare.take() {
            Some(file) => file,
            None => self.make_spare(true)?,
        };
        self.shared.lock().spare_bytes = 0;
        let salt = salt(first);
        let header = SegmentHeader { first, due_before: due, salt };
        file.write_at(&header.encode(), 0)?;
        file.sync()?;
        if !file.is_linked()? {
            self.folder_is_gone()?;
            return Err(io::Error::new(io::ErrorKind::NotFound, "the spool's folder was deleted"));
        }
        let segment = Segment::new(first, due, Some(salt), offset(HEADER_BYTES), file.len()?);
        self.disk.rename(NEXT, &name(first))?;
        if let Some(full) = self.active.take() {
            self.cut(full.as_ref());
        }
        // It is there, and counts, whatever comes of it.
        self.shared.lock().segments.push_back(segment.clone());
        self.disk.sync_dir()?;
        self.active = Some(Arc::clone(&file));
        self.wipe = false;
        Ok((file, segment))
    }

    /// One that failed before anything was in it, and would have the same name.
    fn remove_empty(&mut self, first: u64) -> io::Result<()> {
        let last = self.shared.lock().segments.back().map(|last| last.first);
        if last == Some(first) {
            self.active = None;
            self.disk.remove(&name(first))?;
            self.shared.lock().segments.pop_back();
        }
        Ok(())
    }

    /// Gives back the room that a segment did not need. Whole ones keep theirs, to be used again.
    fn cut(&self, file: &dyn File) {
        let Some((end, len)) =
            self.shared.lock().segments.back().map(|last| (last.data_end, last.len))
        else {
            return;
        };
        if len.saturating_sub(end) <= self.limits.segment_bytes / 4 {
            return;
        }
        // After a crash it must be no longer than it counts from now on.
        if let Err(error) = file.set_len(end).and_then(|()| file.sync()) {
            tracing::debug!(%error, "a segment could not be cut");
        } else if let Some(last) = self.shared.lock().segments.back_mut() {
            last.len = end;
        }
    }

    /// Makes the next segment ahead, if there is room for it.
    pub(crate) fn make_next(&mut self) -> io::Result<()> {
        if self.spare.is_some() {
            return Ok(());
        }
        match self.make_spare(false) {
            Ok(file) => {
                self.spare = Some(file);
                Ok(())
            }
            // It shows in the status, and there is still room in the last one.
            Err(error) if is_full(&error) && self.active.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The file of the next segment. Where there is no room for it and it `is_needed`, the oldest
    /// segment's is used again.
    fn make_spare(&mut self, is_needed: bool) -> io::Result<Arc<dyn File>> {
        let bytes = self.limits.segment_bytes;
        self.make_room(bytes)?;
        let mut made = self.disk.create(NEXT, bytes);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.folder_is_gone()?;
            made = self.disk.create(NEXT, bytes);
        }
        while is_needed && made.as_ref().is_err_and(is_full) {
            let Some(oldest) = self.drop_oldest(GapCause::Storage)? else { break };
            if oldest.len == bytes {
                self.store_positions(true)?;
                self.disk.rename(&oldest.name(), NEXT)?;
                self.shared.lock().leftover.clear();
                let file = self.disk.open(NEXT)?;
                zero(file.as_ref(), 0, oldest.len)?;
                made = Ok(file);
            } else {
                self.remove_leftover()?;
                made = self.disk.create(NEXT, bytes);
            }
        }
        let file = made?;
        self.shared.lock().spare_bytes = bytes;
        Ok(file)
    }

    /// Somebody deleted the folder: it is made anew, and what was in it is lost.
    fn folder_is_gone(&mut self) -> io::Result<()> {
        self.active = None;
        self.spare = None;
        self.slots.forget_file();
        let there = self.disk.list().unwrap_or_default();
        {
            let mut state = self.shared.lock();
            state.spare_bytes = 0;
            state.segments.retain(|segment| there.contains(&segment.name()));
            state.leftover.retain(|(name, _)| there.contains(name));
            state.drops += 1;
            state.positions_changed = true;
            state.positions_urgent = true;
        }
        tracing::warn!("the spool's files are gone; the folder is made anew");
        self.disk.restore()?;
        self.store_positions(true)
    }
}

fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let piece = zeros(to - at);
        file.write_at(piece, at)?;
        at += offset(piece.len());
    }
    Ok(())
}

/// Random bits: the keys of a new hasher are.
fn salt(first: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(first)
}
