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
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;
use tracing::{debug, info, warn};

pub use counts::{HandshakeCounts, Refusal};
pub use gate::Limits;
pub use peer::PeerInfo;

use rowcall_core::throttle::EVERY;

use crate::identity::{Identity, TrustDomain};
use crate::socket;
use gate::{Gate, Pass};

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
    let gate = Gate::new(shared.limits, Arc::clone(&shared.counts));
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
                    Err(refusal) => {
                        refused(&shared.counts, address, refusal, &"the limit is reached")
                    }
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
    pass: Pass,
    shared: Shared,
    sender: Sender,
) {
    let stop = shared.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = finish_handshake(stream, address, &shared, sender) => {}
    }
    drop(pass);
}

async fn finish_handshake(stream: TcpStream, address: SocketAddr, shared: &Shared, sender: Sender) {
    if let Err(error) = socket::prepare(&stream) {
        return refused(&shared.counts, address, Refusal::Closed, &error);
    }
    let acceptor = TlsAcceptor::from(shared.config.load_full());
    let deadline = shared.limits.handshake_deadline;
    match timeout(deadline, acceptor.accept(stream).into_fallible()).await {
        Err(_) => {
            let detail = format_args!("not finished after {deadline:?}");
            refused(&shared.counts, address, Refusal::Deadline, &detail);
        }
        Ok(Err((error, stream))) => {
            refused(&shared.counts, address, Refusal::of(&error), &error);
            // Nobody waits for the outcome, and the peer may be gone.
            drop(timeout(LINGER, linger(stream)).await);
        }
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let identity = Identity::from_chain(chain)
                .and_then(|identity| identity.within(&shared.trust_domain));
            match &identity {
                Ok(identity) => debug!(peer = %address, %identity, "connected"),
                Err(error) => {
                    if let Some(held_back) = shared.counts.nameless() {
                        info!(peer = %address, %error, held_back, "connected without an identity");
                    }
                }
            }
            shared.counts.count_accepted();
            let peer = Arc::new(PeerInfo { address, identity });
            // The server may have stopped taking connections.
            drop(sender.send(Ok(Connection { stream, peer })).await);
        }
    }
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
    // People act upon certificates; the rest is what any open port on a network sees.
    if refusal.concerns_certificates() {
        info!(%peer, reason, %detail, held_back, "handshake refused");
    } else {
        debug!(%peer, reason, %detail, held_back, "handshake refused");
    }
}

/// Says how many lines were held back where nothing followed that would say it.
fn tell(counts: &HandshakeCounts) {
    for (refusal, held_back) in counts.untold() {
        match refusal {
            Some(refusal) if refusal.concerns_certificates() => {
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
