//! How many connections there may be, of one certificate and in all, and how long one may be
//! without a call.
//!
//! A connection on which no call comes soon (10 s unless told otherwise) is dropped: TLS without an
//! HTTP/2 preface, a preface without a call. So is one that has been idle for long after its last
//! call.
//!
//! One certificate may have [`MAX_OF_AGENT`] or [`MAX_OF_PERSON`] connections. An agent that comes
//! back after its network was cut must always get in, although its dead connections live on until
//! TCP gives them up, so a newcomer beyond the bound takes the place of the oldest connection that
//! is idle, or else (agents only) of the oldest that is not a welcomed session. A person's
//! newcomer that finds all others busy is let in to be told why its calls are refused, up to
//! [`TURNED_AWAY`] of them; the rest is dropped without a word.

mod visit;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use rowcall_core::id::HostName;
use rowcall_tls::accept::{PeerInfo, source};
use rowcall_tls::identity::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info};

use crate::refusals::{Reason, Refusals};
use visit::Over;
pub(crate) use visit::{Call, Visit, Welcomed};

/// Longest that an agent's connection may be idle after a call: it has just one, its stream.
pub(crate) const IDLE_AGENT: Duration = Duration::from_secs(10);

/// Longest that a person's or a dashboard's connection may be idle after a call.
pub(crate) const IDLE_PERSON: Duration = Duration::from_secs(600);

/// Connections of one agent's certificate. It needs one, and another while it comes back.
pub(crate) const MAX_OF_AGENT: usize = 8;

/// Connections of one viewer's or operator's certificate. Each carries 8 calls at a time.
pub(crate) const MAX_OF_PERSON: usize = 32;

/// Connections of one source on the listener of those without a certificate. Each is soon over.
const MAX_OF_SOURCE: usize = 64;

/// Connections that are let in beyond these only to be told so.
const TURNED_AWAY: usize = 4;

/// Descriptors for everything but connections and the database: logs, listeners, timers, room.
const RESERVED_DESCRIPTORS: usize = 64;

/// How many files this process may have open, after raising the bound as far as it can be: it is
/// mostly 1,024 only for the sake of programs that use `select`.
pub(crate) fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    // None is no limit.
    limit.current.and_then(|files| usize::try_from(files).ok()).unwrap_or(1 << 20)
}

/// How many connections and handshakes at a time fit under a limit of open files, of which
/// `database` are for connections to PostgreSQL. Handshakes get at most a quarter.
pub(crate) fn budget(descriptors: usize, database: usize, handshakes: usize) -> (usize, usize) {
    let free = descriptors.saturating_sub(RESERVED_DESCRIPTORS + database).max(8);
    let handshakes = handshakes.min(free / 4);
    (free - handshakes, handshakes)
}

/// Whose connections are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Named(Role, HostName),
    /// All whose certificates name nobody.
    Nobody,
    /// On the listener of those without a certificate: an IPv4 address, or an IPv6 /64.
    Source(IpAddr),
    /// There: all that are exempt from a bound of their own.
    Exempt,
}

impl Holder {
    fn of(peer: &PeerInfo) -> Self {
        match &peer.identity {
            Ok(identity) => Self::Named(identity.role, identity.name.clone()),
            Err(_) => Self::Nobody,
        }
    }

    const fn is_stranger(&self) -> bool {
        matches!(self, Self::Source(_) | Self::Exempt)
    }

    const fn is_agent(&self) -> bool {
        matches!(self, Self::Named(Role::Agent, _))
    }

    const fn bound(&self) -> usize {
        match self {
            Self::Named(Role::Agent, _) => MAX_OF_AGENT,
            Self::Named(Role::Viewer | Role::Operator, _) | Self::Nobody => MAX_OF_PERSON,
            Self::Source(_) => MAX_OF_SOURCE,
            Self::Exempt => usize::MAX,
        }
    }

    const fn idle(&self) -> Duration {
        match self {
            Self::Named(Role::Viewer | Role::Operator, _) => IDLE_PERSON,
            Self::Named(Role::Agent, _) | Self::Nobody | Self::Source(_) | Self::Exempt => {
                IDLE_AGENT
            }
        }
    }
}

/// All connections that are served.
#[derive(Debug)]
pub(crate) struct Connections {
    bound: usize,
    first_call: Duration,
    refusals: Arc<Refusals>,
    /// Of a listener whose peers have no certificates: sources without a bound. None: they have.
    strangers: Option<Vec<IpNet>>,
    /// Of each holder the oldest first. Never holds an empty list.
    held: Mutex<HashMap<Holder, Vec<Arc<Visit>>>>,
}

impl Connections {
    /// At most `bound` in all; on each a call must come within `first_call` of its handshake.
    pub(crate) fn new(bound: usize, first_call: Duration, refusals: Arc<Refusals>) -> Arc<Self> {
        Arc::new(Self { bound, first_call, refusals, strangers: None, held: Mutex::default() })
    }

