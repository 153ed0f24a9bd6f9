//! Newcomers that get no session, and what they are told.

use rowcall_core::id::HostName;
use rowcall_store::access::Presented;
use rowcall_store::{SessionRefusal, Store};
use tonic::Status;

use crate::connections::Visit;
use crate::refusals::Reason;
use crate::registry::{AlreadyConnected, Live, Newcomer};
use crate::telemetry::Shared;
use crate::telemetry::refusal::Broken;

/// Its host has a session here. Whose certificate is not good any more is told that, as if there
/// were none: it is no second one of that host.
pub(super) async fn held_here(
    shared: &Shared,
    store: &Store,
    newcomer: &Newcomer,
    presented: &Presented,
    held: AlreadyConnected,
) -> Broken {
    let asked = (newcomer.name.clone(), presented.clone());
    let refused = {
        let _turn = shared.openings.acquire().await;
        store.refused_among(std::slice::from_ref(&asked)).await
    };
    match refused.ok().and_then(|refused| refused.into_iter().next()) {
        Some((_, refusal)) => not_good(&newcomer.visit, refusal.to_string()),
        None => {
            let text = held.to_string();
            claimed(shared, &newcomer.name, held.holder, newcomer.party(), text)
        }
    }
}

/// The database gives it none.
pub(super) fn refused(shared: &Shared, live: &Live, refused: SessionRefusal) -> Broken {
    let (newcomer, text) = (&live.newcomer, refused.to_string());
    match refused {
        SessionRefusal::Access(_) => not_good(&newcomer.visit, text),
        SessionRefusal::AlreadyConnected(holder) => {
            claimed(shared, &newcomer.name, holder.party, newcomer.party(), text)
        }
    }
}

/// Its certificate may not be used; its connection ends.
fn not_good(visit: &Visit, text: String) -> Broken {
    visit.expel(&text);
    Broken::because(Reason::Revoked, Status::permission_denied(text))
}

/// Another process has the host's session.
fn claimed(
    shared: &Shared,
    name: &HostName,
    holder: rowcall_store::Party,
    newcomer: rowcall_store::Party,
    text: String,
) -> Broken {
    shared.leases.conflict(name, holder, newcomer);
    Broken::because(Reason::AlreadyConnected, Status::already_exists(text))
}
