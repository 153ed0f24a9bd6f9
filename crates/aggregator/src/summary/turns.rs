//! How many reports one certificate may have made at a time.
//!
//! Without this, one viewer that asks and doesn't read would hold every connection for reports.
//! The bound is half of them; who finds none free waits for a turn as for a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rowcall_tls::identity::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;

/// The turns of all certificates.
#[derive(Debug)]
pub(crate) struct Turns {
    each: usize,
    wait: Duration,
    /// Of those that have reports under way, and a few that had.
    by_identity: Mutex<HashMap<Identity, Weak<Semaphore>>>,
}

impl Turns {
    /// For a pool of so many connections, for which a caller waits at most `wait`.
    pub(crate) fn new(connections: usize, wait: Duration) -> Self {
        Self { each: connections.div_ceil(2), wait, by_identity: Mutex::default() }
    }

    /// A turn to make a report, given back when dropped.
    pub(crate) async fn take(&self, identity: &Identity) -> Result<OwnedSemaphorePermit, Status> {
        let turns = self.of(identity);
        match timeout(self.wait, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Status::resource_exhausted(format!(
                "{} reports of this certificate are being made or wait to be read, which is the \
                 most at a time; read them to their end, or come back later",
                self.each
            ))),
        }
    }

    fn of(&self, identity: &Identity) -> Arc<Semaphore> {
        let mut all = self.by_identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = all.get(identity).and_then(Weak::upgrade) {
            return turns;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.each));
        all.insert(identity.clone(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_certificate_has_half_of_the_connections_and_others_have_theirs() {
        let turns = Turns::new(4, Duration::from_secs(10));
        let identity = |uri: &str| Identity::from_uri(uri).unwrap();
        let (alice, bob) = (identity("spiffe://d/viewer/alice"), identity("spiffe://d/viewer/bob"));
        let first = turns.take(&alice).await.unwrap();
        let _second = turns.take(&alice).await.unwrap();
        let status = turns.take(&alice).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().starts_with("2 reports of this certificate"), "{status}");
        let theirs = turns.take(&bob).await.unwrap();
        let (third, ()) = tokio::join!(turns.take(&alice), async { drop(first) });
        assert!(third.is_ok(), "a turn that is given back goes to who waits");
        drop(theirs);
        drop(turns.take(&identity("spiffe://d/viewer/carol")).await.unwrap());
        assert_eq!(turns.by_identity.lock().unwrap().len(), 2, "bob has gone");
    }

    #[test]
    fn a_pool_of_one_serves_everybody_in_turn() {
        assert_eq!(Turns::new(1, Duration::ZERO).each, 1);
    }
}
