//! Which hosts are connected, and what became of what they sent. In memory only, so that it
//! answers while the database is down.
//!
//! A host has at most one live session. Locks are held for a few instructions and never across an
//! await.

mod live;
mod refills;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostId, HostName, RunId, Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_store::{Lease, LiveMark, LiveMarks, Party};
use tokio::sync::Notify;

use crate::connections::Visit;
pub(crate) use live::{End, Live, Numbers};
use refills::Refills;

/// Stands in an atomic time for "never".
const NEVER: i64 = i64::MIN;

/// Most hosts that Status names which are not connected.
const MAX_GONE: usize = 1_000;

/// Another machine, or another process of the same one, has this host's session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "host {name} is connected from {peer} by another agent process, heard {heard_s} s ago: is \
     the certificate used on two machines? keep the samples and come back later"
)]
pub(crate) struct AlreadyConnected {
    name: HostName,
    peer: SocketAddr,
    heard_s: u64,
    /// Who has it.
    pub(crate) holder: Party,
}

/// Who asks for a session.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) name: HostName,
    pub(crate) run: RunId,
    pub(crate) peer: SocketAddr,
    pub(crate) machine_id: Option<String>,
    /// The connection that it came on.
    pub(crate) visit: Arc<Visit>,
    pub(crate) agent_version: Option<String>,
    /// The agent's clock at Hello.
    pub(crate) clock: UnixMicros,
    /// The database's era; see [`crate::database::Database`].
    pub(crate) era: u64,
}

impl Newcomer {
    /// It, in a conflict with another one.
    pub(crate) fn party(&self) -> Party {
        let (peer, machine_id) = (self.peer.to_string(), self.machine_id.clone());
        Party { run: self.run, peer, machine_id }
    }
}

/// What a host is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Connected, and heard within the last one and a half intervals.
    Live,
    /// Connected, and not heard for longer than that.
    Silent,
    /// It was let in since the start and is not connected.
    Gone,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Live, Self::Silent, Self::Gone];

    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
            Self::Gone => "gone",
        }
    }
}

/// A host that was let in since the start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Presence {
    /// What people call it.
    pub(crate) name: HostName,
    pub(crate) state: State,
    pub(crate) last_heard_at: UnixMicros,
    /// What its spool holds, as last told.
    pub(crate) spool: Option<pb::SpoolStatus>,
}

/// What Status tells of hosts.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) connected: Vec<pb::ConnectedHost>,
    /// At most [`MAX_GONE`].
    pub(crate) gone: Vec<pb::GoneHost>,
    pub(crate) gone_in_all: usize,
}

/// What is kept of a host beyond its sessions.
#[derive(Clone, Debug)]
struct Seen {
    /// What people called the host when its last session ended.
    name: HostName,
    /// The last frame of a session that ended.
    left_at: UnixMicros,
    spool: Option<pb::SpoolStatus>,
    refills: Refills,
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Registry {
    clock: SharedClock,
    /// Time between two samples, and what silence ends a session; the same for all hosts.
    interval: Duration,
    silence: Duration,
    hosts: Mutex<Hosts>,
    /// Sessions that ended, of which the database does not know it yet; and their eras. No more than
    /// were live, since each had to be opened there.
    ended: Mutex<Vec<(u64, Lease)>>,
    ending: Notify,
}

/// By the name in the certificate, which may be a former one of the host.
#[derive(Debug, Default)]
struct Hosts {
    live: HashMap<HostName, Arc<Live>>,
    /// Those of them that the database knows. A host may have certificates of several names.
    by_number: HashMap<HostId, Arc<Live>>,
    /// Since the start; bounded by the names that the authority certified.
    seen: HashMap<HostName, Seen>,
}

impl Hosts {
    /// What people call those that are not connected, by whatever certificate, and when they left.
    fn gone(&self) -> HashMap<HostName, UnixMicros> {
        let live: HashSet<_> = self.live.values().map(|live| live.name()).collect();
        let mut gone = HashMap::new();
        for (_, seen) in self.seen.iter().filter(|(name, _)| !self.live.contains_key(*name)) {
            if live.contains(&seen.name) {
                continue;
            }
            let left_at = gone.entry(seen.name.clone()).or_insert(seen.left_at);
            *left_at = seen.left_at.max(*left_at);
        }
        gone
    }
}

impl Registry {
    pub(crate) fn new(clock: SharedClock, interval: Duration, silence: Duration) -> Arc<Self> {
        let (hosts, ended, ending) = (Mutex::default(), Mutex::default(), Notify::new());
        Arc::new(Self { clock, interval, silence, hosts, ended, ending })
    }

