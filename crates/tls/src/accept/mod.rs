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

mod connection;
mod counts;
mod gate;
mod handshake;
mod peer;
mod proxy;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_core::throttle::EVERY;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use connection::Connection;
pub use counts::{HandshakeCounts, Refusal};
pub use gate::{Limits, source};
pub use peer::PeerInfo;
pub use proxy::{ProxyError, proxy_source};

use crate::identity::TrustDomain;
use gate::Gate;
use handshake::{handshake, shed};

/// Finished handshakes that wait for the server to take them over. Each keeps its place among
/// the handshakes in flight until then.
const WAITING_CONNECTIONS: usize = 64;

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
    limits: Arc<Limits>,
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
            limits: Arc::default(),
            counts: Arc::new(HandshakeCounts::default()),
            stop: CancellationToken::new(),
        };
        Self { listener, shared }
    }

    /// With other limits than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.shared.limits = Arc::new(limits);
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

type Sender = mpsc::Sender<io::Result<Connection>>;

/// Where connections come from; tests have one that fails.
trait Listener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

async fn accept_loop(listener: impl Listener, shared: Shared, sender: Sender) {
    let gate = Gate::new(Arc::clone(&shared.limits), Arc::clone(&shared.counts));
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
                    Err(refusal) => shed(&shared.counts, address, refusal),
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    /// Without file descriptors for the first `failures` times, then without clients.
    struct Full {
        failures: u32,
        asked: Arc<AtomicU32>,
    }

    fn shared() -> Shared {
        let empty = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
        let config = ServerConfig::builder_with_provider(crate::config::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(empty);
        Shared {
            config: Arc::new(ArcSwap::from_pointee(config)),
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            limits: Arc::default(),
            counts: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    impl Listener for Full {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            if self.asked.fetch_add(1, Ordering::Relaxed) < self.failures {
                let too_many_open_files = rustix::io::Errno::MFILE;
                return Err(too_many_open_files.into());
            }
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_accepting_pauses_longer_and_longer_instead_of_spinning() {
        let asked = Arc::new(AtomicU32::new(0));
        let listener = Full { failures: 10, asked: Arc::clone(&asked) };
        let shared = shared();
        let (counts, stop) = (Arc::clone(&shared.counts), shared.stop.clone());
        let (sender, _receiver) = mpsc::channel(1);
        let started = Instant::now();
        let running = tokio::spawn(accept_loop(listener, shared, sender));
        while asked.load(Ordering::Relaxed) <= 10 {
            sleep(Duration::from_millis(1)).await;
        }
        // 10, 20, 40 ... 640 ms, then three times a second.
        let paused = started.elapsed();
        let expected = Duration::from_millis(1_270 + 3_000);
        assert!(paused >= expected && paused < expected + Duration::from_millis(50), "{paused:?}");
        assert_eq!(counts.accept_errors(), 10);
        stop.cancel();
        running.await.unwrap();
    }

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
        assert!(!concerns_one_connection(&rustix::io::Errno::MFILE.into()));
        assert!(concerns_one_connection(&io::ErrorKind::ConnectionAborted.into()));
    }
}
