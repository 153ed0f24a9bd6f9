//! A TCP proxy that can be cut, held and pointed elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode {
    target: SocketAddr,
    open: bool,
    /// Nothing is read from this side: it finds its own windows full.
    holds_requests: bool,
    holds_answers: bool,
    /// Connections made before the newest cut are closed.
    cuts: u64,
}

/// Listens on a free port and passes bytes on. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Passes everything to `target`.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn to(target: SocketAddr) -> Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST.into(), target).await
    }

    /// The same on a free port of this address.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn at(address: IpAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.context("bind the proxy")?;
        let address = listener.local_addr()?;
        let (mode, watched) = watch::channel(Mode {
            target,
            open: true,
            holds_requests: false,
            holds_answers: false,
            cuts: 0,
        });
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if watched.borrow().open {
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(pass(stream, watched.clone()));
                }
            }
        });
        Ok(Self { address, mode, connections, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections passed on since it began.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Closes all connections; new ones are passed on.
    pub fn cut(&self) {
        self.mode.send_modify(|mode| mode.cuts += 1);
    }

    /// Closes all connections, and new ones at once.
    pub fn close(&self) {
        self.mode.send_modify(|mode| {
            mode.cuts += 1;
            mode.open = false;
        });
    }

    /// Passes new connections on again.
    pub fn open(&self) {
        self.mode.send_modify(|mode| mode.open = true);
    }

    /// Holds back what the target says, on all connections, or passes it on again.
    pub fn hold_answers(&self, hold: bool) {
        self.mode.send_modify(|mode| mode.holds_answers = hold);
    }

    /// Holds back what is said to the target, on all connections, or passes it on again.
    pub fn hold_requests(&self, hold: bool) {
        self.mode.send_modify(|mode| mode.holds_requests = hold);
    }

    /// Passes new connections to another target.
    pub fn retarget(&self, target: SocketAddr) {
        self.mode.send_modify(|mode| mode.target = target);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(near: TcpStream, mut mode: watch::Receiver<Mode>) {
    let Mode { target, cuts, .. } = *mode.borrow_and_update();
    let watched = mode.clone();
    let passing = async {
        if let Ok(far) = TcpStream::connect(target).await {
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            // Either side may end its half; there is nobody to tell.
            tokio::join!(
                copy(near_in, far_out, watched.clone(), |mode| mode.holds_requests),
                copy(far_in, near_out, watched, |mode| mode.holds_answers),
            );
        }
    };
    tokio::select! {
        () = passing => {}
        // Also when the proxy is dropped.
        _ = mode.wait_for(|mode| mode.cuts != cuts) => {}
    }
}

/// Passes bytes one way while they aren't held, to the end of the one side or the other.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    held: impl Fn(&Mode) -> bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await
        && length > 0
    {
        let passed = mode.wait_for(|mode| !held(mode)).await.is_ok();
        let Some(bytes) = buffer.get(..length).filter(|_| passed) else { break };
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    // The other side sees the end, as it would have without us.
    to.shutdown().await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn bytes_pass_until_it_is_cut() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        proxy.cut();
        assert!(stream.read_u8().await.is_err());
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        again.write_all(b"y").await.unwrap();
        assert_eq!(again.read_u8().await.unwrap(), b'y');
        assert_eq!(proxy.connections(), 2);
    }

    #[tokio::test]
    async fn what_is_held_back_passes_later() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        for hold in [Proxy::hold_answers, Proxy::hold_requests] {
            hold(&proxy, true);
            stream.write_all(b"x").await.unwrap();
            let soon = std::time::Duration::from_millis(50);
            tokio::time::timeout(soon, stream.read_u8()).await.unwrap_err();
            hold(&proxy, false);
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
        }
    }

    #[tokio::test]
    async fn closed_it_passes_nothing() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        proxy.close();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(stream.read_u8().await.is_err());
        proxy.open();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"z").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'z');
    }
}