    /// Gives a newcomer the host's session. An older one of the same process is told to end, and
    /// so is one of another process that has not been heard for longer than silence may last.
    pub(crate) fn admit(self: &Arc<Self>, newcomer: Newcomer) -> Result<Ticket, AlreadyConnected> {
        let now_ms = millis(self.clock.monotonic());
        let name = newcomer.name.clone();
        let mut hosts = lock(&self.hosts);
        if let Some(old) = hosts.live.get(&name) {
            let silent_ms = old.silent_ms(now_ms);
            if old.newcomer.run != newcomer.run && silent_ms <= millis(self.silence) {
                return Err(AlreadyConnected {
                    name,
                    peer: old.newcomer.peer,
                    heard_s: silent_ms / 1_000,
                    holder: old.newcomer.party(),
                });
            }
            old.end(End::Replaced);
        }
        let live = Arc::new(Live::new(newcomer, &self.clock));
        hosts.live.insert(name, Arc::clone(&live));
        Ok(Ticket { registry: Arc::clone(self), live })
    }

    /// The database knows a session: under which numbers, and up to where its epoch is committed. To
    /// be called once, in the era of these numbers. A session that the host has here under another
    /// name is told to end: the database gave its place away.
    pub(crate) fn opened(&self, live: &Arc<Live>, numbers: Numbers, mark: Option<Sequence>) {
        live.opened(numbers, mark);
        let mut hosts = lock(&self.hosts);
        hosts.seen.entry(live.newcomer.name.clone()).or_insert_with(|| Seen {
            name: live.name(),
            left_at: live.connected_at,
            spool: None,
            refills: Refills::default(),
        });
        let old = hosts.by_number.insert(numbers.host, Arc::clone(live));
        drop(hosts);
        if let Some(old) = old.filter(|old| !Arc::ptr_eq(old, live)) {
            old.end(End::Replaced);
        }
    }

    /// Whether this agent process still has the host's session here: what the database has on
    /// record may be over, or be the host's under another name.
    pub(crate) fn holds(&self, host: HostId, run: RunId) -> bool {
        let now_ms = millis(self.clock.monotonic());
        lock(&self.hosts).live.values().any(|live| {
            live.newcomer.run == run
                && live.silent_ms(now_ms) <= millis(self.silence)
                && live.progress().end.is_none()
                && live.numbers().is_none_or(|numbers| numbers.host == host)
        })
    }

    /// Sessions that go on, of these hosts and of those that are being opened; None: all.
    pub(crate) fn sessions(&self, of: Option<&HashSet<HostId>>) -> Vec<Arc<Live>> {
        let asked = |live: &&Arc<Live>| {
            of.is_none_or(|of| live.numbers().is_none_or(|numbers| of.contains(&numbers.host)))
        };
        lock(&self.hosts).live.values().filter(asked).map(Arc::clone).collect()
    }

    /// Waits until a session ends that the database has on record.
    pub(crate) async fn ended(&self) {
        self.ending.notified().await;
    }

    /// Some of those that ended, the first ones of those of this era; others are forgotten.
    pub(crate) fn some_ended(&self, era: u64, most: usize) -> Vec<Lease> {
        let mut ended = lock(&self.ended);
        ended.retain(|(of, _)| *of == era);
        ended.iter().take(most).map(|(_, lease)| lease.clone()).collect()
    }

    /// The database knows of these.
    pub(crate) fn forget_ended(&self, known: &[Lease]) {
        lock(&self.ended).retain(|(_, lease)| !known.contains(lease));
    }

    /// Hosts whose name is accepted, by name, and how many were connected once and are not now,
    /// whatever their name.
    pub(crate) fn status(&self, accept: impl Fn(&str) -> bool) -> Shown {
        let (mut connected, mut gone, gone_in_all) = {
            let hosts = lock(&self.hosts);
            let mut connected: Vec<_> =
                hosts.live.values().map(|live| (live.name(), Arc::clone(live))).collect();
            let mut gone = hosts.gone();
            let gone_in_all = gone.len();
            gone.retain(|name, _| accept(name.as_str()));
            connected.retain(|(name, _)| accept(name.as_str()));
            (connected, Vec::from_iter(gone), gone_in_all)
        };
        connected.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        gone.sort_unstable();
        gone.truncate(MAX_GONE);
        let shown = |(name, left_at): (HostName, UnixMicros)| pb::GoneHost {
            host_name: name.to_string(),
            last_heard_at: Some(crate::timestamp(left_at)),
        };
        Shown {
            connected: connected.iter().map(|(_, live)| live.shown(self.interval)).collect(),
            gone: gone.into_iter().map(shown).collect(),
            gone_in_all,
        }
    }

