//! The agent's end of a stream.

use std::collections::VecDeque;

use crate::id::{Epoch, Sequence, UnixMicros};
use crate::proto::v1 as pb;

/// What the agent's queue holds, as far as a session must know.
pub trait Holdings {
    /// Its epoch.
    fn epoch(&self) -> Epoch;
    /// Lowest sequence it can still send; the next one when it holds nothing.
    fn oldest(&self) -> Sequence;
    /// Sequence of the next record.
    fn next(&self) -> Sequence;
    /// Time of the record that ends at `sequence`, if it holds it.
    fn time_at(&self, sequence: Sequence) -> Option<UnixMicros>;
}

/// Where sending starts after Welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// At this sequence.
    From(Sequence),
    /// The aggregator lacks records that are no longer held: first say so in a gap from `first`
    /// through `last`, then send from the one after.
    ForgottenThenFrom {
        /// First sequence that is gone.
        first: Sequence,
        /// Last one.
        last: Sequence,
    },
    /// The aggregator knows a later or another record at its mark: this queue was rolled back or
    /// copied. Start a new epoch, number what is unacknowledged anew, and connect again.
    NewEpoch,
}

/// The aggregator broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Acknowledged more than was sent.
    #[error("aggregator acknowledged sequence {through}, but only {sent} was sent on this stream")]
    AckBeyondSent {
        /// What it acknowledged.
        through: u64,
        /// What was sent; 0 for nothing.
        sent: u64,
    },
    /// A mark or an interval that cannot be.
    #[error("aggregator sent a Welcome that cannot be: {0}")]
    Welcome(&'static str),
}

/// One stream as the agent sees it, after Hello.
#[derive(Clone, Debug)]
pub struct Session {
    epoch: Epoch,
    window_bytes: usize,
    in_flight: VecDeque<(Sequence, usize)>,
    in_flight_bytes: usize,
    sent: Option<Sequence>,
}

impl Session {
    /// Reads Welcome: where to resume, and the session from then on.
    ///
    /// # Errors
    /// [`Violation::Welcome`] when the interval is 0, the window is 0 or the mark is no sequence.
    pub fn welcome(
        welcome: &pb::Welcome,
        holdings: &impl Holdings,
    ) -> Result<(Self, Resume), Violation> {
        if welcome.interval_ms == 0 {
            return Err(Violation::Welcome("the interval is 0"));
        }
        let window_bytes = usize::try_from(welcome.max_in_flight_bytes).unwrap_or(usize::MAX);
        if window_bytes == 0 {
            return Err(Violation::Welcome("the window is 0 bytes"));
        }
        let resume = match &welcome.mark {
            None => resume_above(0, holdings),
            Some(mark) => {
                let through = Sequence::new(mark.through_sequence)
                    .map_err(|_| Violation::Welcome("the mark is no sequence"))?;
                let held = holdings.time_at(through);
                if through >= holdings.next() || held.is_some_and(|t| t.0 != mark.time_unix_us) {
                    Resume::NewEpoch
                } else {
                    resume_above(through.as_u64(), holdings)
                }
            }
        };
        let session = Self {
            epoch: holdings.epoch(),
            window_bytes,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            sent: None,
        };
        Ok((session, resume))
    }

    /// Whether a batch of this many encoded bytes may be sent now. One batch may always be in
    /// flight, however large.
    #[must_use]
    pub fn may_send(&self, bytes: usize) -> bool {
        self.in_flight.is_empty() || self.in_flight_bytes.saturating_add(bytes) <= self.window_bytes
    }

    /// Bytes of batches that may still be sent before an acknowledgement. A batch may go whatever
    /// this says while nothing is in flight, see [`Session::may_send`].
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.window_bytes.saturating_sub(self.in_flight_bytes)
    }

    /// A batch up to `through` was sent.
    pub fn sent(&mut self, through: Sequence, bytes: usize) {
        self.in_flight.push_back((through, bytes));
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(bytes);
        self.sent = Some(through);
    }

    /// Whether everything sent is acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Reads an Ack: the sequence up to which the queue may release, if any. An Ack for another
    /// epoch releases nothing.
    ///
    /// # Errors
    /// [`Violation::AckBeyondSent`] when it covers what was never sent on this stream.
    pub fn acknowledged(&mut self, ack: &pb::Ack) -> Result<Option<Sequence>, Violation> {
        if ack.spool_epoch != self.epoch.as_u64() {
            return Ok(None);
        }
        let sent = self.sent.map_or(0, Sequence::as_u64);
        let through = match Sequence::new(ack.through_sequence) {
            Ok(through) if through.as_u64() <= sent => through,
            _ => return Err(Violation::AckBeyondSent { through: ack.through_sequence, sent }),
        };
        while let Some((last, bytes)) = self.in_flight.front().copied()
            && last <= through
        {
            self.in_flight.pop_front();
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
        }
        Ok(Some(through))
    }
}

fn resume_above(committed: u64, holdings: &impl Holdings) -> Resume {
    let wanted = Sequence::new(committed).map_or(Sequence::FIRST, Sequence::next);
    let oldest = holdings.oldest();
    match Sequence::new(oldest.as_u64() - 1) {
        Ok(last) if wanted < oldest => Resume::ForgottenThenFrom { first: wanted, last },
        _ => Resume::From(wanted),
    }
}
