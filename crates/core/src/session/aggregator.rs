//! The aggregator's end of a stream.

use std::time::Duration;

use crate::convert::{self, Hello, InvalidHello};
use crate::id::{Epoch, HostName, OutOfRange, Sequence};
use crate::proto::v1 as pb;
use crate::record::Record;
use crate::version::{self, NoCommonVersion};

/// A peer must have said Hello this long after its stream began.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Silence beyond two intervals and this ends a stream.
pub const SILENCE_GRACE: Duration = Duration::from_secs(30);

/// Most bytes of encoded batches that a stream may have sent and not yet seen acknowledged.
pub const MAX_IN_FLIGHT_BYTES: u32 = 1024 * 1024;

/// Why a stream is refused or ended. The text goes to the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first frame was no Hello. INVALID_ARGUMENT.
    #[error("the first frame must be Hello")]
    HelloExpected,
    /// A second Hello, or an empty frame. INVALID_ARGUMENT.
    #[error("unexpected frame: after Welcome only Batch and Bye are taken")]
    UnexpectedFrame,
    /// Hello itself is wrong. INVALID_ARGUMENT.
    #[error(transparent)]
    Hello(#[from] InvalidHello),
    /// FAILED_PRECONDITION.
    #[error(transparent)]
    Version(#[from] NoCommonVersion),
    /// Hello names another host than the certificate. PERMISSION_DENIED.
    #[error(
        "Hello says host {said}, but the certificate names {certified}; an agent writes only its own host"
    )]
    OtherHost {
        /// In Hello.
        said: HostName,
        /// In the certificate.
        certified: HostName,
    },
    /// A record's sequence is no sequence. INVALID_ARGUMENT.
    #[error("record: {0}")]
    Sequence(#[from] OutOfRange),
    /// A record leaves a hole or comes twice. INVALID_ARGUMENT.
    #[error("record {got} came where {expected} was due: sequences must have no holes")]
    Hole {
        /// What came.
        got: Sequence,
        /// What was due.
        expected: Sequence,
    },
    /// A batch of crumbs. INVALID_ARGUMENT.
    #[error("a batch of {0} records, at most {MAX_BATCH_RECORDS} are taken")]
    Records(usize),
    /// More in flight than Welcome allows. RESOURCE_EXHAUSTED.
    #[error("more than {MAX_IN_FLIGHT_BYTES} bytes sent without waiting for an acknowledgement")]
    Window,
    /// DEADLINE_EXCEEDED.
    #[error("no Hello within {} s", HELLO_DEADLINE.as_secs())]
    NoHello,
    /// DEADLINE_EXCEEDED.
    #[error("nothing heard for {} s", .0.as_secs())]
    Silence(Duration),
}

/// Most records in one batch. An agent's frame of 200 KiB holds 3,400 samples; more are crumbs
/// that take many times their encoded size once decoded.
pub const MAX_BATCH_RECORDS: usize = 8_192;

/// Checks the first frame of a stream against the name in the peer's certificate.
///
/// # Errors
/// [`Refusal`]: no Hello, a wrong one, no common version, or another host.
pub fn greet(
    frame: Option<pb::stream_request::Frame>,
    certified: &HostName,
) -> Result<(Hello, u32), Refusal> {
    let Some(pb::stream_request::Frame::Hello(hello)) = frame else {
        return Err(Refusal::HelloExpected);
    };
    let theirs = version::Range { min: hello.protocol_min, max: hello.protocol_max };
    let protocol = version::negotiate(version::OURS, theirs)?;
    let hello = convert::hello(hello)?;
    if hello.host_name != *certified {
        return Err(Refusal::OtherHost { said: hello.host_name, certified: certified.clone() });
    }
    Ok((hello, protocol))
}

/// How long a stream may be silent before it is ended.
#[must_use]
pub fn silence_limit(interval: Duration) -> Duration {
    interval.saturating_mul(2).saturating_add(SILENCE_GRACE)
}

/// One welcomed stream as the aggregator sees it.
#[derive(Clone, Debug)]
pub struct Session {
    epoch: Epoch,
    /// What may come first: anything up to one above the mark.
    mark: Option<Sequence>,
    received: Option<Sequence>,
    acknowledged: Option<Sequence>,
    in_flight: std::collections::VecDeque<(Sequence, usize)>,
    in_flight_bytes: usize,
}

impl Session {
    /// A stream whose Welcome carried this mark.
    #[must_use]
    pub fn new(epoch: Epoch, mark: Option<Sequence>) -> Self {
        Self {
            epoch,
            mark,
            received: None,
            acknowledged: None,
            in_flight: std::collections::VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    /// Takes a batch of `bytes` encoded bytes: its records, checked to continue without a hole.
    ///
    /// # Errors
    /// [`Refusal`] for a hole, a sequence out of range, or too much in flight.
    pub fn batch(&mut self, batch: pb::Batch, bytes: usize) -> Result<Vec<Record>, Refusal> {
        let limit = usize::try_from(MAX_IN_FLIGHT_BYTES).unwrap_or(usize::MAX);
        if !self.in_flight.is_empty() && self.in_flight_bytes.saturating_add(bytes) > limit {
            return Err(Refusal::Window);
        }
        if batch.records.len() > MAX_BATCH_RECORDS {
            return Err(Refusal::Records(batch.records.len()));
        }
        let mut records = Vec::with_capacity(batch.records.len());
        let mut received = self.received;
        for record in batch.records {
            let record = convert::record(record)?;
            let (expected, fits) = match received {
                // At the end of the range there is no next one.
                Some(last) => {
                    (last.next(), record.sequence > last && record.sequence == last.next())
                }
                None => {
                    let expected = self.mark.map_or(Sequence::FIRST, Sequence::next);
                    (expected, record.sequence <= expected)
                }
            };
            if !fits {
                return Err(Refusal::Hole { got: record.sequence, expected });
            }
            received = Some(record.through());
            records.push(record);
        }
        self.received = received;
        if let Some(last) = records.last() {
            self.in_flight.push_back((last.through(), bytes));
            self.in_flight_bytes = self.in_flight_bytes.saturating_add(bytes);
        }
        Ok(records)
    }

    /// Everything up to `through` is committed: the Ack to send, if it says something new. Who
    /// sends it tells the clock in it.
    pub fn committed(&mut self, through: Sequence) -> Option<pb::Ack> {
        if self.acknowledged.is_some_and(|last| through <= last) {
            return None;
        }
        self.acknowledged = Some(through);
        while let Some((last, bytes)) = self.in_flight.front().copied()
            && last <= through
        {
            self.in_flight.pop_front();
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
        }
        Some(pb::Ack {
            spool_epoch: self.epoch.as_u64(),
            through_sequence: through.as_u64(),
            clock_unix_us: 0,
        })
    }

    /// Whether everything received is committed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }
}
