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

/// One JSON document on one line: `{"host": {...}}`, with history also `history` and `boots`.
pub(super) fn show(answer: &v1::GetHostResponse, with_history: bool) -> anyhow::Result<String> {
    let nobody = v1::Host::default();
    let span = |row: &'_ v1::HostHistory| {
        (json_time(row.valid_from.as_ref()), json_time(row.valid_to.as_ref()))
    };
    let history = answer.history.iter().map(|row| {
        let (valid_from, valid_to) = span(row);
        let host_info = row.host_info.as_ref().map(Info::from).unwrap_or_default();
        History { valid_from, valid_to, host_info }
    });
    let boots = answer.boots.iter().map(|boot| Boot {
        booted_at: json_time(boot.booted_at.as_ref()),
        seen_at: json_time(boot.seen_at.as_ref()),
        boot_id: &boot.boot_id,
    });
    line(&One {
        host: Host::from(answer.host.as_ref().unwrap_or(&nobody)),
        history: with_history.then(|| history.collect()),
        boots: with_history.then(|| boots.collect()),
    })
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
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<History<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boots: Option<Vec<Boot<'a>>>,
}

#[derive(Serialize)]
struct History<'a> {
    valid_from: Option<String>,
    valid_to: Option<String>,
    host_info: Info<'a>,
}

#[derive(Serialize)]
struct Boot<'a> {
    booted_at: Option<String>,
    seen_at: Option<String>,
    boot_id: &'a str,
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
    boot_id: Option<&'a str>,
    virtualization: Option<&'a str>,
    board: Option<&'a str>,
    firmware: Option<&'a str>,
    memory_mhz: Option<f64>,
    cpu_sockets: Option<u32>,
    cpu_cores: Option<u32>,
    disks: Option<Vec<Disk<'a>>>,
    interfaces: Option<Vec<Interface<'a>>>,
}

#[derive(Serialize)]
struct Disk<'a> {
    name: &'a str,
    model: Option<&'a str>,
    size_kib: Option<u64>,
    rotational: Option<bool>,
}

#[derive(Serialize)]
struct Interface<'a> {
    name: &'a str,
    mac: Option<&'a str>,
    driver: Option<&'a str>,
}

impl<'a> From<&'a v1::DiskFacts> for Disk<'a> {
    fn from(disk: &'a v1::DiskFacts) -> Self {
        Self {
            name: &disk.name,
            model: disk.model.as_deref(),
            size_kib: disk.size_kib,
            rotational: disk.rotational,
        }
    }
}

impl<'a> From<&'a v1::InterfaceFacts> for Interface<'a> {
    fn from(interface: &'a v1::InterfaceFacts) -> Self {
        Self {
            name: &interface.name,
            mac: interface.mac.as_deref(),
            driver: interface.driver.as_deref(),
        }
    }
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
            boot_id: info.boot_id.as_deref(),
            virtualization: info.virtualization.as_deref(),
            board: info.board.as_deref(),
            firmware: info.firmware.as_deref(),
            memory_mhz: info.memory_mhz,
            cpu_sockets: info.cpu_sockets,
            cpu_cores: info.cpu_cores,
            disks: info.disks.as_ref().map(|list| list.disks.iter().map(Disk::from).collect()),
            interfaces: info
                .interfaces
                .as_ref()
                .map(|list| list.interfaces.iter().map(Interface::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_has_its_own_name() {
        let text = |n: u8| Some(format!("t{n}"));
        let info = v1::HostInfo {
            cpu_number: Some(1),
            cpu_sockets: Some(2),
            cpu_cores: Some(3),
            cpu_architecture: text(4),
            cpu_model: text(5),
            cpu_mhz: Some(6.0),
            l2_cache_kib: Some(7),
            total_mem_kib: Some(8),
            memory_mhz: Some(9.0),
            os: text(10),
            kernel: text(11),
            kernel_host_name: text(12),
            booted_unix_us: Some(13_500_000),
            boot_id: text(14),
            virtualization: text(15),
            board: text(16),
            firmware: text(17),
            disks: None,
            interfaces: None,
        };
        let expected = serde_json::json!({
            "cpu_number": 1, "cpu_sockets": 2, "cpu_cores": 3, "cpu_architecture": "t4",
            "cpu_model": "t5", "cpu_mhz": 6.0, "l2_cache_kib": 7, "total_mem_kib": 8,
            "memory_mhz": 9.0, "os": "t10", "kernel": "t11", "kernel_host_name": "t12",
            "booted_at": "1970-01-01T00:00:13.5Z", "boot_id": "t14", "virtualization": "t15",
            "board": "t16", "firmware": "t17", "disks": null, "interfaces": null,
        });
        assert_eq!(serde_json::to_value(Info::from(&info)).unwrap(), expected);
    }
}
