//! Which hosts are connected, and what became of what they sent. In memory only, so that it
//! answers while the database is down.
//!
//! A host has at most one live session. Locks are held for a few instructions and never across an
//! await.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostName, RunId, Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use tokio::sync::Notify;

/// Stands in an atomic time for "never".
const NEVER: i64 = i64::MIN;

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
}

/// Why a session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The same agent process opened a newer stream.
    Replaced,
    /// Its epoch is not the host's current one any more; nothing of it was stored.
    Superseded,
    /// The database went back in time: the agent must see the lower mark and send from there again.
    Refill,
    /// The aggregator stops and could not commit what it has.
    Uncommitted,
    /// The database was made anew and knows no host; nothing of it is stored any more.
    Forgotten,
}

/// What the writer tells a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Up to here everything is committed.
    pub(crate) through: Option<Sequence>,
    /// The stream must end.
    pub(crate) end: Option<End>,
}

/// Who asks for a session.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub(crate) name: HostName,
    pub(crate) run: RunId,
    pub(crate) peer: SocketAddr,
    pub(crate) agent_version: Option<String>,
    /// The agent's clock at Hello.
    pub(crate) clock: UnixMicros,
    /// The database's era; see [`crate::database::Database`].
    pub(crate) era: u64,
}

/// What a host is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Connected, and heard within the last one and a half intervals.
    Live,
    /// Connected, and not heard for longer than that.
    Silent,
    /// It said Hello since the start and is not connected.
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

/// A host that said Hello since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) name: HostName,
    pub(crate) state: State,
    pub(crate) last_heard_at: UnixMicros,
}

/// One session, shared by its stream, the writer and the registry.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) newcomer: Newcomer,
    connected_at: UnixMicros,
    clock_offset_us: i64,
    /// By the monotonic clock, in milliseconds.
    heard_ms: AtomicU64,
    heard_at: AtomicI64,
    last_sample_at: AtomicI64,
    spool: Mutex<Option<pb::SpoolStatus>>,
    progress: Mutex<Progress>,
    changed: Notify,
}

impl Live {
    /// A frame came.
    pub(crate) fn heard(&self, clock: &SharedClock) {
        self.heard_ms.store(millis(clock.monotonic()), Ordering::Relaxed);
        self.heard_at.store(clock.wall().0, Ordering::Relaxed);
    }

    /// The agent told what its spool holds.
    pub(crate) fn set_spool(&self, spool: pb::SpoolStatus) {
        *lock(&self.spool) = Some(spool);
    }

    /// A sample was committed.
    pub(crate) fn sampled(&self, time: UnixMicros) {
        self.last_sample_at.fetch_max(time.0, Ordering::Relaxed);
    }

    /// Everything up to `through` is committed.
    pub(crate) fn committed(&self, through: Sequence) {
        let mut progress = lock(&self.progress);
        progress.through = progress.through.max(Some(through));
        drop(progress);
        self.changed.notify_one();
    }

    /// The session must end. The first reason stays.
    pub(crate) fn end(&self, why: End) {
        lock(&self.progress).end.get_or_insert(why);
        self.changed.notify_one();
    }

    /// Waits until there is news; for the session's own stream only.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Registry {
    clock: SharedClock,
    /// Time between two samples, and what silence ends a session; the same for all hosts.
    interval: Duration,
    silence: Duration,
    hosts: Mutex<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    live: HashMap<HostName, Arc<Live>>,
    /// Since the start, with the time of the last frame of a session that ended; bounded by the
    /// names that the authority certified.
    seen: HashMap<HostName, UnixMicros>,
}

impl Registry {
    pub(crate) fn new(clock: SharedClock, interval: Duration, silence: Duration) -> Arc<Self> {
        Arc::new(Self { clock, interval, silence, hosts: Mutex::default() })
    }

    /// Gives a newcomer the host's session. An older one of the same process is told to end, and
    /// so is one of another process that has not been heard for longer than silence may last.
    pub(crate) fn admit(self: &Arc<Self>, newcomer: Newcomer) -> Result<Ticket, AlreadyConnected> {
        let (wall, monotonic) = (self.clock.wall(), millis(self.clock.monotonic()));
        let name = newcomer.name.clone();
        let mut hosts = lock(&self.hosts);
        if let Some(old) = hosts.live.get(&name) {
            let silent_ms = monotonic.saturating_sub(old.heard_ms.load(Ordering::Relaxed));
            if old.newcomer.run != newcomer.run && silent_ms <= millis(self.silence) {
                return Err(AlreadyConnected {
                    name,
                    peer: old.newcomer.peer,
                    heard_s: silent_ms / 1_000,
                });
            }
            old.end(End::Replaced);
        }
        let live = Arc::new(Live {
            connected_at: wall,
            clock_offset_us: newcomer.clock.since(wall),
            heard_ms: AtomicU64::new(monotonic),
            heard_at: AtomicI64::new(wall.0),
            last_sample_at: AtomicI64::new(NEVER),
            spool: Mutex::default(),
            progress: Mutex::default(),
            changed: Notify::new(),
            newcomer,
        });
        hosts.live.insert(name.clone(), Arc::clone(&live));
        hosts.seen.insert(name, wall);
        Ok(Ticket { registry: Arc::clone(self), live })
    }

