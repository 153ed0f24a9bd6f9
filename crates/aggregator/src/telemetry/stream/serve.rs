//! From Welcome to the end: batches in, acknowledgements out.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_core::session::aggregator::{Refusal, silence_limit};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::info;

use super::{Ended, FORGOTTEN, LAST_WORD, Opened, Outbound, TAKEN_OVER, response};
use crate::refusals::Reason;
use crate::registry::{End, Live};
use crate::telemetry::queue::{Received, Room, SMALL_RECORDS, Turn};
use crate::telemetry::refusal::Broken;

/// After Drain an agent comes back within this.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);

/// A stream that has its turn to send of its backlog and sends nothing gives it up after this.
const TURN: Duration = Duration::from_secs(1);

/// Who has a backlog is read in turns: a batch takes memory as soon as it is read.
#[derive(Default)]
struct Turns {
    /// Kept like the wait for room.
    asked: Option<Pin<Box<dyn Future<Output = Turn> + Send>>>,
    /// Ours, until then.
    has: Option<(Turn, Instant)>,
}

impl Turns {
    /// Until when ours lasts.
    fn until(&self) -> Option<Instant> {
        self.has.as_ref().map(|(_, until)| *until)
    }

    async fn come(&mut self) {
        match &mut self.asked {
            Some(asked) => {
                let turn = asked.as_mut().await;
                self.asked = None;
                self.has = Some((turn, Instant::now() + TURN));
            }
            None => std::future::pending().await,
        }
    }
}

/// A batch that waits for room in the queue.
struct Waiting {
    batch: Received,
    /// Kept across everything else that happens, or the stream would lose its place.
    room: Pin<Box<dyn Future<Output = Room> + Send>>,
}

/// What is still to be sent, newest only.
#[derive(Default)]
struct Due {
    ack: Option<pb::Ack>,
    /// Why, and within which time to come back.
    drain: Option<(pb::DrainReason, Duration)>,
}

impl Due {
    fn is_empty(&self) -> bool {
        self.ack.is_none() && self.drain.is_none()
    }

    /// An Ack goes before a Drain: what is committed is said first, with the time by our clock.
    fn take(&mut self, now: UnixMicros) -> Option<pb::StreamResponse> {
        if let Some(ack) = self.ack.take() {
            let ack = pb::Ack { clock_unix_us: now.0, ..ack };
            return Some(response(pb::stream_response::Frame::Ack(ack)));
        }
        let (reason, within) = self.drain.take()?;
        let reconnect_within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let drain = pb::Drain { reconnect_within_ms, reason: reason.into() };
        Some(response(pb::stream_response::Frame::Drain(drain)))
    }
}

