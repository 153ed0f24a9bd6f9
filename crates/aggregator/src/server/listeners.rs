//! The gRPC listeners: who gets in, and under which limits.
//!
//! Everything that a peer can make HTTP/2 hold or do is bounded here, and nothing is left to the
//! libraries' defaults, which are for browsers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::proto::v1::enrollment_service_server::EnrollmentServiceServer;
use rowcall_tls::accept::{Acceptor, HandshakeCounts, Limits};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::store;
use crate::Error;
use crate::certificates::Certificates;
use crate::config::Config;
use crate::connection::Bounded;
use crate::connections::{self, Connections};
use crate::enrollment::{self, Enrollment};

/// hyper's own defaults would let each stalled peer pin megabytes.
const WINDOW_BYTES: u32 = 64 * 1024;
/// The least that HTTP/2 allows.
const MAX_FRAME_BYTES: u32 = 16 * 1024;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Streams that a peer resets before they are looked at; with more its connection is closed.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we reset because of what a peer sent; with more its connection is closed.
const MAX_ERROR_RESETS: usize = 256;

/// Calls at a time on one connection.
const CALLS: u32 = 8;
/// On one of a peer without a certificate: it needs one, and another to try again.
const STRANGERS_CALLS: u32 = 2;

/// A token, a request and a certificate take 3 KiB.
const MAX_ENROLLMENT_BYTES: usize = 64 * 1024;

/// Longest time of a call for a certificate.
const ENROLLMENT_TIME: Duration = Duration::from_secs(30);
/// Longest time of a connection without a certificate, whatever goes on there.
const STRANGERS_STAY: Duration = Duration::from_secs(60);
/// Connections of peers without a certificate, if the open files allow that.
const MAX_STRANGERS: usize = 1_024;

/// Bound sockets, not served yet.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) stream: (TcpListener, SocketAddr),
    pub(super) enrollment: Option<(TcpListener, SocketAddr)>,
    pub(super) http: Option<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// Binds all addresses of the settings.
    ///
    /// # Errors
    /// [`Error::Listen`]
    pub(super) async fn bind(config: &Config) -> Result<Self, Error> {
        let enrollment = config.enrollment.as_ref().and_then(|enrollment| enrollment.listen);
        Ok(Self {
            stream: bound("listen", config.listen).await?,
            enrollment: bound_if_any("enroll_listen", enrollment).await?,
            http: bound_if_any("http_listen", config.http_listen).await?,
        })
    }
}

async fn bound_if_any(
    setting: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, Error> {
    match address {
        Some(address) => bound(setting, address).await.map(Some),
        None => Ok(None),
    }
}

/// Binds, and says which setting is to be changed where that fails.
async fn bound(
    setting: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen { setting, address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// HTTP/2 as it is spoken with agents and people.
pub(super) fn http2() -> Server {
    http2_with(CALLS)
}

fn http2_with(calls: u32) -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_adaptive_window(Some(false))
        .max_concurrent_streams(calls)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        // Dead links are found by TCP, which costs nobody a wake-up.
        .http2_keepalive_interval(None)
}

/// What the settings say of handshakes, with this many of them at a time.
fn limits(config: &Config, in_flight: usize) -> Limits {
    Limits {
        handshake_deadline: config.handshake_timeout,
        in_flight,
        in_flight_per_source: config.max_handshakes_per_source,
        exempt: config.exempt_sources.clone(),
        proxy_from: config.proxy_from.clone(),
    }
}

/// How many connections, and handshakes at a time, each listener may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) connections: usize,
    pub(super) handshakes: usize,
    /// On the enrolment listener, both together.
    pub(super) strangers: usize,
}

impl Places {
    /// As many as the open files allow beside the database.
    pub(super) fn of(config: &Config, enrolls: bool) -> Self {
        let (files, database) = (connections::open_files(), store::connections(config));
        Self::share(connections::budget(files, database, config.max_handshakes), enrolls)
    }

    /// Of these in all; `enrolls`: there is an enrolment listener.
    fn share((connections, handshakes): (usize, usize), enrolls: bool) -> Self {
        let strangers = if enrolls { (connections / 8).clamp(1, MAX_STRANGERS) } else { 0 };
        Self {
            connections: connections.saturating_sub(2 * strangers).max(1),
            handshakes,
            strangers,
        }
    }
}

/// Takes connections of peers with certificates, until `stop`.
pub(super) fn streams(
    listener: TcpListener,
    config: &Config,
    places: Places,
    certificates: &Arc<Certificates>,
    guests: &Arc<Connections>,
    (stop, kill): (&CancellationToken, &CancellationToken),
) -> (impl Stream<Item = io::Result<Bounded>> + Send + 'static, Arc<HandshakeCounts>) {
    let acceptor = Acceptor::new(listener, certificates.tls(), certificates.trust_domain())
        .with_limits(limits(config, places.handshakes));
    let counts = acceptor.counts();
    let (certificates, guests, kill) = (Arc::clone(certificates), Arc::clone(guests), kill.clone());
    let connections = acceptor.start(stop).filter_map(move |io| {
        let io = io.ok()?;
        let guest = guests.enter(io.peer())?;
        certificates.entered(&guest.visit);
        Some(Ok(Bounded::new(io, guest, kill.clone())))
    });
    (connections, counts)
}

/// Serves those who have no certificate yet, until `stop`.
pub(super) fn enrollment(
    listener: TcpListener,
    config: &Config,
    places: Places,
    certificates: &Certificates,
    shared: &Arc<enrollment::Shared>,
    guests: &Arc<Connections>,
    (stop, kill): (&CancellationToken, &CancellationToken),
) -> Option<(
    impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    Arc<HandshakeCounts>,
)> {
    let acceptor =
        Acceptor::new(listener, certificates.enrollment_tls()?, certificates.trust_domain())
            .with_limits(limits(config, places.strangers));
    let counts = acceptor.counts();
    let (guests, kill) = (Arc::clone(guests), kill.clone());
    let connections = acceptor.start(stop).filter_map(move |io| {
        let io = io.ok()?;
        let guest = guests.enter(io.peer())?;
        Some(Ok::<_, io::Error>(Bounded::new(io, guest, kill.clone()).for_at_most(STRANGERS_STAY)))
    });
    let service = EnrollmentServiceServer::new(Enrollment::strangers(shared))
        .max_decoding_message_size(MAX_ENROLLMENT_BYTES)
        .max_encoding_message_size(MAX_ENROLLMENT_BYTES);
    let serving =
        http2_with(STRANGERS_CALLS).timeout(ENROLLMENT_TIME).serve_with_incoming_shutdown(
            Routes::new(service).prepare(),
            connections,
            stop.clone().cancelled_owned(),
        );
    Some((serving, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_without_a_certificate_share_the_open_files_and_take_none_where_they_cannot_come() {
        let places = Places::share((19_928, 4_096), true);
        assert_eq!((places.connections, places.strangers), (19_928 - 2_048, 1_024));
        let places = Places::share((100, 30), true);
        assert_eq!((places.connections, places.strangers), (76, 12));
        let places = Places::share((100, 30), false);
        assert_eq!((places.connections, places.strangers), (100, 0));
    }
}
