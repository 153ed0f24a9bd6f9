//! One connection on its way from TCP to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use super::connection::Connection;
use super::counts::{HandshakeCounts, Refusal};
use super::gate::{Limits, Pass};
use super::peer::PeerInfo;
use super::proxy::{ProxyError, proxy_source};
use super::{Sender, Shared};
use crate::certificate::PeerCertificate;
use crate::identity::{Identity, IdentityError};
use crate::socket;
use crate::trust::TrustError;

/// After a refusal, what the peer had still sent is read and thrown away for this long, up to
/// [`LINGER_BYTES`]: closing a socket with unread bytes sends a reset, which makes the peer's
/// kernel drop the alert that names the reason.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

const LIMIT: &str = "the limit is reached";

/// A connection for which there is no place.
pub(super) fn shed(counts: &HandshakeCounts, peer: SocketAddr, refusal: Refusal) {
    refused(counts, peer, refusal, &LIMIT);
}

/// Runs a handshake to its end, or until the acceptor stops.
pub(super) async fn handshake(
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
    let Some(client) = proxy_source(stream).await.map_err(Unattributed::Header)? else {
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
        Ok(Err(Unattributed::Io(error) | Unattributed::Header(ProxyError::Io(error)))) => {
            return refused(counts, address, Refusal::Closed, &error);
        }
        Ok(Err(Unattributed::Header(error))) => {
            return refused(counts, address, Refusal::ProxyHeader, &error);
        }
        Ok(Err(Unattributed::Refused(address, refusal))) => {
            return shed(counts, address, refusal);
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
