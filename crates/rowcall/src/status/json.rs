//! The status as JSON, in the same manner as the reports.

use anyhow::Context as _;
use rowcall_proto::v1;
use serde::Serialize;

use crate::summary::{json_time as time, json_word as word};

/// One JSON document on one line.
pub(super) fn render(answer: &v1::StatusResponse) -> anyhow::Result<String> {
    let mut text = serde_json::to_string(&Answer::from(answer)).context("write JSON")?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Answer<'a> {
    aggregator_version: &'a str,
    started_at: Option<String>,
    now: Option<String>,
    last_commit_at: Option<String>,
    committed_samples: u64,
    duplicate_samples: u64,
    quarantined_samples: u64,
    database_error: &'a str,
    connected: Vec<Host<'a>>,
    disconnected_hosts: u32,
    gone: Vec<Gone<'a>>,
    certificate_error: &'a str,
    certificate_expires_at: Option<String>,
    client_ca_expires_at: Option<String>,
    issues_certificates: bool,
}

#[derive(Serialize)]
struct Gone<'a> {
    host_name: &'a str,
    last_heard_at: Option<String>,
}

#[derive(Serialize)]
struct Host<'a> {
    host_name: &'a str,
    connected_at: Option<String>,
    last_heard_at: Option<String>,
    last_sample_at: Option<String>,
    agent_version: &'a str,
    interval_ms: u32,
    spool: Option<Spool>,
    clock_offset_ms: i64,
    peer_address: &'a str,
}

#[derive(Serialize)]
struct Spool {
    unacknowledged_records: u64,
    size_bytes: u64,
    oldest_unacknowledged_age_s: u64,
    dropped_records: u64,
    due_ticks: u64,
    damaged_records: u64,
    fault: Option<String>,
    clock: Option<String>,
}

impl<'a> From<&'a v1::StatusResponse> for Answer<'a> {
    fn from(answer: &'a v1::StatusResponse) -> Self {
        Self {
            aggregator_version: &answer.aggregator_version,
            started_at: time(answer.started_at.as_ref()),
            now: time(answer.now.as_ref()),
            last_commit_at: time(answer.last_commit_at.as_ref()),
            committed_samples: answer.committed_samples,
            duplicate_samples: answer.duplicate_samples,
            quarantined_samples: answer.quarantined_samples,
            database_error: &answer.database_error,
            connected: answer.connected.iter().map(Host::from).collect(),
            disconnected_hosts: answer.disconnected_hosts,
            gone: answer
                .gone
                .iter()
                .map(|host| Gone {
                    host_name: &host.host_name,
                    last_heard_at: time(host.last_heard_at.as_ref()),
                })
                .collect(),
            certificate_error: &answer.certificate_error,
            certificate_expires_at: time(answer.certificate_expires_at.as_ref()),
            client_ca_expires_at: time(answer.client_ca_expires_at.as_ref()),
            issues_certificates: answer.issues_certificates,
        }
    }
}

impl<'a> From<&'a v1::ConnectedHost> for Host<'a> {
    fn from(host: &'a v1::ConnectedHost) -> Self {
        Self {
            host_name: &host.host_name,
            connected_at: time(host.connected_at.as_ref()),
            last_heard_at: time(host.last_heard_at.as_ref()),
            last_sample_at: time(host.last_sample_at.as_ref()),
            agent_version: &host.agent_version,
            interval_ms: host.interval_ms,
            spool: host.spool.as_ref().map(|spool| Spool {
                unacknowledged_records: spool.unacknowledged_records,
                size_bytes: spool.size_bytes,
                oldest_unacknowledged_age_s: spool.oldest_unacknowledged_age_s,
                dropped_records: spool.dropped_records,
                due_ticks: spool.due_ticks,
                damaged_records: spool.damaged_records,
                fault: match spool.fault() {
                    v1::SpoolFault::Unspecified => None,
                    fault => Some(word(fault.as_str_name(), "SPOOL_FAULT_")),
                },
                clock: match spool.clock_unix_us {
                    0 => None,
                    micros => {
                        jiff::Timestamp::from_microsecond(micros).ok().map(|at| at.to_string())
                    }
                },
            }),
            clock_offset_ms: host.clock_offset_ms,
            peer_address: &host.peer_address,
        }
    }
}
