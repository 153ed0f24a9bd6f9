//! A relay that counts what passes: the payload of TCP or of a Unix socket, both directions. What
//! TCP and IP add to it (some 52 bytes a packet) is not in it; what TLS adds is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Read at a time.
const PIECE: usize = 16 * 1024;

/// A running relay. It accepts nothing more once it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    passed: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// From a free port of this machine to `target`.
    pub(crate) async fn tcp(target: SocketAddr) -> Result<(Self, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind a relay")?;
        let port = listener.local_addr()?.port();
        let passed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&passed);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let far = TcpStream::connect(target).await?;
                    near.set_nodelay(true)?;
                    far.set_nodelay(true)?;
                    let ((near_in, near_out), (far_in, far_out)) =
                        (near.into_split(), far.into_split());
                    both(pass(near_in, far_out, &counted), pass(far_in, near_out, &counted)).await
                });
            }
        });
        Ok((Self { passed, accepting }, port))
    }

    /// From a socket at `path` to the one at `target`.
    pub(crate) fn unix(path: &Path, target: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(path).context("bind a relay")?;
        let passed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&passed);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (counted, target) = (Arc::clone(&counted), target.clone());
                tokio::spawn(async move {
                    let far = UnixStream::connect(target).await?;
                    let ((near_in, near_out), (far_in, far_out)) =
                        (near.into_split(), far.into_split());
                    both(pass(near_in, far_out, &counted), pass(far_in, near_out, &counted)).await
                });
            }
        });
        Ok(Self { passed, accepting })
    }

    /// Bytes so far, both directions together.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn both(
    there: impl Future<Output = io::Result<()>>,
    back: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::try_join!(there, back)?;
    Ok(())
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counted: &AtomicU64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(read).await?;
        counted.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_directions_pass_and_are_counted() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (relay, port) = Relay::tcp(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        served.read_to_string(&mut asked).await.unwrap();
        served.write_all(b"answer").await.unwrap();
        drop(served);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!((asked.as_str(), answered.as_str()), ("question", "answer"));
        assert_eq!(relay.passed(), 14);
    }
}
