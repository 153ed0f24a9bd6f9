//! Who was not served, and why: counted for metrics, logged without a flood.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rowcall_core::clock::SharedClock;
use rowcall_core::throttle::{EVERY, Throttle};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

/// Why a peer was refused, or lost what it had. Handshakes that fail count elsewhere, in
/// [`rowcall_tls::accept::Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The aggregator has as many connections as it may.
    TooManyConnections,
    /// One certificate has as many connections as it may. Its oldest idle one was dropped for the
    /// new one, or the new one was turned away.
    TooManyOfIdentity,
    /// A connection on which no call came, or none for long.
    NoCall,
    /// The certificate names nobody, or somebody of another trust domain.
    Unauthenticated,
    /// The certificate's role may not make this call.
    Role,
    /// No Hello in time.
    NoHello,
    /// Hello was wrong, or something else came first.
    BadHello,
    /// No protocol version in common.
    Version,
    /// Hello names another host than the certificate.
    OtherHost,
    /// The host, or its certificate, is revoked, retired or replaced.
    Revoked,
    /// An enrolment or renewal whose token, name, request or proof is not good.
    NotEnrolled,
    /// More enrolments and renewals than one source or host may ask for, or than can wait.
    TooManyEnrolments,
    /// The host is connected already, by another process.
    AlreadyConnected,
    /// One host opens sessions too often.
    TooManySessions,
    /// No session for now: the database is away, a whole fleet comes at once, or we shut down.
    NotReady,
    /// A frame over its limit, or that inflates over it.
    FrameTooLarge,
    /// A frame that is no frame, or out of order.
    BadFrame,
    /// More sent without an acknowledgement than allowed.
    Window,
    /// Nothing heard for too long.
    Silence,
    /// One certificate asks for more reports at a time than it may.
    TooManyReports,
    /// A reader that doesn't take its report.
    StalledReader,
    /// A connection with too many frames that say nothing.
    Flood,
}

impl Reason {
    /// Every reason.
    pub(crate) const ALL: [Self; 22] = [
        Self::TooManyConnections,
        Self::TooManyOfIdentity,
        Self::NoCall,
        Self::Unauthenticated,
        Self::Role,
        Self::NoHello,
        Self::BadHello,
        Self::Version,
        Self::OtherHost,
        Self::Revoked,
        Self::NotEnrolled,
        Self::TooManyEnrolments,
        Self::AlreadyConnected,
        Self::TooManySessions,
        Self::NotReady,
        Self::FrameTooLarge,
        Self::BadFrame,
        Self::Window,
        Self::Silence,
        Self::TooManyReports,
        Self::StalledReader,
        Self::Flood,
    ];

    /// The reason as a metric's label and in logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyOfIdentity => "too_many_of_identity",
            Self::NoCall => "no_call",
            Self::Unauthenticated => "unauthenticated",
            Self::Role => "role",
            Self::NoHello => "no_hello",
            Self::BadHello => "bad_hello",
            Self::Version => "version",
            Self::OtherHost => "other_host",
            Self::Revoked => "revoked",
            Self::NotEnrolled => "not_enrolled",
            Self::TooManyEnrolments => "too_many_enrolments",
            Self::AlreadyConnected => "already_connected",
            Self::TooManySessions => "too_many_sessions",
            Self::NotReady => "not_ready",
            Self::FrameTooLarge => "frame_too_large",
            Self::BadFrame => "bad_frame",
            Self::Window => "window",
            Self::Silence => "silence",
            Self::TooManyReports => "too_many_reports",
            Self::StalledReader => "stalled_reader",
            Self::Flood => "flood",
        }
    }

    const fn index(self) -> usize {
        // In the order of `ALL`, which a test checks.
        self as usize
    }
}

/// What was refused since the start. Shared.
#[derive(Debug)]
pub(crate) struct Refusals {
    clock: SharedClock,
    counts: [AtomicU64; Reason::ALL.len()],
    throttles: Mutex<[Throttle; Reason::ALL.len()]>,
}

impl Refusals {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        let throttles = Mutex::new([Throttle::new(); Reason::ALL.len()]);
        Arc::new(Self { clock, counts: Default::default(), throttles })
    }

    /// Counts one. `Some`: log it, with the number of those held back before it.
    #[must_use]
    pub(crate) fn count(&self, reason: Reason) -> Option<u64> {
        if let Some(count) = self.counts.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut throttles = self.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        throttles.get_mut(reason.index())?.happened(self.clock.monotonic())
    }

    /// How many for this reason.
    pub(crate) fn of(&self, reason: Reason) -> u64 {
        self.counts.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many in all.
    pub(crate) fn total(&self) -> u64 {
        Reason::ALL.into_iter().map(|reason| self.of(reason)).sum()
    }

    /// Tells from time to time what was held back; without an end.
    pub(crate) async fn tell_the_rest(self: Arc<Self>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (reason, held_back) in self.rest() {
                info!(reason = reason.as_str(), held_back, "more were refused for this reason");
            }
        }
    }

    fn rest(&self) -> Vec<(Reason, u64)> {
        let now = self.clock.monotonic();
        let mut throttles = self.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        Reason::ALL
            .into_iter()
            .zip(throttles.iter_mut())
            .filter_map(|(reason, throttle)| Some((reason, throttle.rest(now)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rowcall_core::clock::TestClock;
    use rowcall_core::id::UnixMicros;

    use super::*;

    #[test]
    fn reasons_have_their_own_names_and_places() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().enumerate().all(|(place, reason)| reason.index() == place));
    }

    #[test]
    fn each_reason_is_counted_always_and_logged_now_and_then() {
        let clock = Arc::new(TestClock::at(UnixMicros(0)));
        let refusals = Refusals::new(Arc::<TestClock>::clone(&clock) as SharedClock);
        let lines: Vec<_> = (0..1_000).filter_map(|_| refusals.count(Reason::Role)).collect();
        assert_eq!(lines, [0]);
        assert_eq!(refusals.count(Reason::NoHello), Some(0), "another reason is said at once");
        assert_eq!((refusals.of(Reason::Role), refusals.total()), (1_000, 1_001));
        assert!(refusals.rest().is_empty());
        clock.advance(EVERY);
        assert_eq!(refusals.rest(), [(Reason::Role, 999)]);
        assert_eq!(refusals.count(Reason::Role), None, "the rest was just told");
    }
}
