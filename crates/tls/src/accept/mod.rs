//! Connections for a tonic server, each with its peer's identity.
//!
//! tonic's own TLS can neither replace its configuration nor end a handshake that takes too long,
//! so connections are made here and handed to `serve_with_incoming_shutdown`. Handshakes run
//! side by side, each under a deadline, bounded in all and per source; a peer that is slow, silent
//! or no TLS client at all costs its place and nothing else. Every refusal is counted and logged.
//!
//! What a TLS alert can name (no certificate, unknown authority, dates, purpose) is refused in
//! the handshake. What needs words (no URI SAN, an unknown role, another trust domain, a role
//! that may not make a call) is not: the connection carries a [`PeerInfo`], and the services
//! answer each call from it with UNAUTHENTICATED or PERMISSION_DENIED and the full reason.
//! **A service that does not ask it lets everybody in who has a certificate of the authority.**

mod counts;
mod gate;
mod peer;
mod proxy;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;
use tracing::{debug, info, warn};

pub use counts::{HandshakeCounts, Refusal};
pub use gate::{Limits, source};
pub use peer::PeerInfo;

use rowcall_core::throttle::EVERY;

use crate::certificate::PeerCertificate;
use crate::identity::{Identity, IdentityError, TrustDomain};
use crate::socket;
use crate::trust::TrustError;
use gate::{Gate, Pass};
use proxy::ProxyError;

/// Finished handshakes that wait for the server to take them over. Each keeps its place among
/// the handshakes in flight until then.
const WAITING_CONNECTIONS: usize = 64;

/// After a refusal, what the peer had still sent is read and thrown away for this long, up to
/// [`LINGER_BYTES`]: closing a socket with unread bytes sends a reset, which makes the peer's
/// kernel drop the alert that names the reason.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Pauses after the listening socket itself failed, doubling from one to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const LIMIT: &str = "the limit is reached";

/// Takes TCP connections and makes [`Connection`]s of them.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Shared {
    config: Arc<ArcSwap<ServerConfig>>,
    trust_domain: TrustDomain,
    limits: Limits,
    counts: Arc<HandshakeCounts>,
    stop: CancellationToken,
}

impl Acceptor {
    /// On a bound socket. The configuration is read anew for every connection, so that storing
    /// another one in `config` is enough to serve a new certificate; connections that exist keep
    /// theirs. Identities of another trust domain than this become errors in [`PeerInfo`].
    #[must_use]
    pub fn new(
        listener: TcpListener,
        config: Arc<ArcSwap<ServerConfig>>,
        trust_domain: TrustDomain,
    ) -> Self {
        let shared = Shared {
            config,
            trust_domain,
            limits: Limits::default(),
            counts: Arc::new(HandshakeCounts::default()),
            stop: CancellationToken::new(),
        };
        Self { listener, shared }
    }

    /// With other limits than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.shared.limits = limits;
        self
    }

    /// What happened so far, to keep.
    #[must_use]
    pub fn counts(&self) -> Arc<HandshakeCounts> {
        Arc::clone(&self.shared.counts)
    }

    /// Starts to accept, in a task of the current runtime, until `stop` is cancelled or the
    /// stream returned is dropped. Then the socket is closed, handshakes in flight are given up,
    /// and the stream ends; connections handed out already are not touched.
    #[must_use]
    pub fn start(mut self, stop: &CancellationToken) -> Incoming {
        // Our own: a dropped stream ends the handshakes, not whatever else the token stops.
        self.shared.stop = stop.child_token();
        let (sender, receiver) = mpsc::channel(WAITING_CONNECTIONS);
        tokio::spawn(accept_loop(self.listener, self.shared, sender));
        Incoming(ReceiverStream::new(receiver))
    }
}

/// The connections of an [`Acceptor`]. Never yields an error; the item's type is what tonic asks
/// for.
#[derive(Debug)]
pub struct Incoming(ReceiverStream<io::Result<Connection>>);

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

/// A finished TLS connection. tonic puts its `Arc<PeerInfo>` into every request's extensions;
/// [`PeerInfo::of`] takes it from there.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Arc<PeerInfo>,
}

impl Connection {
    /// Who is on the other side.
    #[must_use]
    pub fn peer(&self) -> &Arc<PeerInfo> {
        &self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<PeerInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Sender = mpsc::Sender<io::Result<Connection>>;

async fn accept_loop(listener: TcpListener, shared: Shared, sender: Sender) {
    let gate = Gate::new(shared.limits.clone(), Arc::clone(&shared.counts));
    let handshakes = TaskTracker::new();
    let mut pause = FIRST_PAUSE;
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            () = sender.closed() => break,
            accepted = listener.accept() => accepted,
            _ = looks.tick() => {
                tell(&shared.counts);
                continue;
            }
        };
        match accepted {
            Ok((stream, address)) => {
                pause = FIRST_PAUSE;
                match gate.enter(address.ip()) {
                    Ok(pass) => {
                        let task = handshake(stream, address, pass, shared.clone(), sender.clone());
                        handshakes.spawn(task);
                    }
                    Err(refusal) => refused(&shared.counts, address, refusal, &LIMIT),
                }
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(%error, "a connection ended before it was accepted");
            }
            // Mostly "too many open files". Trying again at once would keep a core busy.
            Err(error) => {
                shared.counts.count_accept_error();
                warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections, pausing");
                tokio::select! {
                    () = shared.stop.cancelled() => break,
                    () = sleep(pause) => {}
                }
                pause = longer(pause);
            }
        }
    }
    drop(listener);
    shared.stop.cancel();
    drop(sender);
    handshakes.close();
    handshakes.wait().await;
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    mut pass: Pass,
    shared: Shared,
    sender: Sender,
) {
    let stop = shared.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = finish_handshake(stream, address, &mut pass, &shared, sender) => {}
    }
    drop(pass);
}

