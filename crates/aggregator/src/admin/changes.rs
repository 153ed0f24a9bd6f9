//! Changes to hosts: labels, names, and whether they may speak.

use std::collections::BTreeMap;

use rowcall_core::convert::clean_text;
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_store::hosts::{Host, Renamed};
use rowcall_store::{Error as StoreError, Store};
use tonic::Status;

use super::Admin;
use super::hosts::{host, parse, unknown};
use super::operator::{Change, Operator, Refusal};

/// Longest reason for a revocation, in bytes.
const MAX_REASON_BYTES: usize = 255;

impl Admin {
    pub(super) async fn label(
        &self,
        operator: &Operator,
        request: pb::LabelHostRequest,
    ) -> Result<pb::Host, Status> {
        let set: BTreeMap<_, _> = request.set.into_iter().collect();
        let remove = request.remove;
        let what = format!("label host: set {set:?}, remove {remove:?}");
        let change = Change::of_host("host.label", what, &request.host_name);
        let changed = async {
            let name = name(&request.host_name)?;
            if set.is_empty() && remove.is_empty() {
                return Err(Status::invalid_argument("nothing to set and nothing to remove").into());
            }
            let work =
                async |store: &Store| store.label_host(&operator.actor, &name, &set, &remove).await;
            self.on_host(&name, work).await
        };
        self.changed(operator, change, changed.await)
    }

    pub(super) async fn retire(
        &self,
        operator: &Operator,
        request: &pb::RetireHostRequest,
    ) -> Result<pb::Host, Status> {
        let change = Change::of_host("host.retire", "retire host".into(), &request.host_name);
        let changed = async {
            let name = name(&request.host_name)?;
            self.on_host(&name, async |store| store.retire_host(&operator.actor, &name).await).await
        };
        self.changed(operator, change, changed.await)
    }

    pub(super) async fn revoke(
        &self,
        operator: &Operator,
        request: &pb::RevokeHostRequest,
    ) -> Result<pb::Host, Status> {
        let what = format!("revoke host: {:?}", request.reason);
        let change = Change::of_host("host.revoke", what, &request.host_name);
        let changed = async {
            let name = name(&request.host_name)?;
            let reason = reason(&request.reason)?;
            let work =
                async |store: &Store| store.revoke_host(&operator.actor, &name, reason).await;
            self.on_host(&name, work).await
        };
        self.changed(operator, change, changed.await)
    }

    pub(super) async fn restore(
        &self,
        operator: &Operator,
        request: &pb::RestoreHostRequest,
    ) -> Result<pb::Host, Status> {
        let change = Change::of_host("host.restore", "restore host".into(), &request.host_name);
        let changed = async {
            let name = name(&request.host_name)?;
            self.on_host(&name, async |store| store.restore_host(&operator.actor, &name).await)
                .await
        };
        self.changed(operator, change, changed.await)
    }

    pub(super) async fn rename(
        &self,
        operator: &Operator,
        request: &pb::RenameHostRequest,
    ) -> Result<pb::Host, Status> {
        let what = format!("rename host to {:?}", request.new_name);
        let change = Change::of_host("host.rename", what, &request.host_name);
        let changed = async {
            let old = name(&request.host_name)?;
            let new = HostName::parse_new(&request.new_name);
            let new = new.map_err(|e| Status::invalid_argument(format!("new_name: {e}")))?;
            let store = self.database.store()?;
            let _turn = self.database.aside().await;
            let renamed = store.rename_host(&operator.actor, &old, &new).await;
            match renamed.map_err(|error| Refusal::of(&error))? {
                Renamed::Done(done) => Ok(host(*done)),
                Renamed::NoHost => Err(Refusal::Recorded(unknown(&old))),
                Renamed::Taken { by } => Err(Refusal::Recorded(Status::already_exists(format!(
                    "the name {new} belongs to host {by}, now or formerly, and stays its"
                )))),
            }
        };
        self.changed(operator, change, changed.await)
    }

    /// Has the database change a host, on the connection for small work.
    async fn on_host(
        &self,
        name: &HostName,
        work: impl AsyncFnOnce(&Store) -> Result<Option<Host>, StoreError>,
    ) -> Result<pb::Host, Refusal> {
        let store = self.database.store()?;
        let _turn = self.database.aside().await;
        let changed = work(store).await.map_err(|error| Refusal::of(&error))?;
        changed.map(host).ok_or_else(|| Refusal::Recorded(unknown(name)))
    }
}

fn name(text: &str) -> Result<HostName, Status> {
    parse("host_name", text)
}

fn reason(text: &str) -> Result<&str, Status> {
    if text.len() > MAX_REASON_BYTES {
        return Err(Status::invalid_argument(format!(
            "reason: {} bytes, at most {MAX_REASON_BYTES} are allowed",
            text.len()
        )));
    }
    if clean_text(text).unwrap_or_default() != text {
        return Err(Status::invalid_argument(format!(
            "reason: {text:?}: control characters, marks of direction and spaces at its ends are \
             not allowed"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line_or_nothing() {
        for fine in ["", "stolen", &"x".repeat(255)] {
            assert_eq!(reason(fine).unwrap(), fine);
        }
        for (bad, words) in [("x".repeat(256), "256 bytes"), ("a\nb".into(), "control")] {
            let status = reason(&bad).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(words), "{status}");
        }
    }
}
