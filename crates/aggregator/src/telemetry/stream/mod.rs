//! One agent's stream: Hello, Welcome, then batches in and acknowledgements out.
//!
//! The task that runs it is the server's own, not the request's: when a client vanishes, nothing
//! is cut off in the middle. Acknowledgements are coalesced, so an agent that reads slowly costs
//! one number; an agent that sends faster than the database takes is not read from.

mod away;
mod open;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_core::session::aggregator::Session;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::Status;
use tracing::info;

use super::Shared;
use super::queue::Outlet;
use super::refusal::Broken;
use crate::connections::{Visit, Welcomed};
use crate::metrics::{AckTimer, StreamEnd};
use crate::registry::Ticket;

/// How long a peer may take to read the last word.
const LAST_WORD: Duration = Duration::from_secs(5);

/// For streams of a database that was made anew.
const FORGOTTEN: &str = "the database was made anew and does not know this host: say Hello again \
                         and send what is not acknowledged";

/// For streams whose host another aggregator gave to another agent process.
const TAKEN_OVER: &str = "while this aggregator could not reach the database, another agent process \
                          of this host connected to another one: is the certificate used on two \
                          machines? keep the samples and come back later";

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
    let opened = Box::pin(open::open(&shared, &visit, &name, &mut inbound, &outbound)).await;
    let result = match opened {
        Ok(mut opened) => {
            let served = opened.serve(&mut inbound, &outbound).await;
            opened.farewell();
            served
        }
        Err(broken) => {
            visit.refuse();
            Err(broken)
        }
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

/// A welcomed stream.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    /// Whose end ends the stream.
    pub(super) visit: Arc<Visit>,
    pub(super) session: Session,
    pub(super) ticket: Ticket,
    pub(super) outlet: Outlet,
    /// While this is the host's session.
    pub(super) welcomed: Option<Welcomed>,
    pub(super) ack_timer: AckTimer,
    /// The agent said that its process was stopped.
    pub(super) stopped: bool,
    /// What it sends next is of a backlog, as far as we know.
    pub(super) has_backlog: bool,
}

impl Opened {
    /// Has it recorded that the agent stopped, where it said so. All that it sent before is
    /// committed by now, or the connection broke first.
    fn farewell(&self) {
        if self.stopped {
            self.shared.farewells.came(&self.ticket.live);
        }
    }
}

fn response(frame: pb::stream_response::Frame) -> pb::StreamResponse {
    pb::StreamResponse { frame: Some(frame) }
}
