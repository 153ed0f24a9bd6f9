//! The thread that reads.

use std::path::PathBuf;
use std::sync::mpsc;
use std::{io, thread};

use rowcall_core::clock::SharedClock;
use rowcall_core::record::HostFacts;
use tokio::sync::oneshot;

use crate::collect::Collect;
use crate::devices::Peaks;

use super::host_facts::FactsReader;
use super::{Reading, Sampler};

/// Stack of the reading thread, in bytes. Reading is shallow; only what is touched is resident.
const STACK_BYTES: usize = 512 * 1024;

/// Requests that may wait for the thread. One sampler and one link ask, each for one thing.
const WAITING_REQUESTS: usize = 4;

/// A handle of the reading thread. The thread ends when every handle is gone; a read that hangs
/// forever holds up nothing but the numbers themselves.
#[derive(Clone, Debug)]
pub struct Reader(mpsc::SyncSender<Request>);

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// A read hangs, and others wait behind it.
    #[error("the reading thread hangs in an earlier read")]
    Busy,
    /// The thread is gone, which only a bug can do.
    #[error("the reading thread is gone")]
    Gone,
}

#[derive(Debug)]
enum Request {
    Prime(oneshot::Sender<()>),
    Sample(oneshot::Sender<Reading>),
    Facts(oneshot::Sender<HostFacts>),
    Peaks(oneshot::Sender<Peaks>),
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        root: impl Into<PathBuf>,
        collect: &Collect,
        clock: SharedClock,
    ) -> io::Result<Self> {
        let root = root.into();
        let facts = FactsReader::new(root.clone());
        let sampler = Sampler::new(root, collect);
        let (requests, inbox) = mpsc::sync_channel(WAITING_REQUESTS);
        thread::Builder::new()
            .name("rowcall-read".into())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(facts, sampler, &clock, &inbox))?;
        Ok(Self(requests))
    }

    /// Reads the counters that the first sample's differences start from.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn prime(&self) -> Result<(), Unread> {
        self.ask(Request::Prime).await
    }

    /// Takes a sample, stamped when it is read.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn sample(&self) -> Result<Reading, Unread> {
        self.ask(Request::Sample).await
    }

    /// Reads what the host is.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn facts(&self) -> Result<HostFacts, Unread> {
        self.ask(Request::Facts).await
    }

    /// The busiest moments of devices since they were last asked for.
    ///
    /// # Errors
    /// [`Unread`].
    pub async fn peaks(&self) -> Result<Peaks, Unread> {
        self.ask(Request::Peaks).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Unread> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(request(reply)).map_err(|refused| match refused {
            mpsc::TrySendError::Full(_) => Unread::Busy,
            mpsc::TrySendError::Disconnected(_) => Unread::Gone,
        })?;
        answer.await.map_err(|_| Unread::Gone)
    }
}

fn serve(
    mut facts: FactsReader,
    mut sampler: Sampler,
    clock: &SharedClock,
    inbox: &mpsc::Receiver<Request>,
) {
    loop {
        let next = match sampler.peak_due() {
            None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(due) => inbox.recv_timeout(due.saturating_sub(clock.monotonic())),
        };
        // An asker that gave up is no concern of this thread.
        let _unheard = match next {
            Ok(Request::Prime(reply)) => {
                sampler.prime(clock.as_ref());
                reply.send(()).is_err()
            }
            Ok(Request::Sample(reply)) => reply.send(sampler.sample(clock.as_ref())).is_err(),
            Ok(Request::Peaks(reply)) => reply.send(sampler.take_peaks()).is_err(),
            Ok(Request::Facts(reply)) => reply.send(facts.read()).is_err(),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                sampler.peak(clock.as_ref());
                false
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_core::clock::SystemClock;

    #[tokio::test]
    async fn behind_a_read_that_hangs_there_is_no_endless_queue() {
        let (requests, hangs) = mpsc::sync_channel(1);
        let reader = Reader(requests);
        let waiting = reader.clone();
        let first = tokio::spawn(async move { waiting.sample().await });
        tokio::task::yield_now().await;
        assert_eq!(reader.sample().await, Err(Unread::Busy));
        drop(hangs);
        assert_eq!(first.await.unwrap(), Err(Unread::Gone));
        assert_eq!(reader.sample().await, Err(Unread::Gone));
    }

    #[tokio::test]
    async fn the_thread_reads_and_ends_with_its_handles() {
        let reader = Reader::start("/", &Collect::default(), SystemClock::shared()).unwrap();
        reader.prime().await.unwrap();
        let reading = reader.sample().await.unwrap();
        assert!(reading.sample.elapsed_us.is_some());
        assert!(reader.facts().await.unwrap().total_mem_kib.is_some());
    }
}