    /// Connected hosts whose name is accepted, by name, and how many were connected once and are
    /// not now.
    pub(crate) fn status(&self, accept: impl Fn(&str) -> bool) -> (Vec<pb::ConnectedHost>, usize) {
        let (mut connected, gone) = {
            let hosts = lock(&self.hosts);
            let connected: Vec<_> = hosts
                .live
                .values()
                .filter(|live| accept(live.newcomer.name.as_str()))
                .cloned()
                .collect();
            (connected, hosts.seen.len().saturating_sub(hosts.live.len()))
        };
        connected.sort_unstable_by(|a, b| a.newcomer.name.cmp(&b.newcomer.name));
        (connected.iter().map(|live| self.connected_host(live)).collect(), gone)
    }

    /// How many hosts are connected.
    pub(crate) fn connected(&self) -> usize {
        lock(&self.hosts).live.len()
    }

    /// Every host that said Hello since the start, in no order.
    pub(crate) fn presence(&self) -> Vec<Presence> {
        let now = millis(self.clock.monotonic());
        let silent_after = millis(self.interval).saturating_mul(3) / 2;
        let hosts = lock(&self.hosts);
        let presence = |(name, left_at): (&HostName, &UnixMicros)| {
            let name = name.clone();
            let Some(live) = hosts.live.get(&name) else {
                return Presence { name, state: State::Gone, last_heard_at: *left_at };
            };
            let silent = now.saturating_sub(live.heard_ms.load(Ordering::Relaxed)) > silent_after;
            Presence {
                name,
                state: if silent { State::Silent } else { State::Live },
                last_heard_at: UnixMicros(live.heard_at.load(Ordering::Relaxed)),
            }
        };
        hosts.seen.iter().map(presence).collect()
    }

    /// Ends all sessions, because the database does not know their hosts any more; how many.
    pub(crate) fn forget_all(&self) -> usize {
        let live: Vec<_> = lock(&self.hosts).live.values().cloned().collect();
        live.iter().for_each(|live| live.end(End::Forgotten));
        live.len()
    }

    fn connected_host(&self, live: &Live) -> pb::ConnectedHost {
        let sampled = live.last_sample_at.load(Ordering::Relaxed);
        pb::ConnectedHost {
            host_name: live.newcomer.name.to_string(),
            connected_at: Some(crate::timestamp(live.connected_at)),
            last_heard_at: Some(crate::timestamp(UnixMicros(
                live.heard_at.load(Ordering::Relaxed),
            ))),
            last_sample_at: (sampled != NEVER).then(|| crate::timestamp(UnixMicros(sampled))),
            agent_version: live.newcomer.agent_version.clone().unwrap_or_default(),
            interval_ms: u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX),
            spool: *lock(&live.spool),
            clock_offset_ms: live.clock_offset_us / 1_000,
            peer_address: live.newcomer.peer.to_string(),
        }
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
        let mut hosts = lock(&self.registry.hosts);
        let name = &self.live.newcomer.name;
        // A newer session of the host may have taken the place.
        if hosts.live.get(name).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            hosts.live.remove(name);
            let last_heard_at = UnixMicros(self.live.heard_at.load(Ordering::Relaxed));
            hosts.seen.insert(name.clone(), last_heard_at);
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
pub(crate) mod tests {
    use rowcall_core::clock::TestClock;

    use super::*;

    const SILENCE: Duration = Duration::from_secs(150);

    /// A session that nobody registered.
    pub(crate) fn live(name: &str) -> Arc<Live> {
        Arc::clone(&registry().1.admit(newcomer(name, 1)).unwrap().live)
    }

    pub(crate) fn newcomer(name: &str, run: u64) -> Newcomer {
        Newcomer {
            name: HostName::parse(name).unwrap(),
            run: RunId::new(run).unwrap(),
            peer: ([192, 0, 2, 1], 4).into(),
            agent_version: Some("0.1.0".into()),
            clock: UnixMicros(1_500_000),
            era: 0,
        }
    }

    fn shared(clock: &Arc<TestClock>) -> SharedClock {
        Arc::<TestClock>::clone(clock)
    }

    fn registry() -> (Arc<TestClock>, Arc<Registry>) {
        let clock = Arc::new(TestClock::at(UnixMicros(1_000_000)));
        let registry = Registry::new(shared(&clock), Duration::from_secs(60), SILENCE);
        (clock, registry)
    }

    #[test]
    fn the_same_process_replaces_its_old_session() {
        let (_, registry) = registry();
        let old = registry.admit(newcomer("n", 1)).unwrap();
        let new = registry.admit(newcomer("n", 1)).unwrap();
        assert_eq!(old.live.progress().end, Some(End::Replaced));
        assert_eq!(new.live.progress().end, None);
        drop(old);
        assert_eq!(
            registry.status(|_| true).0.len(),
            1,
            "the old session must not take the new one's place away"
        );
        drop(new);
        assert_eq!(registry.status(|_| true).0.len(), 0);
    }