impl Opened {
    pub(in crate::telemetry) async fn serve<S>(
        &mut self,
        inbound: &mut S,
        outbound: &Outbound,
    ) -> Result<Ended, Broken>
    where
        S: Stream<Item = Result<pb::StreamRequest, Status>> + Unpin,
    {
        let shared = Arc::clone(&self.shared);
        let live = Arc::clone(&self.ticket.live);
        let visit = Arc::clone(&self.visit);
        let silence = silence_limit(shared.interval);
        let mut quiet_since = Instant::now();
        let mut due = Due::default();
        // Until a batch has found room in the queue, no other is read.
        let mut waiting: Option<Waiting> = None;
        let mut turns = Turns::default();
        // No batch is taken any more; once all are settled, this is how it ended.
        let mut ending: Option<Ended> = None;
        loop {
            if let Some(ended) = ending
                && waiting.is_none()
                && self.session.is_settled()
                && due.is_empty()
            {
                return Ok(ended);
            }
            let reads = waiting.is_none() && ending != Some(Ended::ByAgent);
            if reads && self.has_backlog && turns.has.is_none() && turns.asked.is_none() {
                turns.asked = Some(Box::pin(shared.queue.turn()));
            }
            let reads = reads && turns.asked.is_none();
            let turn_ends = turns.until().filter(|_| reads);
            let owing = !reads || !self.session.is_settled();
            tokio::select! {
                biased;
                // What it sent is committed or not, and not waited for.
                why = visit.expelled() => {
                    return Err(Broken::because(Reason::Revoked, Status::permission_denied(why)));
                }
                () = live.changed() => {
                    let progress = live.progress();
                    if let Some(ack) = progress.through.and_then(|t| self.session.committed(t)) {
                        due.ack = Some(ack);
                        quiet_since = Instant::now();
                    }
                    match progress.end {
                        Some(End::Superseded) => return Err(Status::aborted(
                            "this spool epoch is not the host's current one any more: another \
                             spool said Hello for the host",
                        ).into()),
                        // What it sent will not be committed, so nothing is waited for.
                        Some(End::Refill) => {
                            // A Drain for another reason may have gone before.
                            let within = shared.registry.refill(&live.newcomer.name);
                            shared.meters.refilled();
                            drain(&mut ending, &mut due, pb::DrainReason::Refill, within);
                            while let Some(response) = due.take(shared.clock.wall()) {
                                drop(timeout(LAST_WORD, outbound.send(Ok(response))).await);
                            }
                            return Ok(Ended::Drained(pb::DrainReason::Refill));
                        }
                        Some(End::TakenOver) => return Err(Broken::because(
                            Reason::AlreadyConnected,
                            Status::already_exists(TAKEN_OVER),
                        )),
                        Some(End::Forgotten) => return Err(Status::unavailable(FORGOTTEN).into()),
                        Some(End::Uncommitted) => return Err(Status::unavailable(
                            "shutting down without the database; send again what is not acknowledged",
                        ).into()),
                        // Or streams replaced one after another would each keep a batch.
                        Some(End::Replaced) if waiting.is_some() => return Err(Status::aborted(
                            "a newer stream of this agent replaces this one; send again there \
                             what is not acknowledged",
                        ).into()),
                        Some(End::Replaced) => {
                            self.welcomed = None;
                            drain(&mut ending, &mut due, pb::DrainReason::Replaced, RECONNECT_WITHIN);
                        }
                        None => {}
                    }
                }
                () = shared.draining.cancelled(), if ending.is_none() => {
                    drain(&mut ending, &mut due, pb::DrainReason::Shutdown, RECONNECT_WITHIN);
                }
                slot = outbound.reserve(), if !due.is_empty() => {
                    let Ok(slot) = slot else { return Ok(Ended::Lost) };
                    if let Some(response) = due.take(shared.clock.wall()) {
                        if let Some(pb::stream_response::Frame::Ack(ack)) = &response.frame {
                            for took in self.ack_timer.acknowledged(ack.through_sequence) {
                                shared.meters.acknowledged(took);
                            }
                        }
                        slot.send(Ok(response));
                    }
                }
                (room, batch) = found(&mut waiting), if waiting.is_some() => {
                    if batch.is_some_and(|batch| !self.outlet.put(room, batch)) {
                        return Err(Status::unavailable("shutting down").into());
                    }
                    turns.has = None;
                }
                () = turns.come(), if turns.asked.is_some() => quiet_since = Instant::now(),
                frame = inbound.next(), if reads => {
                    quiet_since = Instant::now();
                    match self.frame(frame, &live, ending.is_none())? {
                        Frame::Batch(batch) if batch.records.is_empty() => {}
                        Frame::Batch(batch) => {
                            self.has_backlog = batch.records.len() > SMALL_RECORDS;
                            let room = Box::pin(self.outlet.reserve(batch.records.len()));
                            waiting = Some(Waiting { batch, room });
                        }
                        Frame::Last => {
                            // It need not be told to come back any more.
                            due.drain = None;
                            ending = Some(Ended::ByAgent);
                        }
                    }
                }
                () = sleep_until(turn_ends.unwrap_or_else(Instant::now)), if turn_ends.is_some() => {
                    // It goes to the end of the line.
                    turns.has = None;
                }
                () = outbound.closed() => return Ok(Ended::Lost),
                () = sleep_until(quiet_since + silence), if !owing && ending.is_none() => {
                    return Err(Broken::from(&Refusal::Silence(silence)));
                }
            }
        }
    }

    fn frame(
        &mut self,
        frame: Option<Result<pb::StreamRequest, Status>>,
        live: &Live,
        taking: bool,
    ) -> Result<Frame, Broken> {
        let Some(request) = frame else { return Ok(Frame::Last) };
        let request = request.map_err(Broken::received)?;
        live.heard(&self.shared.clock);
        match request.frame {
            Some(pb::stream_request::Frame::Batch(batch)) => {
                let at = self.shared.clock.wall();
                let told_due = batch.spool.map(|spool| spool.due_ticks);
                if let Some(spool) = batch.spool {
                    live.set_spool(spool, &self.shared.clock);
                }
                if !taking {
                    // Sent after Drain, or crossed it on the way: the agent sends it again.
                    return Ok(Frame::Batch(Received { records: Vec::new(), told_due: None, at }));
                }
                let bytes = batch.encoded_len();
                let records = self.session.batch(batch, bytes).map_err(|r| Broken::from(&r))?;
                if let Some(last) = records.last() {
                    self.ack_timer.received(last.through());
                }
                // 0: it does not tell.
                let told_due = told_due.filter(|due| *due > 0).and_then(|due| due.try_into().ok());
                Ok(Frame::Batch(Received { records, told_due, at }))
            }
            Some(pb::stream_request::Frame::Bye(bye)) => {
                info!(reason = ?bye.reason(), unacknowledged = bye.unacknowledged_records, "agent says bye");
                self.stopped = bye.reason() == pb::ByeReason::Stopped;
                Ok(Frame::Last)
            }
            Some(pb::stream_request::Frame::Hello(_)) | None => {
                Err(Broken::from(&Refusal::UnexpectedFrame))
            }
        }
    }
}

/// The batch that waited, once there is room for it.
async fn found(waiting: &mut Option<Waiting>) -> (Room, Option<Received>) {
    match waiting {
        Some(found) => {
            let room = found.room.as_mut().await;
            (room, waiting.take().map(|found| found.batch))
        }
        None => std::future::pending().await,
    }
}

/// What a frame means for the stream.
enum Frame {
    Batch(Received),
    Last,
}

fn drain(ending: &mut Option<Ended>, due: &mut Due, reason: pb::DrainReason, within: Duration) {
    if ending.is_none() {
        *ending = Some(Ended::Drained(reason));
        due.drain = Some((reason, within));
    }
}
