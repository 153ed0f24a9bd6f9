//! What goes into a batch.

use std::time::Duration;

use prost::Message as _;
use rowcall_core::convert::record_to_wire;
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::record::{Body, Gap, GapCause, GapState, Record};
use rowcall_core::session::agent::Holdings as _;
use rowcall_core::session::aggregator::MAX_BATCH_RECORDS;
use rowcall_spool::Fault;
use tokio::time::Instant;

use super::Link;
use super::stream::Stream;

/// Records of one batch, in encoded bytes; well below the 256 KiB that a frame may have.
const BATCH_BYTES: usize = 200 * 1024;

/// With less room than this in the window, rather wait for an acknowledgement than send crumbs.
/// Any single record fits.
pub(super) const LEAST_ROOM_BYTES: usize = 4 * 1024;

/// A batch's spool status takes less than this.
const STATUS_BYTES: usize = 96;

/// At most this often the aggregator is told what the spool holds.
const STATUS_EVERY: Duration = Duration::from_secs(60);

impl Stream {
    pub(super) fn has_room(&self) -> bool {
        self.session.is_settled() || self.session.room_bytes() >= LEAST_ROOM_BYTES
    }

    /// The next batch; counts as sent.
    pub(super) fn batch(&mut self, link: &Link) -> Option<pb::Batch> {
        let room = self.session.room_bytes().max(LEAST_ROOM_BYTES) - STATUS_BYTES;
        let spool = &link.queue.spool;
        let oldest = spool.oldest();
        let mut records = spool.read_from(self.next.max(oldest), room.min(BATCH_BYTES));
        // One place is for the gap.
        records.truncate(MAX_BATCH_RECORDS - 1);
        self.cut_at_mark(&mut records);
        // The oldest may have gone between the two looks; what was read tells for certain.
        let below = match records.first() {
            Some(first) => (first.sequence, first.due_ticks.saturating_sub(first.body.ticks())),
            None => (oldest, spool.due_before_oldest()),
        };
        let forgotten = self.forgotten(below, link.clock.wall());
        let last = records.last().or(forgotten.as_ref())?;
        let (through, due_ticks) = (last.through(), last.due_ticks);
        let now = Instant::now();
        let spool = self
            .status_sent
            .is_none_or(|sent| now.saturating_duration_since(sent) >= STATUS_EVERY)
            .then(|| status(link));
        if spool.is_some() {
            self.status_sent = Some(now);
        }
        let records = forgotten.iter().chain(&records).map(record_to_wire).collect();
        let batch = pb::Batch { records, spool };
        if self.session.is_settled() {
            self.quiet_since = now;
        }
        self.sent_at = now;
        self.session.sent(through, batch.encoded_len());
        self.next = through.next();
        self.due_ticks = due_ticks;
        Some(batch)
    }

    /// A gap of lost or dropped records that goes on from the mark stands for what was due since
    /// then: the aggregator knows how much that was, the spool perhaps no longer.
    fn cut_at_mark(&self, records: &mut [Record]) {
        if let Some(Record { sequence, due_ticks, body: Body::Gap(gap), .. }) = records.first_mut()
            && *sequence == self.next
            && matches!(gap.state, GapState::Corrupt | GapState::Dropped)
        {
            gap.ticks = due_ticks.saturating_sub(self.due_ticks).max(0);
        }
    }

    /// The gap in place of acknowledged records that the aggregator lost and the spool no longer
    /// holds: what lies below the sequence given, up to which so many ticks were due.
    fn forgotten(&self, below: (Sequence, i64), now: UnixMicros) -> Option<Record> {
        let (sequence, due_ticks) = below;
        let through =
            Sequence::new(sequence.as_u64() - 1).ok().filter(|last| *last >= self.next)?;
        let ticks = due_ticks.saturating_sub(self.due_ticks).max(0);
        let from = self.mark_time.unwrap_or(now);
        let (state, cause) = (GapState::Forgotten, GapCause::Size);
        let gap = Gap { through, ticks, state, cause, from, to: from.max(now) };
        Some(Record { due_ticks, sequence: self.next, time: now, body: Body::Gap(gap) })
    }
}

pub(super) fn status(link: &Link) -> pb::SpoolStatus {
    let status = link.queue.spool.status();
    let fault = match status.fault {
        None => pb::SpoolFault::Unspecified,
        Some(Fault::NotDurable) => pb::SpoolFault::NotDurable,
        Some(Fault::NoSpace) => pb::SpoolFault::NoSpace,
        Some(Fault::Io) => pb::SpoolFault::Io,
    };
    pb::SpoolStatus {
        unacknowledged_records: status.unacknowledged_records,
        size_bytes: status.size_bytes,
        oldest_unacknowledged_age_s: status.oldest_unacknowledged_age.map_or(0, |a| a.as_secs()),
        dropped_records: status.dropped_records,
        due_ticks: u64::try_from(status.due_ticks).unwrap_or(0),
        damaged_records: status.damaged_records,
        fault: fault.into(),
        clock_unix_us: link.clock.wall().0,
    }
}