    #[test]
    fn another_process_is_refused_while_the_first_is_heard() {
        let (clock, registry) = registry();
        let first = registry.admit(newcomer("n", 1)).unwrap();
        clock.advance(SILENCE);
        let refused = registry.admit(newcomer("n", 2)).unwrap_err().to_string();
        assert!(
            refused.contains("192.0.2.1:4") && refused.contains("heard 150 s ago"),
            "{refused}"
        );
        first.live.heard(&shared(&clock));
        clock.advance(SILENCE);
        assert!(registry.admit(newcomer("n", 2)).is_err());
        assert_eq!(first.live.progress().end, None);
    }

    #[test]
    fn another_process_takes_over_from_one_that_is_silent_for_too_long_or_gone() {
        let (clock, registry) = registry();
        let first = registry.admit(newcomer("n", 1)).unwrap();
        clock.advance(SILENCE + Duration::from_millis(1));
        let second = registry.admit(newcomer("n", 2)).unwrap();
        assert_eq!(first.live.progress().end, Some(End::Replaced));
        drop(second);
        assert!(registry.admit(newcomer("n", 3)).is_ok());
    }

    #[test]
    fn a_wall_clock_that_jumps_changes_nobodys_silence() {
        let (clock, registry) = registry();
        let _first = registry.admit(newcomer("n", 1)).unwrap();
        clock.set_wall(UnixMicros(i64::MAX));
        assert!(registry.admit(newcomer("n", 2)).is_err());
    }

    #[test]
    fn status_lists_by_name_and_counts_who_is_gone() {
        let (clock, registry) = registry();
        let b = registry.admit(newcomer("b", 1)).unwrap();
        let _a = registry.admit(newcomer("a", 1)).unwrap();
        drop(registry.admit(newcomer("c", 1)).unwrap());
        b.live.sampled(UnixMicros(7));
        b.live.sampled(UnixMicros(5));
        b.live.set_spool(pb::SpoolStatus { size_bytes: 9, ..Default::default() });
        clock.advance(Duration::from_secs(1));
        b.live.heard(&shared(&clock));
        let (connected, gone) = registry.status(|_| true);
        assert_eq!(gone, 1);
        let names: Vec<_> = connected.iter().map(|host| host.host_name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let host = &connected[1];
        assert_eq!(host.last_sample_at.unwrap().nanos, 7_000, "the newest counts");
        assert_eq!(host.last_heard_at.unwrap().seconds, 2);
        assert_eq!(host.clock_offset_ms, 500);
        assert_eq!(host.spool.unwrap().size_bytes, 9);
        assert_eq!(connected[0].last_sample_at, None);
        assert_eq!(registry.status(|name| name == "a").0.len(), 1);
    }

    #[test]
    fn presence_tells_who_is_live_silent_or_gone() {
        let (clock, registry) = registry();
        let loud = registry.admit(newcomer("loud", 1)).unwrap();
        let _mute = registry.admit(newcomer("mute", 1)).unwrap();
        let gone = registry.admit(newcomer("gone", 1)).unwrap();
        clock.advance(Duration::from_secs(10));
        gone.live.heard(&shared(&clock));
        drop(gone);
        clock.advance(Duration::from_secs(80));
        loud.live.heard(&shared(&clock));
        let present = || {
            let mut hosts = registry.presence();
            hosts.sort_by(|a, b| a.name.cmp(&b.name));
            let told = |host: Presence| {
                (host.name.to_string(), host.state.as_str(), host.last_heard_at.0 / 1_000_000)
            };
            hosts.into_iter().map(told).collect::<Vec<_>>()
        };
        let row = |name: &str, state, heard| (name.to_owned(), state, heard);
        let expected = [row("gone", "gone", 11), row("loud", "live", 91), row("mute", "live", 1)];
        assert_eq!(present(), expected);
        clock.advance(Duration::from_millis(1));
        let expected = [row("gone", "gone", 11), row("loud", "live", 91), row("mute", "silent", 1)];
        assert_eq!(present(), expected);
        assert_eq!(registry.connected(), 2);
        assert_eq!(registry.forget_all(), 2);
        assert_eq!(loud.live.progress().end, Some(End::Forgotten));
    }

    #[test]
    fn progress_only_grows_and_the_first_reason_to_end_stays() {
        let (_, registry) = registry();
        let ticket = registry.admit(newcomer("n", 1)).unwrap();
        let sequence = |n| Sequence::new(n).unwrap();
        ticket.live.committed(sequence(5));
        ticket.live.committed(sequence(3));
        ticket.live.end(End::Superseded);
        ticket.live.end(End::Replaced);
        let progress = ticket.live.progress();
        assert_eq!(progress, Progress { through: Some(sequence(5)), end: Some(End::Superseded) });
    }
}