/// Why a connection does not get as far as TLS.
enum Unattributed {
    Io(io::Error),
    Header(ProxyError),
    Refused(SocketAddr, Refusal),
}

/// Where a connection really comes from.
async fn origin(
    stream: &mut TcpStream,
    address: SocketAddr,
    pass: &mut Pass,
    limits: &Limits,
) -> Result<SocketAddr, Unattributed> {
    socket::prepare(stream).map_err(Unattributed::Io)?;
    if !limits.is_balancer(address.ip()) {
        return Ok(address);
    }
    let Some(client) = proxy::client(stream).await.map_err(Unattributed::Header)? else {
        return Ok(address);
    };
    pass.attribute(client.ip()).map_err(|refusal| Unattributed::Refused(client, refusal))?;
    Ok(client)
}

async fn finish_handshake(
    mut stream: TcpStream,
    address: SocketAddr,
    pass: &mut Pass,
    shared: &Shared,
    sender: Sender,
) {
    let deadline = Instant::now() + shared.limits.handshake_deadline;
    let counts = &shared.counts;
    let late = |address| {
        let detail = format_args!("not finished after {:?}", shared.limits.handshake_deadline);
        refused(counts, address, Refusal::Deadline, &detail);
    };
    let origin = origin(&mut stream, address, pass, &shared.limits);
    let address = match timeout_at(deadline, origin).await {
        Err(_) => return late(address),
        Ok(Ok(address)) => address,
        Ok(Err(Unattributed::Io(error))) => {
            return refused(counts, address, Refusal::Closed, &error);
        }
        Ok(Err(Unattributed::Header(error))) => {
            return refused(counts, address, Refusal::ProxyHeader, &error);
        }
        Ok(Err(Unattributed::Refused(address, refusal))) => {
            return refused(counts, address, refusal, &LIMIT);
        }
    };
    let acceptor = TlsAcceptor::from(shared.config.load_full());
    match timeout_at(deadline, acceptor.accept(stream).into_fallible()).await {
        Err(_) => late(address),
        Ok(Err((error, stream))) => {
            let refusal = Refusal::of(&error);
            match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(tls) if refusal.is_about_a_client() => {
                    refused(counts, address, refusal, &TrustError::of(tls));
                }
                _ => refused(counts, address, refusal, &error),
            }
            // Nobody waits for the outcome, and the peer may be gone.
            drop(timeout(LINGER, linger(stream)).await);
        }
        Ok(Ok(stream)) => {
            let peer = Arc::new(peer(&stream, address, shared));
            counts.count_accepted();
            // The server may have stopped taking connections.
            drop(sender.send(Ok(Connection { stream, peer })).await);
        }
    }
}

fn peer(stream: &TlsStream<TcpStream>, address: SocketAddr, shared: &Shared) -> PeerInfo {
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain.and_then(|chain| PeerCertificate::from_chain(chain).ok());
    let identity = Identity::from_chain(chain.unwrap_or_default())
        .and_then(|identity| identity.within(&shared.trust_domain));
    match &identity {
        Ok(identity) => debug!(peer = %address, %identity, "connected"),
        // None was asked for.
        Err(IdentityError::NoCertificate) => debug!(peer = %address, "connected"),
        Err(error) => {
            if let Some(held_back) = shared.counts.nameless() {
                info!(peer = %address, %error, held_back, "connected without an identity");
            }
        }
    }
    PeerInfo { address, identity, certificate }
}

async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

fn refused(
    counts: &HandshakeCounts,
    peer: SocketAddr,
    refusal: Refusal,
    detail: &dyn std::fmt::Display,
) {
    let Some(held_back) = counts.count_refused(refusal) else { return };
    let reason = refusal.as_str();
    if refusal.concerns_people() {
        info!(%peer, reason, %detail, held_back, "handshake refused");
    } else {
        debug!(%peer, reason, %detail, held_back, "handshake refused");
    }
}

/// Says how many lines were held back where nothing followed that would say it.
fn tell(counts: &HandshakeCounts) {
    for (refusal, held_back) in counts.untold() {
        match refusal {
            Some(refusal) if refusal.concerns_people() => {
                info!(reason = refusal.as_str(), held_back, "more handshakes refused");
            }
            Some(refusal) => {
                debug!(reason = refusal.as_str(), held_back, "more handshakes refused");
            }
            None => info!(held_back, "more connected without an identity"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let pauses: Vec<u128> = std::iter::successors(Some(FIRST_PAUSE), |p| Some(longer(*p)))
            .take(9)
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn only_errors_of_the_listening_socket_make_a_pause() {
        let too_many_open_files = io::Error::from_raw_os_error(24);
        assert!(!concerns_one_connection(&too_many_open_files));
        assert!(concerns_one_connection(&io::ErrorKind::ConnectionAborted.into()));
    }
}