    /// The same for peers without certificates: each source has a bound, but those of `exempt`.
    pub(crate) fn of_strangers(
        bound: usize,
        first_call: Duration,
        refusals: Arc<Refusals>,
        exempt: Vec<IpNet>,
    ) -> Arc<Self> {
        let strangers = Some(exempt);
        Arc::new(Self { bound, first_call, refusals, strangers, held: Mutex::default() })
    }

    fn holder(&self, peer: &PeerInfo) -> Holder {
        let Some(exempt) = &self.strangers else { return Holder::of(peer) };
        let address = peer.address.ip().to_canonical();
        if exempt.iter().any(|network| network.contains(&address)) {
            return Holder::Exempt;
        }
        Holder::Source(source(address))
    }

    /// All connections now.
    pub(crate) fn visits(&self) -> Vec<Arc<Visit>> {
        self.lock().values().flatten().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, Vec<Arc<Visit>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, given back when the guest is dropped. None: there is none.
    pub(crate) fn enter(self: &Arc<Self>, peer: &Arc<PeerInfo>) -> Option<Guest> {
        let holder = self.holder(peer);
        let mut held = self.lock();
        if held.values().map(Vec::len).sum::<usize>() >= self.bound {
            drop(held);
            self.say(Reason::TooManyConnections, peer, "dropped: as many as may be are open");
            return None;
        }
        let visits = held.entry(holder.clone()).or_default();
        let mut said = None;
        let mut turned_away = false;
        if visits.len() >= holder.bound() {
            if let Some(place) = replaceable(visits, holder.is_agent()) {
                visits.remove(place).evict();
                said = Some(
                    "too many of one certificate or source: the oldest idle one was dropped for it",
                );
            } else if !holder.is_stranger() && visits.len() < holder.bound() + TURNED_AWAY {
                turned_away = true;
                said = Some("its certificate has too many, all busy: its calls are refused");
            } else {
                drop(held);
                self.say(Reason::TooManyOfIdentity, peer, "dropped: it has too many, all busy");
                return None;
            }
        }
        let visit = Arc::new(Visit::new(Arc::clone(peer), &holder, self.first_call, turned_away));
        visits.push(Arc::clone(&visit));
        drop(held);
        if let Some(what) = said {
            self.say(Reason::TooManyOfIdentity, peer, what);
        }
        Some(Guest { connections: Arc::clone(self), holder, visit })
    }

    fn say(&self, reason: Reason, peer: &PeerInfo, what: &str) {
        if let Some(held_back) = self.refusals.count(reason) {
            let holder = peer.identity.as_ref().map(ToString::to_string).unwrap_or_default();
            info!(
                peer = %peer.address, certificate = holder, reason = reason.as_str(), held_back,
                "connection {what}"
            );
        }
    }

    /// Connections now: of each role, and of certificates that name nobody.
    pub(crate) fn by_role(&self) -> [(&'static str, usize); 4] {
        let held = self.lock();
        let count = |wanted: Option<Role>| {
            held.iter()
                .filter(|(holder, _)| match holder {
                    Holder::Named(role, _) => wanted == Some(*role),
                    _ => wanted.is_none(),
                })
                .map(|(_, visits)| visits.len())
                .sum()
        };
        let [agent, viewer, operator] = Role::ALL;
        [
            (agent.as_str(), count(Some(agent))),
            (viewer.as_str(), count(Some(viewer))),
            (operator.as_str(), count(Some(operator))),
            ("none", count(None)),
        ]
    }
}

/// Which of a holder's connections must make room for a new one, if any.
fn replaceable(visits: &[Arc<Visit>], is_agent: bool) -> Option<usize> {
    let idle = visits.iter().position(|visit| visit.is_idle());
    if !is_agent {
        return idle;
    }
    // Two can be sessions at a time at most: the host's, and the one that it just replaced.
    idle.or_else(|| visits.iter().position(|visit| !visit.is_welcomed())).or(Some(0))
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    connections: Arc<Connections>,
    holder: Holder,
    pub(crate) visit: Arc<Visit>,
}

impl Guest {
    /// It sent more frames that say nothing than anybody has reason to.
    pub(crate) fn flooded(&self) {
        self.connections.say(Reason::Flood, &self.visit.peer, "dropped: too many control frames");
    }

    /// What becomes ready when the connection must end; says so in the log.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (visit, refusals) = (Arc::clone(&self.visit), Arc::clone(&self.connections.refusals));
        async move {
            let peer = visit.peer.address;
            match visit.over().await {
                Over::NoCall => {
                    if let Some(held_back) = refusals.count(Reason::NoCall) {
                        let reason = Reason::NoCall.as_str();
                        let waited = visit.first_call;
                        info!(%peer, reason, held_back, "connection dropped: no call in {waited:?}");
                    }
                }
                over @ (Over::Idle | Over::Evicted | Over::Expelled) => {
                    debug!(%peer, ?over, "connection dropped")
                }
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut held = self.connections.lock();
        if let Some(visits) = held.get_mut(&self.holder) {
            // Not there when it was evicted.
            visits.retain(|visit| !Arc::ptr_eq(visit, &self.visit));
            if visits.is_empty() {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests;
