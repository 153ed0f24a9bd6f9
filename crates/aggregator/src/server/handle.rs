//! What others in this process see of a server.

use std::net::SocketAddr;
use std::sync::Arc;

use rowcall_core::token::Pin;
use tokio::sync::{broadcast, watch};
use tracing::{info, warn};

use crate::CommittedSample;
use crate::certificates::Certificates;
use crate::refusals::Refusals;

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every stream was drained and everything received is committed and acknowledged.
    InOrder,
    /// The deadline came first. What was left is unacknowledged, so agents send it again.
    AtDeadline,
    /// All streams ended in time, but the database did not take the last records. They are
    /// unacknowledged, so an agent that lives sends them again.
    Uncommitted {
        /// How many.
        records: u64,
    },
}

impl Stopped {
    /// Says it in the log.
    pub(super) fn say(self, streams_cut: usize) {
        match self {
            Self::InOrder => info!("stopped in order: all that was received is acknowledged"),
            Self::Uncommitted { records } => warn!(
                records,
                "stopped without the database: what it did not take is not acknowledged"
            ),
            Self::AtDeadline => warn!(
                streams_cut,
                "stopped at the deadline: agents send again what was not acknowledged"
            ),
        }
    }
}

/// What others in this process may hold on to.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) address: SocketAddr,
    pub(super) enroll_address: Option<SocketAddr>,
    pub(super) http_address: Option<SocketAddr>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) ready: watch::Receiver<bool>,
    pub(super) observers: broadcast::Sender<CommittedSample>,
    pub(super) refusals: Arc<Refusals>,
}

impl Handle {
    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where nodes enrol, with the real port; none: nowhere.
    #[must_use]
    pub fn enroll_addr(&self) -> Option<SocketAddr> {
        self.enroll_address
    }

    /// The authority that nodes find in this aggregator's chain, as join tokens name it; none: it
    /// does not issue certificates.
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        self.certificates.pin()
    }

    /// Has the files of certificates looked at now, and not only within some seconds.
    pub fn reload(&self) {
        self.certificates.asked().notify_one();
    }

    /// Where it answers probes and gives metrics, with the real port; none: nowhere.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Waits until the database is open and agents are welcome. False: the server ended before.
    pub async fn ready(&mut self) -> bool {
        self.ready.wait_for(|ready| *ready).await.is_ok()
    }

    /// Peers, calls and streams that were refused since the start, for whatever reason; without
    /// handshakes.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refusals.total()
    }

    /// What is committed from now on, replays included. Lossy: whoever lags loses the oldest and is told how many.
    #[must_use]
    pub fn samples(&self) -> broadcast::Receiver<CommittedSample> {
        self.observers.subscribe()
    }
}
