//! From the first frame to Welcome.

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::id::{HostId, HostName, Sequence};
use rowcall_core::proto::v1 as pb;
use rowcall_core::session::aggregator::{
    HELLO_DEADLINE, MAX_IN_FLIGHT_BYTES, Refusal, Session, greet,
};
use rowcall_store::{Mark, SessionHolder, Started};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::{Span, info};

use super::{FORGOTTEN, Opened, Outbound, away, response};
use crate::connections::Visit;
use crate::metrics::AckTimer;
use crate::refusals::Reason;
use crate::registry::{Newcomer, Numbers};
use crate::revocation::presented;
use crate::telemetry::Shared;
use crate::telemetry::queue::SMALL_RECORDS;
use crate::telemetry::refusal::{self, Broken};

/// How long a session may wait to be opened when a whole fleet comes back at once.
const OPEN_WAIT: Duration = Duration::from_secs(30);

/// From the first frame to Welcome.
pub(super) async fn open<S>(
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
        machine_id: hello.machine_id.clone(),
        visit: Arc::clone(visit),
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
    let presented = presented(&visit.peer)
        .ok_or_else(|| Status::internal("the connection's certificate is not at hand"))?;
    let party = newcomer.party();
    let ticket = match shared.registry.admit(newcomer.clone()) {
        Ok(ticket) => ticket,
        Err(held) => return Err(away::held_here(shared, store, &newcomer, &presented, held).await),
    };
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
        let still_lives = |host, run| shared.registry.holds(host, run);
        let holder = SessionHolder {
            aggregator: &shared.name,
            aggregator_run: shared.run,
            peer: &party.peer,
            still_lives: &still_lives,
        };
        let opened = store.open_session(&hello, shared.interval, &presented, &holder).await;
        let opened = opened.map_err(|error| {
            shared.database.doubt(&error, ticket.live.newcomer.era);
            not_ready(refusal::database(&error))
        })?;
        let opened = opened.map_err(|refused| away::refused(shared, &ticket.live, refused))?;
        // As long as the era is held, or the numbers might be of one before.
        let numbers =
            Numbers { host: opened.host_id, epoch_id: opened.epoch_id, epoch: hello.epoch };
        ticket.live.leased(opened.lease.clone());
        if ticket.live.called(&opened.name).is_some() {
            Span::current().record("called", opened.name.as_str());
        }
        shared.registry.opened(&ticket.live, numbers, opened.mark.map(|mark| mark.through));
        opened
    };
    let (host, epoch) = (opened.host_id, opened.epoch_id);
    Span::current().record("host_id", host.0);
    info!(
        agent_version = hello.agent_version,
        started = opened.started.as_ref().map(started),
        from_version = opened.started.as_ref().and_then(version_before),
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
        visit: Arc::clone(visit),
        session: Session::new(hello.epoch, opened.mark.map(|mark| mark.through)),
        ack_timer: AckTimer::default(),
        stopped: false,
        has_backlog: has_backlog(hello.next, opened.mark),
        outlet: shared.queue.outlet(Arc::clone(&ticket.live), host, epoch),
        ticket,
        welcomed: Some(welcomed),
    })
}

/// Whether the agent holds more than live samples.
fn has_backlog(next: Sequence, mark: Option<Mark>) -> bool {
    let committed = mark.map_or(0, |mark| mark.through.as_u64());
    let waiting = next.as_u64().saturating_sub(committed + 1);
    waiting > u64::try_from(SMALL_RECORDS).unwrap_or(u64::MAX)
}

/// What was different when the agent's process started, where it is a new one.
fn started(how: &Started) -> &'static str {
    match how {
        Started::First => "first",
        Started::Reboot => "reboot",
        Started::Upgrade { .. } => "upgrade",
        Started::Restart => "restart",
    }
}

fn version_before(how: &Started) -> Option<&str> {
    match how {
        Started::Upgrade { from } => from.as_deref(),
        _ => None,
    }
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
            due_ticks: u64::try_from(mark.due_ticks).unwrap_or(0),
        }),
        clock_unix_us: shared.clock.wall().0,
        max_in_flight_bytes: MAX_IN_FLIGHT_BYTES,
        aggregator_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_authorities_sha256: shared
            .credentials
            .server_authorities_sha256()
            .map(|hash| hash.to_vec())
            .unwrap_or_default(),
    }
}
