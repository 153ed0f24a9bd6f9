//! The fleet's hosts: list and show.

use prost::Message as _;
use rowcall_core::convert::facts_to_wire;
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_store::Error as StoreError;
use rowcall_store::hosts::{BootRow, Filter, HistoryRow, Host, HostCertificate};
use tonic::Status;

use super::Admin;
use crate::telemetry::refusal;

/// Hosts of a page whose request names no number, and most of any.
const DEFAULT_PAGE: u32 = 1_000;
const MAX_PAGE: u32 = 10_000;

/// Most bytes of hosts in a page, or of a host with its history: with what else is in the answer,
/// below what gRPC clients take by default. A page of hosts with long labels ends early.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024 - 4 * 1024;

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
            certificates: request.include_certificates,
        };
        let store = self.database.store()?;
        // One more tells whether there is another page.
        let found = store.list_hosts(&filter, after.as_ref(), page + 1).await.map_err(failed)?;
        Ok(paged(found, page))
    }

    pub(super) async fn get(
        &self,
        request: &pb::GetHostRequest,
    ) -> Result<pb::GetHostResponse, Status> {
        let name = parse("host_name", &request.host_name)?;
        let store = self.database.store()?;
        let found = store.host(&name).await.map_err(failed)?.ok_or_else(|| unknown(&name))?;
        let answer = pb::GetHostResponse { host: Some(host(found)), ..Default::default() };
        if !request.include_history {
            return Ok(answer);
        }
        let (history, boots) = store.history(&name).await.map_err(failed)?;
        Ok(with_history(answer, history, boots))
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

/// Adds what fits into one answer: the boots, which are small, then the newest history.
fn with_history(
    mut answer: pb::GetHostResponse,
    history: Vec<HistoryRow>,
    boots: Vec<BootRow>,
) -> pb::GetHostResponse {
    let boot = |boot: BootRow| pb::Boot {
        booted_at: boot.booted_at.map(crate::timestamp),
        seen_at: Some(crate::timestamp(boot.seen_at)),
        boot_id: boot.boot_id,
    };
    answer.boots = boots.into_iter().map(boot).collect();
    let mut bytes = answer.encoded_len();
    for row in history {
        let row = pb::HostHistory {
            valid_from: row.from.map(crate::timestamp),
            valid_to: row.to.map(crate::timestamp),
            host_info: Some(facts_to_wire(&row.facts)),
        };
        bytes += row.encoded_len() + 8;
        if bytes > MAX_PAGE_BYTES {
            break;
        }
        answer.history.push(row);
    }
    answer
}

pub(super) fn host(host: Host) -> pb::Host {
    pb::Host {
        id: host.id.0,
        host_name: host.name.to_string(),
        host_info: Some(facts_to_wire(&host.facts)),
        labels: host.labels.into_iter().collect(),
        joined_at: host.joined_at.map(crate::timestamp),
        retired_at: host.retired_at.map(crate::timestamp),
        last_sample_at: host.last_sample_at.map(crate::timestamp),
        agent_version: host.agent_version.unwrap_or_default(),
        certificates: host.certificates.into_iter().map(certificate).collect(),
        revoked_at: host.revoked_at.map(crate::timestamp),
        revoked_reason: host.revoked_reason,
        ephemeral_s: host.ephemeral.map_or(0, |silence| silence.as_secs()),
        former_names: host.former_names.iter().map(ToString::to_string).collect(),
    }
}

fn certificate(certificate: HostCertificate) -> pb::Certificate {
    pb::Certificate {
        serial: certificate.serial,
        fingerprint: hexadecimal(&certificate.fingerprint),
        not_before: Some(crate::timestamp(certificate.not_before)),
        expires_at: Some(crate::timestamp(certificate.not_after)),
        origin: certificate.origin.as_str().to_owned(),
        last_seen_at: certificate.last_seen_at.map(crate::timestamp),
        // Only those are shown that are good.
        revoked_at: None,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn parse(field: &str, text: &str) -> Result<HostName, Status> {
    HostName::parse(text).map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

pub(super) fn unknown(name: &HostName) -> Status {
    Status::not_found(format!("there is no host {name}; `rowcall host list` shows all"))
}

fn failed(error: StoreError) -> Status {
    refusal::database(&error)
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
            certificates: Vec::new(),
            revoked_at: None,
            revoked_reason: String::new(),
            ephemeral: None,
            former_names: Vec::new(),
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
    fn a_history_that_fits_no_answer_ends_early_and_the_newest_stays() {
        let row = |n: i64| HistoryRow {
            from: Some(UnixMicros(n)),
            to: None,
            facts: HostFacts { os: Some("x".repeat(10_000)), ..HostFacts::default() },
        };
        let boot =
            |_| BootRow { boot_id: "x".repeat(256), booted_at: None, seen_at: UnixMicros(1) };
        let answer = with_history(
            pb::GetHostResponse::default(),
            (0..1_000).map(row).collect(),
            (0..1_000).map(boot).collect(),
        );
        assert!(answer.encoded_len() < 4 * 1024 * 1024);
        assert_eq!(answer.boots.len(), 1_000);
        assert!((380..400).contains(&answer.history.len()), "{}", answer.history.len());
        assert_eq!(answer.history[0].valid_from, Some(crate::timestamp(UnixMicros(0))));
    }

    #[test]
    fn boots_and_rows_of_a_history_have_their_times() {
        let at = |micros: i64| Some(crate::timestamp(UnixMicros(micros)));
        let row = |from: Option<i64>, to: Option<i64>| HistoryRow {
            from: from.map(UnixMicros),
            to: to.map(UnixMicros),
            facts: HostFacts::default(),
        };
        let boot = |booted_at: Option<i64>| BootRow {
            boot_id: "b".into(),
            booted_at: booted_at.map(UnixMicros),
            seen_at: UnixMicros(3),
        };
        let history = vec![row(Some(2), None), row(Some(1), Some(2)), row(None, Some(1))];
        let boots = vec![boot(Some(4)), boot(None)];
        let answer = with_history(pb::GetHostResponse::default(), history, boots);
        let rows: Vec<_> =
            answer.history.iter().map(|row| (row.valid_from, row.valid_to)).collect();
        assert_eq!(rows, [(at(2), None), (at(1), at(2)), (None, at(1))]);
        let boots: Vec<_> =
            answer.boots.iter().map(|boot| (boot.booted_at, boot.seen_at)).collect();
        assert_eq!(boots, [(at(4), at(3)), (None, at(3))]);
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
}
