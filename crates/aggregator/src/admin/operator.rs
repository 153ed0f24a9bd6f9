//! Who changes something, and the record of it: each change, done or refused, is logged, and stands
//! in `rowcall.audit`.

use rowcall_store::access::Actor;
use rowcall_store::{Error as StoreError, Kind};
use rowcall_tls::accept::PeerInfo;
use rowcall_tls::identity::Role;
use std::sync::Arc;
use tonic::{Request, Status};
use tracing::{info, warn};

use super::Admin;
use crate::telemetry::refusal;

/// Who changes something.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    peer: Arc<PeerInfo>,
    pub(super) actor: Actor,
}

/// What is changed, for the log and the audit.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// As `rowcall.audit` calls it.
    action: &'static str,
    what: String,
    /// Name or token id, as it was asked for.
    target: String,
}

impl Change {
    pub(super) fn of_host(action: &'static str, what: String, name: &str) -> Self {
        Self { action, what: brief(what), target: brief(name.to_owned()) }
    }

    pub(super) fn of_token(action: &'static str, what: &str, id: &str) -> Self {
        Self { action, what: what.to_owned(), target: brief(id.to_owned()) }
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Before the database saw it.
    Here(Status),
    /// The database has it on record, or could not be asked.
    Recorded(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Here(status)
    }
}

impl Refusal {
    /// Of what the database said. What made no sense never reached it.
    pub(super) fn of(error: &StoreError) -> Self {
        let status = refusal::database(error);
        match error.kind() {
            Kind::Data if error.sqlstate().is_none() => Self::Here(status),
            _ => Self::Recorded(status),
        }
    }
}

impl Admin {
    /// Who asks for a change.
    pub(super) fn operator<T>(&self, request: &Request<T>) -> Result<Operator, Status> {
        let peer = PeerInfo::of(request)?;
        // Checked at the door already; here it is about the name.
        peer.require(&[Role::Operator])?;
        let actor = self.audit.actor(peer).ok_or_else(|| Status::internal("no identity"))?;
        Ok(Operator { peer: Arc::clone(peer), actor })
    }

    /// Logs a change, and records it where the database did not.
    pub(super) fn changed<T>(
        &self,
        operator: &Operator,
        change: Change,
        result: Result<T, Refusal>,
    ) -> Result<T, Status> {
        let Change { action, what, target } = change;
        let (identity, peer) = (&operator.actor.identity, &operator.actor.peer);
        let refused = match result {
            Ok(done) => {
                info!(operator = identity, peer, on = target, "{what}");
                return Ok(done);
            }
            Err(refused) => refused,
        };
        let status = match refused {
            Refusal::Here(status) => {
                self.audit.refused(&operator.peer, action, &target, status.message());
                status
            }
            Refusal::Recorded(status) => status,
        };
        warn!(
            operator = identity, peer, on = target, code = ?status.code(), reason = status.message(),
            "{what}: refused"
        );
        Err(status)
    }
}

/// For the log, where nobody reads more of a line than this.
fn brief(mut text: String) -> String {
    const MOST: usize = 1_000;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_stays_short() {
        assert_eq!(brief("é".repeat(10)), "é".repeat(10));
        let text = brief("é".repeat(1_000));
        assert!(text.len() <= 1_003 && text.ends_with("é..."), "{text}");
    }
}
