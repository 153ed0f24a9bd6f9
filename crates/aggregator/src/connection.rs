//! A connection that ends when it must: at the hard stop, without a call, for a newer one, or when
//! its peer floods us.
//!
//! tonic spawns a task for each connection and keeps no handle on it. Without this, a peer that
//! never closes would outlive the server that it is connected to, and one that never calls would
//! hold its place for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rowcall_tls::accept::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::connections::{Guest, Visit};
use crate::flood::FrameBudget;

/// A connection whose reads and writes fail once it is over.
pub(crate) struct Bounded {
    io: Connection,
    /// None once it is.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    guest: Guest,
    frames: FrameBudget,
}

impl std::fmt::Debug for Bounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounded").field("guest", &self.guest).finish_non_exhaustive()
    }
}

impl Bounded {
    /// Ends at `kill`, or when its guest's time is over.
    pub(crate) fn new(io: Connection, guest: Guest, kill: CancellationToken) -> Self {
        let over = guest.over();
        let over = Box::pin(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                () = over => {}
            }
        });
        Self { io, over: Some(over), guest, frames: FrameBudget::new(Instant::now()) }
    }

    /// And after this time, whatever goes on.
    pub(crate) fn for_at_most(mut self, stay: Duration) -> Self {
        let over = self.over.take();
        self.over = over.map(|over| Box::pin(at_most(stay, over)) as _);
        self
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.over.as_mut().is_some_and(|over| over.as_mut().poll(cx).is_ready()) {
            self.over = None;
        }
        self.over.is_none()
    }

    /// Fails instead of waiting for a peer that doesn't read, if it is over.
    fn written<T>(&mut self, cx: &mut Context<'_>, io: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if io.is_pending() && self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        io
    }
}

/// What becomes ready with `over`, or after this time.
async fn at_most(stay: Duration, over: impl Future<Output = ()> + Send) {
    // That it took too long is no error here: the connection just ends.
    drop(timeout(stay, over).await);
}

impl Connected for Bounded {
    type ConnectInfo = Arc<Visit>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.guest.visit)
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // First, or a peer that never stops sending would never be over.
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let came = buf.filled().get(before..).unwrap_or_default();
        if !self.frames.allows(came, Instant::now()) {
            self.over = None;
            self.guest.flooded();
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.written(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use rowcall_core::clock::SystemClock;
    use rowcall_tls::accept::PeerInfo;
    use rowcall_tls::identity::Identity;

    use super::*;
    use crate::connections::Connections;
    use crate::refusals::Refusals;

    #[tokio::test(start_paused = true)]
    async fn a_connection_for_a_minute_ends_then_though_its_call_goes_on() {
        let refusals = Refusals::new(SystemClock::shared());
        let connections =
            Connections::of_strangers(1, Duration::from_secs(10), refusals, Vec::new());
        let (address, identity) = (([192, 0, 2, 1], 1).into(), Identity::from_uri(""));
        let peer = Arc::new(PeerInfo { address, identity, certificate: None });
        let guest = connections.enter(&peer).unwrap();
        let call = guest.visit.call();
        let began = Instant::now();
        at_most(Duration::from_secs(60), guest.over()).await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
        // Without one it ends as any other.
        drop(call);
        at_most(Duration::from_secs(60), guest.over()).await;
        assert_eq!(began.elapsed(), Duration::from_secs(70));
    }
}
