//! The fleet's hosts: list, show, label, retire. Every change, done or refused, is logged with who
//! asked for it.

use std::collections::BTreeMap;

use prost::Message as _;
use rowcall_core::convert::facts_to_wire;
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_store::Error as StoreError;
use rowcall_store::hosts::{Filter, Host};
use rowcall_tls::accept::PeerInfo;
use rowcall_tls::identity::{Identity, Role};
use tonic::{Request, Status};
use tracing::{info, warn};

use super::Admin;
use crate::telemetry::refusal;

/// Hosts of a page whose request names no number, and most of any.
const DEFAULT_PAGE: u32 = 1_000;
const MAX_PAGE: u32 = 10_000;

/// Most bytes of hosts in a page: with the token, below what gRPC clients take by default. A page
/// of hosts with long labels ends early.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024 - 4 * 1024;

/// Who changes something.
#[derive(Clone, Debug)]
pub(super) struct Operator(Identity);

impl Operator {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        // Checked at the door already; here it is about the name.
        PeerInfo::of(request)?.require(&[Role::Operator]).cloned().map(Self)
    }

    fn log<T>(&self, what: &str, target: &str, result: &Result<T, Status>) {
        let operator = &self.0;
        match result {
            Ok(_) => info!(%operator, host = target, "{what}"),
            Err(status) => warn!(
                %operator, host = target, code = ?status.code(), reason = status.message(),
                "{what}: refused"
            ),
        }
    }
}

impl Admin {
    pub(super) async fn list(
        &self,
        request: pb::ListHostsRequest,
    ) -> Result<pb::ListHostsResponse, Status> {
        let page = match request.page_size {
            0 => DEFAULT_PAGE,
            size @ 1..=MAX_PAGE => size,
            size => {
                return Err(Status::invalid_argument(format!(
                    "page_size: {size} hosts, at most {MAX_PAGE} come in one answer; take the \
                     rest with next_page_token"
                )));
            }
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(HostName::parse(token).map_err(|_| {
                Status::invalid_argument(
                    "page_token: not one of ours; send next_page_token of the page before as it \
                     came, or nothing",
                )
            })?),
        };
        let selector = request.hosts.unwrap_or_default();
        let filter = Filter {
            labels: selector.labels.into_iter().collect(),
            name_glob: selector.name_glob,
            include_retired: request.include_retired,
        };
        let store = self.database.store()?;
        // One more tells whether there is another page.
        let found = store.list_hosts(&filter, after.as_ref(), page + 1).await.map_err(failed)?;
        Ok(paged(found, page))
    }

    pub(super) async fn get(&self, request: &pb::GetHostRequest) -> Result<pb::Host, Status> {
        let name = name(&request.host_name)?;
        let found = self.database.store()?.host(&name).await.map_err(failed)?;
        found.map(host).ok_or_else(|| unknown(&name))
    }

    pub(super) async fn label(
        &self,
        operator: &Operator,
        request: pb::LabelHostRequest,
    ) -> Result<pb::Host, Status> {
        let set: BTreeMap<_, _> = request.set.into_iter().collect();
        let result = async {
            let name = name(&request.host_name)?;
            if set.is_empty() && request.remove.is_empty() {
                return Err(Status::invalid_argument("nothing to set and nothing to remove"));
            }
            let store = self.database.store()?;
            let _turn = self.database.aside().await;
            let changed = store.label_host(&name, &set, &request.remove).await.map_err(failed)?;
            changed.map(host).ok_or_else(|| unknown(&name))
        }
        .await;
        let what = format!("label host: set {set:?}, remove {:?}", request.remove);
        operator.log(&brief(what), &brief(request.host_name), &result);
        result
    }

    pub(super) async fn retire(
        &self,
        operator: &Operator,
        request: &pb::RetireHostRequest,
    ) -> Result<pb::Host, Status> {
        let result = async {
            let name = name(&request.host_name)?;
            let store = self.database.store()?;
            let _turn = self.database.aside().await;
            let changed = store.retire_host(&name).await.map_err(failed)?;
            changed.map(host).ok_or_else(|| unknown(&name))
        }
        .await;
        operator.log("retire host", &brief(request.host_name.clone()), &result);
        result
    }
}