    /// How many hosts are connected.
    pub(crate) fn connected(&self) -> usize {
        lock(&self.hosts).live.len()
    }

    /// Every host that was let in since the start, once, in no order.
    pub(crate) fn presence(&self) -> Vec<Presence> {
        let now = millis(self.clock.monotonic());
        let silent_after = millis(self.interval).saturating_mul(3) / 2;
        let hosts = lock(&self.hosts);
        let presence = |(certified, seen): (&HostName, &Seen)| {
            let Some(live) = hosts.live.get(certified) else {
                let (name, state, last_heard_at) = (seen.name.clone(), State::Gone, seen.left_at);
                return Presence { name, state, last_heard_at, spool: seen.spool };
            };
            Presence {
                name: live.name(),
                state: if live.silent_ms(now) > silent_after { State::Silent } else { State::Live },
                last_heard_at: live.heard_at(),
                spool: live.spool().or(seen.spool),
            }
        };
        // A host that comes with certificates of several names is one.
        let mut found: HashMap<HostName, Presence> = HashMap::new();
        for host in hosts.seen.iter().map(presence) {
            let weight = |host: &Presence| (host.state != State::Gone, host.last_heard_at);
            match found.entry(host.name.clone()) {
                Entry::Occupied(mut other) if weight(other.get()) < weight(&host) => {
                    other.insert(host);
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => drop(place.insert(host)),
            }
        }
        found.into_values().collect()
    }

    /// Ends all sessions; how many.
    pub(crate) fn end_all(&self, why: End) -> usize {
        let live: Vec<_> = lock(&self.hosts).live.values().cloned().collect();
        live.iter().for_each(|live| live.end(why));
        live.len()
    }

    /// A session ends because the database lost rows: within which time its agent may come back.
    pub(crate) fn refill(&self, name: &HostName) -> Duration {
        let now = self.clock.monotonic();
        let mut hosts = lock(&self.hosts);
        // Whoever has a session was seen.
        hosts.seen.get_mut(name).map(|seen| seen.refills.another(now)).unwrap_or_default()
    }

    /// Clocks that were told since the last call and are off by more than half the interval: the
    /// host, what its clock showed, and how long ago that was.
    pub(crate) fn take_clocks(&self) -> Vec<(HostId, UnixMicros, Duration)> {
        let (now, tolerated) = (self.clock.monotonic(), self.interval / 2);
        let hosts = lock(&self.hosts);
        hosts.live.values().filter_map(|live| live.take_clock(tolerated, now)).collect()
    }
}

/// What the database must still hold, by session: all that was ever known to be committed.
impl LiveMarks for Registry {
    fn marks(&self) -> Vec<LiveMark> {
        lock(&self.hosts).live.values().filter_map(|live| live.mark()).collect()
    }
}

/// A place in the registry, given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    registry: Arc<Registry>,
    pub(crate) live: Arc<Live>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Newcomer { name, era, .. } = &self.live.newcomer;
        if let Some(lease) = self.live.lease() {
            lock(&self.registry.ended).push((*era, lease.clone()));
            self.registry.ending.notify_one();
        }
        let mut hosts = lock(&self.registry.hosts);
        if let Some(Numbers { host, .. }) = self.live.numbers()
            && hosts.by_number.get(&host).is_some_and(|live| Arc::ptr_eq(live, &self.live))
        {
            hosts.by_number.remove(&host);
        }
        // A newer session of the host may have taken the place.
        if hosts.live.get(name).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            hosts.live.remove(name);
        }
        // Who was not let in was not there; but it may have taken the place of one who was.
        if self.live.numbers().is_some()
            && let Some(seen) = hosts.seen.get_mut(name)
            && seen.left_at <= self.live.heard_at()
        {
            seen.name = self.live.name();
            seen.left_at = self.live.heard_at();
            seen.spool = self.live.spool().or(seen.spool);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
