//! A sample and a host's facts as JSON; null is unknown.

use rowcall_core::record::HostFacts;
use serde_json::{Value, json};

use crate::sample::Reading;
use crate::sample::host_facts::MachineIds;

pub(super) fn sample(reading: &Reading) -> Value {
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

pub(super) fn host(facts: &HostFacts, machine: &MachineIds) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "agent_version": env!("CARGO_PKG_VERSION"),
        "machine_id": known(&machine.machine_id),
        "boot_id": known(&machine.boot_id),
        "cpu_number": facts.cpu_number,
        "cpu_architecture": facts.cpu_architecture,
        "cpu_model": facts.cpu_model,
        "cpu_mhz": facts.cpu_mhz,
        "l2_cache_kib": facts.l2_cache_kib,
        "total_mem_kib": facts.total_mem_kib,
        "os": facts.os,
        "kernel": facts.kernel,
        "kernel_host_name": facts.kernel_host_name,
        "booted_unix_us": facts.booted.map(|time| time.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_null() {
        assert_eq!(host(&HostFacts::default(), &MachineIds::default())["cpu_mhz"], Value::Null);
    }
}
