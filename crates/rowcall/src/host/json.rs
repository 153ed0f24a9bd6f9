//! Hosts as JSON, in the same manner as the reports.

use std::collections::BTreeMap;

use anyhow::Context as _;
use rowcall_proto::v1;
use serde::Serialize;

use crate::summary::json_time;

/// One JSON document on one line: `{"hosts": [...]}`.
pub(super) fn list(hosts: &[v1::Host]) -> anyhow::Result<String> {
    line(&Hosts { hosts: hosts.iter().map(Host::from).collect() })
}

/// One JSON document on one line: `{"host": {...}}`.
pub(super) fn show(host: &v1::Host) -> anyhow::Result<String> {
    line(&One { host: Host::from(host) })
}

fn line(document: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string(document).context("write JSON")?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Hosts<'a> {
    hosts: Vec<Host<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    host: Host<'a>,
}

#[derive(Serialize)]
struct Host<'a> {
    id: i32,
    host_name: &'a str,
    host_info: Info<'a>,
    labels: BTreeMap<&'a str, &'a str>,
    joined_at: Option<String>,
    retired_at: Option<String>,
    last_sample_at: Option<String>,
    agent_version: Option<&'a str>,
    revoked_at: Option<String>,
    revoked_reason: Option<&'a str>,
    ephemeral_s: Option<u64>,
    former_names: &'a [String],
    certificates: Vec<Certificate<'a>>,
}

#[derive(Serialize)]
struct Certificate<'a> {
    serial: &'a str,
    fingerprint: &'a str,
    not_before: Option<String>,
    expires_at: Option<String>,
    origin: &'a str,
    last_seen_at: Option<String>,
    revoked_at: Option<String>,
}

#[derive(Serialize, Default)]
struct Info<'a> {
    cpu_number: Option<u32>,
    cpu_architecture: Option<&'a str>,
    cpu_model: Option<&'a str>,
    cpu_mhz: Option<f64>,
    l2_cache_kib: Option<u64>,
    total_mem_kib: Option<u64>,
    os: Option<&'a str>,
    kernel: Option<&'a str>,
    kernel_host_name: Option<&'a str>,
    booted_at: Option<String>,
}

impl<'a> From<&'a v1::Host> for Host<'a> {
    fn from(host: &'a v1::Host) -> Self {
        Self {
            id: host.id,
            host_name: &host.host_name,
            host_info: host.host_info.as_ref().map(Info::from).unwrap_or_default(),
            labels: host.labels.iter().map(|(key, value)| (&**key, &**value)).collect(),
            joined_at: json_time(host.joined_at.as_ref()),
            retired_at: json_time(host.retired_at.as_ref()),
            last_sample_at: json_time(host.last_sample_at.as_ref()),
            agent_version: Some(host.agent_version.as_str()).filter(|text| !text.is_empty()),
            revoked_at: json_time(host.revoked_at.as_ref()),
            revoked_reason: Some(host.revoked_reason.as_str()).filter(|text| !text.is_empty()),
            ephemeral_s: Some(host.ephemeral_s).filter(|seconds| *seconds > 0),
            former_names: &host.former_names,
            certificates: host.certificates.iter().map(Certificate::from).collect(),
        }
    }
}

impl<'a> From<&'a v1::Certificate> for Certificate<'a> {
    fn from(certificate: &'a v1::Certificate) -> Self {
        Self {
            serial: &certificate.serial,
            fingerprint: &certificate.fingerprint,
            not_before: json_time(certificate.not_before.as_ref()),
            expires_at: json_time(certificate.expires_at.as_ref()),
            origin: &certificate.origin,
            last_seen_at: json_time(certificate.last_seen_at.as_ref()),
            revoked_at: json_time(certificate.revoked_at.as_ref()),
        }
    }
}

impl<'a> From<&'a v1::HostInfo> for Info<'a> {
    fn from(info: &'a v1::HostInfo) -> Self {
        let booted = info.booted_unix_us.map(|us| prost_types::Timestamp {
            seconds: us.div_euclid(1_000_000),
            nanos: i32::try_from(us.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
        });
        Self {
            cpu_number: info.cpu_number,
            cpu_architecture: info.cpu_architecture.as_deref(),
            cpu_model: info.cpu_model.as_deref(),
            cpu_mhz: info.cpu_mhz,
            l2_cache_kib: info.l2_cache_kib,
            total_mem_kib: info.total_mem_kib,
            os: info.os.as_deref(),
            kernel: info.kernel.as_deref(),
            kernel_host_name: info.kernel_host_name.as_deref(),
            booted_at: json_time(booted.as_ref()),
        }
    }
}
