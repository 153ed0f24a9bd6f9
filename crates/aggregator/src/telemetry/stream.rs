//! One agent's stream: Hello, Welcome, then batches in and acknowledgements out.
//!
//! The task that runs it is the server's own, not the request's: when a client vanishes, nothing
//! is cut off in the middle. Acknowledgements are coalesced, so an agent that reads slowly costs
//! one number; an agent that sends faster than the database takes is not read from.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rowcall_core::id::{HostId, HostName};
use rowcall_core::proto::v1 as pb;
use rowcall_core::record::Record;
use rowcall_core::session::aggregator::{
    HELLO_DEADLINE, MAX_IN_FLIGHT_BYTES, Refusal, Session, greet, silence_limit,
};
use rowcall_store::{Kind, Mark};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::{Span, info};

use super::Shared;
use super::queue::{Outlet, Room};
use super::refusal::{self, Broken};
use crate::connections::{Visit, Welcomed};
use crate::metrics::{AckTimer, StreamEnd};
use crate::refusals::Reason;
use crate::registry::{End, Live, Newcomer, Ticket};

/// How long a peer may take to read the last word.
const LAST_WORD: Duration = Duration::from_secs(5);

/// How long a session may wait to be opened when a whole fleet comes back at once.
const OPEN_WAIT: Duration = Duration::from_secs(30);

/// After Drain an agent comes back within this.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);

/// The same where the database lost rows: they are asked for at once, but a fleet still spreads.
const REFILL_WITHIN: Duration = Duration::from_secs(2);

/// For streams of a database that was made anew.
const FORGOTTEN: &str = "the database was made anew and does not know this host: say Hello again \
                         and send what is not acknowledged";

/// What goes to the peer.
pub(super) type Outbound = mpsc::Sender<Result<pb::StreamResponse, Status>>;

/// How a stream ended where nobody broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The agent said Bye or sent its last frame.
    ByAgent,
    /// The agent was told to come back.
    Drained(pb::DrainReason),
    /// The connection is gone.
    Lost,
}

/// Runs a stream to its end.
pub(super) async fn run<S>(
    shared: Arc<Shared>,
    visit: Arc<Visit>,
    name: HostName,
    mut inbound: S,
    outbound: Outbound,
) where
    S: Stream<Item = Result<pb::StreamRequest, Status>> + Unpin,
{
    // In a box, so that what opening a session needs is not kept as long as the stream.
    let opened = Box::pin(open(&shared, &visit, &name, &mut inbound, &outbound)).await;
    let result = match opened {
        Ok(mut opened) => opened.serve(&mut inbound, &outbound).await,
        Err(broken) => Err(broken),
    };
    shared.meters.stream_ended(match &result {
        Ok(Ended::ByAgent) => StreamEnd::Agent,
        Ok(Ended::Drained(_)) => StreamEnd::Drained,
        Ok(Ended::Lost) => StreamEnd::Lost,
        Err(_) => StreamEnd::Error,
    });
    match result {
        Ok(ended) => info!(?ended, "stream ended"),
        Err(Broken { reason, status }) => {
            let (code, text) = (status.code(), status.message());
            match reason {
                None => info!(?code, text, "stream ended"),
                Some(reason) => {
                    if let Some(held_back) = shared.refusals.count(reason) {
                        let reason = reason.as_str();
                        info!(reason, ?code, text, held_back, "stream refused");
                    }
                }
            }
            // The peer may be gone, or not read.
            drop(timeout(LAST_WORD, outbound.send(Err(status))).await);
        }
    }
}

