//! For programs: every key is there, null is unknown.

use rowcall_core::devices::{Devices, Skipped};
use rowcall_core::record::{DiskFacts, HostFacts, InterfaceFacts};
use serde_json::{Map, Value, json};

use super::Shown;
use crate::sample::Reading;
use crate::sample::host_facts::MachineIds;

/// Fields by their names.
macro_rules! object {
    ($value:expr; $($field:ident),* $(,)?) => {
        json!({ $((stringify!($field)): $value.$field,)* })
    };
}

/// The fields of each device of a list.
macro_rules! objects {
    ($list:expr; $($field:ident),* $(,)?) => {
        $list.iter().map(|item| object!(item; $($field),*)).collect::<Vec<_>>()
    };
}

pub(crate) fn json(shown: &Shown) -> Value {
    json!({
        "sample": sample(&shown.reading),
        "vitals": shown.reading.sample.vitals.as_ref().map(|vitals| {
            let values = vitals.values().into_iter();
            values.map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>()
        }),
        "devices": shown.devices.as_ref().map(devices),
        "host": host(&shown.facts, &shown.machine),
    })
}

fn sample(reading: &Reading) -> Value {
    let sample = &reading.sample;
    json!({
        "time_unix_us": reading.time.0,
        "elapsed_us": sample.elapsed_us,
        "uptime_us": sample.uptime_us,
        "memory_free_kib": sample.memory_free_kib,
        "memory_available_kib": sample.memory_available_kib,
        "cpu_idle_percent": sample.cpu_idle_percent,
        "cpu_kernel_percent": sample.cpu_kernel_percent,
        "disk_io": sample.disk_io,
        "disk_available_kib": sample.disk_available_kib,
    })
}

fn devices(devices: &Devices) -> Value {
    json!({
        "filesystems": objects!(devices.filesystems;
            mount, source, kind, read_only, size_kib, available_kib, inodes, inodes_free),
        "disks": objects!(devices.disks;
            name, counted_since, reads, writes, read_bytes, written_bytes, read_ms, write_ms,
            busy_ms, in_flight, busy_max_percent),
        "interfaces": objects!(devices.interfaces;
            name, counted_since, rx_bytes, tx_bytes, rx_packets, tx_packets, rx_errors, tx_errors,
            rx_drops, tx_drops, speed_mbit, up, rx_max_bytes_per_s, tx_max_bytes_per_s),
        "sensors": objects!(devices.sensors; name, temperature_mc, critical_mc),
        "md_arrays": objects!(devices.md_arrays;
            name, level, state, disks, disks_active, disks_failed, disks_spare, sync_percent),
        "memory_controllers": objects!(devices.memory_controllers;
            name, counted_since, corrected_errors, uncorrected_errors),
        "cgroups": objects!(devices.cgroups;
            name, counted_since, cpu_us, throttled_us, memory_kib, read_bytes, written_bytes,
            processes, oom_kills),
        "processes": objects!(devices.processes;
            command, pid, cpu_percent, memory_kib, read_bytes_per_s, written_bytes_per_s),
        "metrics": devices.metrics.iter().map(|metric| {
            let labels = metric.labels.iter();
            let labels = labels.map(|(name, value)| (name.clone(), json!(value)));
            json!({
                "name": metric.name,
                "labels": labels.collect::<Map<_, _>>(),
                "value": metric.value,
            })
        }).collect::<Vec<_>>(),
        "skipped": devices.skipped.iter().map(skipped).collect::<Vec<_>>(),
    })
}

/// Something that was not read.
pub(crate) fn skipped(skipped: &Skipped) -> Value {
    json!({
        "collector": skipped.collector,
        "item": skipped.item,
        "reason": skipped.reason.as_str(),
        "count": skipped.count,
    })
}

fn host(facts: &HostFacts, machine: &MachineIds) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let disks = |list: &Vec<DiskFacts>| objects!(list; name, model, size_kib, rotational);
    let interfaces = |list: &Vec<InterfaceFacts>| objects!(list; name, mac, driver);
    json!({
        "agent_version": env!("CARGO_PKG_VERSION"),
        "machine_id": known(&machine.machine_id),
        "boot_id": known(&machine.boot_id),
        "cpu_number": facts.cpu_number,
        "cpu_architecture": facts.cpu_architecture,
        "cpu_model": facts.cpu_model,
        "cpu_mhz": facts.cpu_mhz,
        "cpu_sockets": facts.cpu_sockets,
        "cpu_cores": facts.cpu_cores,
        "l2_cache_kib": facts.l2_cache_kib,
        "total_mem_kib": facts.total_mem_kib,
        "memory_mhz": facts.memory_mhz,
        "os": facts.os,
        "kernel": facts.kernel,
        "kernel_host_name": facts.kernel_host_name,
        "virtualization": facts.virtualization,
        "board": facts.board,
        "firmware": facts.firmware,
        "booted_unix_us": facts.booted.map(|time| time.0),
        "disks": facts.disks.as_ref().map(disks),
        "interfaces": facts.interfaces.as_ref().map(interfaces),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_core::devices::{Metric, Sensor};

    #[test]
    fn unknown_values_are_null() {
        let host = host(&HostFacts::default(), &MachineIds::default());
        assert_eq!((&host["cpu_mhz"], &host["disks"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn devices_have_their_fields_by_name() {
        let labels = vec![("state".into(), "ok".into())];
        let shown = devices(&Devices {
            sensors: vec![Sensor { name: "cpu".into(), temperature_mc: 42_000, critical_mc: None }],
            metrics: vec![Metric { name: "raid".into(), labels, value: 1.5 }],
            ..Devices::default()
        });
        let sensor = json!({ "name": "cpu", "temperature_mc": 42_000, "critical_mc": null });
        assert_eq!(shown["sensors"], json!([sensor]));
        let metric = json!({ "name": "raid", "labels": { "state": "ok" }, "value": 1.5 });
        assert_eq!(shown["metrics"], json!([metric]));
        assert_eq!(shown["disks"], json!([]));
    }
}