/// A page of what was found, which may be one more than fits.
fn paged(found: Vec<Host>, page: u32) -> pb::ListHostsResponse {
    let mut hosts = Vec::new();
    let mut bytes = 0;
    let mut more = false;
    for found in found {
        let host = host(found);
        // Each is a field of its own: a tag and a length beside it.
        let size = host.encoded_len() + 8;
        let full = u32::try_from(hosts.len()).is_ok_and(|count| count >= page);
        if full || (bytes + size > MAX_PAGE_BYTES && !hosts.is_empty()) {
            more = true;
            break;
        }
        bytes += size;
        hosts.push(host);
    }
    let last = hosts.last().map(|host| host.host_name.clone()).filter(|_| more);
    pb::ListHostsResponse { hosts, next_page_token: last.unwrap_or_default() }
}

fn host(host: Host) -> pb::Host {
    pb::Host {
        id: host.id.0,
        host_name: host.name.to_string(),
        host_info: Some(facts_to_wire(&host.facts)),
        labels: host.labels.into_iter().collect(),
        joined_at: host.joined_at.map(crate::timestamp),
        retired_at: host.retired_at.map(crate::timestamp),
        last_sample_at: host.last_sample_at.map(crate::timestamp),
        agent_version: host.agent_version.unwrap_or_default(),
        ..pb::Host::default()
    }
}

fn name(text: &str) -> Result<HostName, Status> {
    HostName::parse(text).map_err(|error| Status::invalid_argument(format!("host_name: {error}")))
}

fn unknown(name: &HostName) -> Status {
    Status::not_found(format!("there is no host {name}; `rowcall host list` shows all"))
}

/// A change without a row is as good as an error of the database.
fn failed(error: StoreError) -> Status {
    refusal::database(&error)
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
    use rowcall_core::id::{HostId, UnixMicros};
    use rowcall_core::record::HostFacts;

    use super::*;

    fn found(name: &str, label: &str) -> Host {
        Host {
            id: HostId(1),
            name: HostName::parse(name).unwrap(),
            facts: HostFacts::default(),
            facts_changed_at: UnixMicros(0),
            labels: [("k".to_owned(), label.to_owned())].into(),
            joined_at: None,
            retired_at: None,
            last_sample_at: None,
            agent_version: None,
        }
    }

    #[test]
    fn a_page_ends_where_it_was_asked_to_and_names_its_last_host() {
        let hosts = || vec![found("a", ""), found("b", ""), found("c", "")];
        let page = paged(hosts(), 2);
        assert_eq!((page.hosts.len(), page.next_page_token.as_str()), (2, "b"));
        let page = paged(hosts(), 3);
        assert_eq!((page.hosts.len(), page.next_page_token.as_str()), (3, ""));
        assert_eq!(paged(Vec::new(), 3).next_page_token, "");
    }

    #[test]
    fn a_page_stays_below_four_mebibytes() {
        let label = "x".repeat(1_000_000);
        let hosts = ["a", "b", "c", "d", "e"].map(|name| found(name, &label)).into();
        let page = paged(hosts, 10);
        assert_eq!((page.hosts.len(), page.next_page_token.as_str()), (4, "d"));
        assert!(page.encoded_len() < 4 * 1024 * 1024);
        let one = paged(vec![found("a", &"x".repeat(5_000_000)), found("b", "")], 10);
        assert_eq!((one.hosts.len(), one.next_page_token.as_str()), (1, "a"));
    }

    #[test]
    fn a_log_line_stays_short() {
        assert_eq!(brief("é".repeat(10)), "é".repeat(10));
        let text = brief("é".repeat(1_000));
        assert!(text.len() <= 1_003 && text.ends_with("é..."), "{text}");
    }
}