/// From the first frame to Welcome.
async fn open<S>(
    shared: &Arc<Shared>,
    visit: &Arc<Visit>,
    name: &HostName,
    inbound: &mut S,
    outbound: &Outbound,
) -> Result<Opened, Broken>
where
    S: Stream<Item = Result<pb::StreamRequest, Status>> + Unpin,
{
    let first = tokio::select! {
        first = timeout(HELLO_DEADLINE, inbound.next()) => first,
        () = shared.draining.cancelled() => return Err(not_ready(Status::unavailable("shutting down"))),
    };
    let frame = match first {
        Err(_) => return Err(Broken::from(&Refusal::NoHello)),
        Ok(None) => None,
        Ok(Some(Err(status))) => return Err(Broken::received(status)),
        Ok(Some(Ok(request))) => request.frame,
    };
    let (hello, protocol) = greet(frame, name).map_err(|r| Broken::from(&r))?;
    let newcomer = Newcomer {
        name: name.clone(),
        run: hello.run,
        peer: visit.peer.address,
        agent_version: hello.agent_version.clone(),
        clock: hello.clock,
        era: shared.database.era(),
    };
    // The store is asked first: while it isn't there, nobody's session is worth replacing.
    let store = shared.database.store().map_err(not_ready)?;
    // Before it may replace a session that does no harm.
    shared.pace.open(name).map_err(|refused| {
        Broken::because(Reason::TooManySessions, Status::unavailable(refused.to_string()))
    })?;
    let ticket = shared.registry.admit(newcomer).map_err(|refused| {
        Broken::because(Reason::AlreadyConnected, Status::already_exists(refused.to_string()))
    })?;
    let welcomed = visit.welcome();
    let opened = {
        let turn = timeout(OPEN_WAIT, shared.openings.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let status = Status::unavailable("too many agents connect at once, come back later");
            return Err(not_ready(status));
        };
        let Some(_era) = shared.database.hold_era(ticket.live.newcomer.era).await else {
            return Err(Status::unavailable(FORGOTTEN).into());
        };
        store.open_session(&hello, shared.interval).await.map_err(|error| {
            if error.kind() == Kind::Schema {
                shared.database.doubt_schema();
            }
            not_ready(refusal::database(&error))
        })?
    };
    let (host, epoch) = (opened.host_id, opened.epoch_id);
    Span::current().record("host_id", host.0);
    info!(
        agent_version = hello.agent_version,
        new_host = opened.host_is_new,
        new_epoch = opened.epoch_is_new,
        facts_changed = opened.facts_changed,
        mark = opened.mark.map(|mark| mark.through.as_u64()),
        next = hello.next.as_u64(),
        "agent connected"
    );
    let welcome = welcome(shared, protocol, host, opened.mark);
    if outbound.send(Ok(response(pb::stream_response::Frame::Welcome(welcome)))).await.is_err() {
        return Err(Status::cancelled("the agent is gone").into());
    }
    Ok(Opened {
        shared: Arc::clone(shared),
        session: Session::new(hello.epoch, opened.mark.map(|mark| mark.through)),
        ack_timer: AckTimer::default(),
        outlet: shared.queue.outlet(Arc::clone(&ticket.live), host, epoch),
        ticket,
        welcomed: Some(welcomed),
    })
}

fn not_ready(status: Status) -> Broken {
    Broken::because(Reason::NotReady, status)
}

