//! Whether a certificate is good, for whoever has it and opens no stream.

use rowcall_core::proto::v1 as pb;
use rowcall_tls::identity::Role;
use tonic::Status;
use tracing::info;

use super::{Shared, unavailable};
use crate::connections::Visit;
use crate::refusals::Reason;
use crate::revocation::presented;

impl Shared {
    /// Asks the database as a Hello does. Nothing is written, and the connection stays.
    pub(super) async fn check(&self, visit: &Visit) -> Result<pb::CheckResponse, Status> {
        let host = visit.peer.require(&[Role::Agent])?.name.clone();
        let none = || Status::unauthenticated("this connection has no certificate");
        let presented = presented(&visit.peer).ok_or_else(none)?;
        self.checks.ask(presented.fingerprint, self.clock.monotonic()).map_err(|wait| {
            if let Some(held_back) = self.refusals.count(Reason::TooManyEnrolments) {
                info!(peer = %visit.peer.address, %host, held_back, "asks too often for a check");
            }
            let seconds = wait.as_secs() + 1;
            Status::resource_exhausted(format!("{host} asks too often; come back in {seconds} s"))
        })?;
        let (store, _turn) = self.turn().await?;
        let asked = [(host, presented)];
        let refused = store.refused_among(&asked).await.map_err(|error| unavailable(&error))?;
        let [(host, _)] = asked;
        if let Some((_, refusal)) = refused.into_iter().next() {
            let why = refusal.to_string();
            if let Some(held_back) = self.refusals.count(Reason::Revoked) {
                info!(peer = %visit.peer.address, %host, why, held_back, "check refused");
            }
            return Err(Status::permission_denied(why));
        }
        let found = store.host(&host).await.map_err(|error| unavailable(&error))?;
        Ok(pb::CheckResponse { host_name: found.map_or(host, |found| found.name).to_string() })
    }
}
