//! What became of connections, for metrics and `status`.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rowcall_core::throttle::Throttle;
use rustls::{CertificateError, Error};
use tokio::time::Instant;

/// Why a connection ended before a server had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its handshake took longer than `Limits::handshake_deadline`.
    Deadline,
    /// `Limits::in_flight` handshakes were under way.
    TooMany,
    /// `Limits::in_flight_per_source` handshakes from its address were under way.
    TooManyFromSource,
    /// The client sent no certificate.
    NoCertificate,
    /// The client's certificate is not of our authority, out of date, or not for clients.
    BadCertificate,
    /// The client's certificate is revoked, or its authority's revocation list out of date.
    RevokedCertificate,
    /// A balancer's connection had no PROXY header, or a bad one.
    ProxyHeader,
    /// The client ended the handshake with an alert: mostly it doesn't trust our certificate.
    RefusedByPeer,
    /// What came was not TLS.
    NotTls,
    /// TLS, but not ours: no TLS 1.3, no HTTP/2, or a rule of TLS broken.
    Protocol,
    /// The connection broke.
    Closed,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Deadline,
        Self::TooMany,
        Self::TooManyFromSource,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::RevokedCertificate,
        Self::ProxyHeader,
        Self::RefusedByPeer,
        Self::NotTls,
        Self::Protocol,
        Self::Closed,
    ];

    /// The reason as a metric's label and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::TooMany => "too_many",
            Self::TooManyFromSource => "too_many_from_source",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::RevokedCertificate => "revoked_certificate",
            Self::ProxyHeader => "proxy_header",
            Self::RefusedByPeer => "refused_by_peer",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
        }
    }

    /// Whether people have something to mend; the rest is what any open port on a network sees.
    pub(super) const fn concerns_people(self) -> bool {
        matches!(
            self,
            Self::NoCertificate
                | Self::BadCertificate
                | Self::RevokedCertificate
                | Self::ProxyHeader
                | Self::RefusedByPeer
        )
    }

    /// Whether the client's certificate was looked at and found wanting.
    pub(super) const fn is_about_a_client(self) -> bool {
        matches!(self, Self::NoCertificate | Self::BadCertificate | Self::RevokedCertificate)
    }

    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Closed,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(
                Error::InvalidCertRevocationList(_)
                | Error::InvalidCertificate(
                    CertificateError::Revoked
                    | CertificateError::UnknownRevocationStatus
                    | CertificateError::ExpiredRevocationListContext { .. },
                ),
            ) => Self::RevokedCertificate,
            Some(Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Error::AlertReceived(_)) => Self::RefusedByPeer,
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(_) => Self::Protocol,
        }
    }
}

/// Counts since the start, and how many handshakes are under way now.
#[derive(Debug, Default)]
pub struct HandshakeCounts {
    accepted: AtomicU64,
    deadline: AtomicU64,
    too_many: AtomicU64,
    too_many_from_source: AtomicU64,
    no_certificate: AtomicU64,
    bad_certificate: AtomicU64,
    revoked_certificate: AtomicU64,
    proxy_header: AtomicU64,
    refused_by_peer: AtomicU64,
    not_tls: AtomicU64,
    protocol: AtomicU64,
    closed: AtomicU64,
    accept_errors: AtomicU64,
    in_flight: AtomicUsize,
    lines: Lines,
}

impl HandshakeCounts {
    /// Handshakes that succeeded.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that ended for this reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.counter(refusal).load(Ordering::Relaxed)
    }

    /// Times that the listening socket itself failed, for example for want of file descriptors.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections accepted whose handshake isn't finished, or that wait for the server.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one. `Some`: log it, with the number of those held back before it.
    #[must_use]
    pub(super) fn count_refused(&self, refusal: Refusal) -> Option<u64> {
        self.counter(refusal).fetch_add(1, Ordering::Relaxed);
        self.lines.happened(Some(refusal))
    }

    /// A connection whose certificate names nobody. `Some`: log it, as above.
    #[must_use]
    pub(super) fn nameless(&self) -> Option<u64> {
        self.lines.happened(None)
    }

    /// What was held back and is due to be told, `None` standing for the nameless.
    pub(super) fn untold(&self) -> Vec<(Option<Refusal>, u64)> {
        self.lines.rest()
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_in_flight(&self, handshakes: usize) {
        self.in_flight.store(handshakes, Ordering::Relaxed);
    }

    const fn counter(&self, refusal: Refusal) -> &AtomicU64 {
        match refusal {
            Refusal::Deadline => &self.deadline,
            Refusal::TooMany => &self.too_many,
            Refusal::TooManyFromSource => &self.too_many_from_source,
            Refusal::NoCertificate => &self.no_certificate,
            Refusal::BadCertificate => &self.bad_certificate,
            Refusal::RevokedCertificate => &self.revoked_certificate,
            Refusal::ProxyHeader => &self.proxy_header,
            Refusal::RefusedByPeer => &self.refused_by_peer,
            Refusal::NotTls => &self.not_tls,
            Refusal::Protocol => &self.protocol,
            Refusal::Closed => &self.closed,
        }
    }
}

/// Which lines of the log were written lately: of each refusal, and of the nameless.
#[derive(Debug)]
struct Lines {
    started: Instant,
    kinds: Mutex<[(Option<Refusal>, Throttle); Refusal::ALL.len() + 1]>,
}

impl Default for Lines {
    fn default() -> Self {
        let kind = |at: usize| (Refusal::ALL.get(at).copied(), Throttle::new());
        Self { started: Instant::now(), kinds: Mutex::new(std::array::from_fn(kind)) }
    }
}

impl Lines {
    fn happened(&self, what: Option<Refusal>) -> Option<u64> {
        let now = self.started.elapsed();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter_mut().find(|(kind, _)| *kind == what)?.1.happened(now)
    }

    fn rest(&self) -> Vec<(Option<Refusal>, u64)> {
        let now = self.started.elapsed();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter_mut().filter_map(|(kind, line)| Some((*kind, line.rest(now)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use rowcall_core::throttle::EVERY;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_refusals_are_counted_and_one_is_logged() {
        let counts = HandshakeCounts::default();
        let lines: Vec<_> =
            (0..1_000).filter_map(|_| counts.count_refused(Refusal::BadCertificate)).collect();
        assert_eq!(lines, [0]);
        assert_eq!(counts.refused(Refusal::BadCertificate), 1_000);
        assert_eq!((counts.nameless(), counts.nameless()), (Some(0), None));
        assert_eq!(counts.count_refused(Refusal::Closed), Some(0));
        assert!(counts.untold().is_empty());
        tokio::time::advance(EVERY).await;
        assert_eq!(counts.untold(), [(Some(Refusal::BadCertificate), 999), (None, 1)]);
        assert!(counts.untold().is_empty());
    }
}
