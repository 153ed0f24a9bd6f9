//! A TCP proxy that can be cut, held and pointed elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode {
    target: SocketAddr,
    open: bool,
    /// Connections made before the newest cut are closed.
    cuts: u64,
}

/// Listens on a free loopback port and passes bytes on. Ends when dropped.
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
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind the proxy")?;
        let address = listener.local_addr()?;
        let (mode, watched) = watch::channel(Mode { target, open: true, cuts: 0 });
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

async fn pass(mut near: TcpStream, mut mode: watch::Receiver<Mode>) {
    let Mode { target, cuts, .. } = *mode.borrow_and_update();
    let passing = async {
        if let Ok(mut far) = TcpStream::connect(target).await {
            // Either side may end it; there is nobody to tell.
            drop(copy_bidirectional(&mut near, &mut far).await);
        }
    };
    tokio::select! {
        () = passing => {}
        // Also when the proxy is dropped.
        _ = mode.wait_for(|mode| mode.cuts != cuts) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