fn welcome(shared: &Shared, protocol: u32, host: HostId, mark: Option<Mark>) -> pb::Welcome {
    pb::Welcome {
        protocol,
        host_id: host.0,
        interval_ms: u32::try_from(shared.interval.as_millis()).unwrap_or(u32::MAX),
        mark: mark.map(|mark| pb::Mark {
            through_sequence: mark.through.as_u64(),
            time_unix_us: mark.time.0,
            due_ticks: 0,
        }),
        clock_unix_us: shared.clock.wall().0,
        max_in_flight_bytes: MAX_IN_FLIGHT_BYTES,
        aggregator_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// A welcomed stream.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    pub(super) ticket: Ticket,
    pub(super) outlet: Outlet,
    /// While this is the host's session.
    pub(super) welcomed: Option<Welcomed>,
    pub(super) ack_timer: AckTimer,
}

/// A batch that waits for room in the queue.
struct Waiting {
    records: Vec<Record>,
    /// Kept across everything else that happens, or the stream would lose its place.
    room: Pin<Box<dyn Future<Output = Room> + Send>>,
}

/// What is still to be sent, newest only.
#[derive(Default)]
struct Due {
    ack: Option<pb::Ack>,
    drain: Option<pb::DrainReason>,
}

impl Due {
    fn is_empty(&self) -> bool {
        self.ack.is_none() && self.drain.is_none()
    }

    /// An Ack goes before a Drain: what is committed is said first.
    fn take(&mut self) -> Option<pb::StreamResponse> {
        if let Some(ack) = self.ack.take() {
            return Some(response(pb::stream_response::Frame::Ack(ack)));
        }
        let reason = self.drain.take()?;
        let within = match reason {
            pb::DrainReason::Refill => REFILL_WITHIN,
            _ => RECONNECT_WITHIN,
        };
        let reconnect_within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let drain = pb::Drain { reconnect_within_ms, reason: reason.into() };
        Some(response(pb::stream_response::Frame::Drain(drain)))
    }
}

impl Opened {
    pub(super) async fn serve<S>(
        &mut self,
        inbound: &mut S,
        outbound: &Outbound,
    ) -> Result<Ended, Broken>
    where
        S: Stream<Item = Result<pb::StreamRequest, Status>> + Unpin,
    {
        let shared = Arc::clone(&self.shared);
        let live = Arc::clone(&self.ticket.live);
        let silence = silence_limit(shared.interval);
        let mut quiet_since = Instant::now();
        let mut due = Due::default();
        // Until a batch has found room in the queue, no other is read.
        let mut waiting: Option<Waiting> = None;
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
            let owing = waiting.is_some() || !self.session.is_settled();
            tokio::select! {
                biased;
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
                            drain(&mut ending, &mut due, pb::DrainReason::Refill);
                            while let Some(response) = due.take() {
                                drop(timeout(LAST_WORD, outbound.send(Ok(response))).await);
                            }
                            return Ok(Ended::Drained(pb::DrainReason::Refill));
                        }
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
                            drain(&mut ending, &mut due, pb::DrainReason::Replaced);
                        }
                        None => {}
                    }
                }
                () = shared.draining.cancelled(), if ending.is_none() => {
                    drain(&mut ending, &mut due, pb::DrainReason::Shutdown);
                }
                slot = outbound.reserve(), if !due.is_empty() => {
                    let Ok(slot) = slot else { return Ok(Ended::Lost) };
                    if let Some(response) = due.take() {
                        if let Some(pb::stream_response::Frame::Ack(ack)) = &response.frame {
                            for took in self.ack_timer.acknowledged(ack.through_sequence) {
                                shared.meters.acknowledged(took);
                            }
                        }
                        slot.send(Ok(response));
                    }
                }
                (room, records) = found(&mut waiting), if waiting.is_some() => {
                    if !self.outlet.put(room, records) {
                        return Err(Status::unavailable("shutting down").into());
                    }
                }
                frame = inbound.next(), if waiting.is_none() && ending != Some(Ended::ByAgent) => {
                    quiet_since = Instant::now();
                    match self.frame(frame, &live, ending.is_none())? {
                        Received::Records(records) if records.is_empty() => {}
                        Received::Records(records) => {
                            let room = Box::pin(self.outlet.reserve(records.len()));
                            waiting = Some(Waiting { records, room });
                        }
                        Received::Last => {
                            // It need not be told to come back any more.
                            due.drain = None;
                            ending = Some(Ended::ByAgent);
                        }
                    }
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
    ) -> Result<Received, Broken> {
        let Some(request) = frame else { return Ok(Received::Last) };
        let request = request.map_err(Broken::received)?;
        live.heard(&self.shared.clock);
        match request.frame {
            Some(pb::stream_request::Frame::Batch(batch)) => {
                if let Some(spool) = batch.spool {
                    live.set_spool(spool);
                }
                if !taking {
                    // Sent after Drain, or crossed it on the way: the agent sends it again.
                    return Ok(Received::Records(Vec::new()));
                }
                let bytes = batch.encoded_len();
                let records = self.session.batch(batch, bytes).map_err(|r| Broken::from(&r))?;
                if let Some(last) = records.last() {
                    self.ack_timer.received(last.through());
                }
                Ok(Received::Records(records))
            }
            Some(pb::stream_request::Frame::Bye(bye)) => {
                info!(reason = ?bye.reason(), unacknowledged = bye.unacknowledged_records, "agent says bye");
                Ok(Received::Last)
            }
            Some(pb::stream_request::Frame::Hello(_)) | None => {
                Err(Broken::from(&Refusal::UnexpectedFrame))
            }
        }
    }
}

/// The batch that waited, once there is room for it.
async fn found(waiting: &mut Option<Waiting>) -> (Room, Vec<Record>) {
    match waiting {
        Some(batch) => {
            let room = batch.room.as_mut().await;
            (room, waiting.take().map(|batch| batch.records).unwrap_or_default())
        }
        None => std::future::pending().await,
    }
}

/// What a frame means for the stream.
enum Received {
    Records(Vec<Record>),
    Last,
}

fn drain(ending: &mut Option<Ended>, due: &mut Due, reason: pb::DrainReason) {
    if ending.is_none() {
        *ending = Some(Ended::Drained(reason));
        due.drain = Some(reason);
    }
}

fn response(frame: pb::stream_response::Frame) -> pb::StreamResponse {
    pb::StreamResponse { frame: Some(frame) }
}
