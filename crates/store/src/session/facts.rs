//! Facts of a host as the database has them: columns of `host_info`, and one object by column where
//! they are told.

use rowcall_core::record::{DiskFacts, HostFacts, InterfaceFacts};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::error::{Error, Kind};
use crate::time::Time;

/// A disk in the column `disks`.
#[derive(Serialize, Deserialize)]
struct Disk {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_kib: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotational: Option<bool>,
}

/// An interface in the column `interfaces`.
#[derive(Serialize, Deserialize)]
struct Interface {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
}

/// What `rowcall.tell_facts` takes: facts by column. The boot has parameters of its own.
#[derive(Serialize)]
struct Told<'a> {
    cpu_number: Option<i32>,
    cpu_architecture: Option<&'a str>,
    cpu_model: Option<&'a str>,
    cpu_mhz: Option<f64>,
    l2_cache: Option<i64>,
    total_mem: Option<i64>,
    os: Option<&'a str>,
    kernel: Option<&'a str>,
    kernel_host_name: Option<&'a str>,
    machine_id: Option<&'a str>,
    virtualization: Option<&'a str>,
    board: Option<&'a str>,
    firmware: Option<&'a str>,
    memory_mhz: Option<f64>,
    cpu_sockets: Option<i32>,
    cpu_cores: Option<i32>,
    disks: Option<Vec<Disk>>,
    interfaces: Option<Vec<Interface>>,
}

/// The object for `rowcall.tell_facts`.
pub(crate) fn told(facts: &HostFacts, machine_id: Option<&str>) -> Result<String, Error> {
    let disk = |disk: &DiskFacts| Disk {
        name: disk.name.clone(),
        model: disk.model.clone(),
        size_kib: disk.size_kib,
        rotational: disk.rotational,
    };
    let interface = |interface: &InterfaceFacts| Interface {
        name: interface.name.clone(),
        mac: interface.mac.clone(),
        driver: interface.driver.clone(),
    };
    let told = Told {
        cpu_number: facts.cpu_number,
        cpu_architecture: facts.cpu_architecture.as_deref(),
        cpu_model: facts.cpu_model.as_deref(),
        cpu_mhz: facts.cpu_mhz,
        l2_cache: facts.l2_cache_kib,
        total_mem: facts.total_mem_kib,
        os: facts.os.as_deref(),
        kernel: facts.kernel.as_deref(),
        kernel_host_name: facts.kernel_host_name.as_deref(),
        machine_id,
        virtualization: facts.virtualization.as_deref(),
        board: facts.board.as_deref(),
        firmware: facts.firmware.as_deref(),
        memory_mhz: facts.memory_mhz,
        cpu_sockets: facts.cpu_sockets,
        cpu_cores: facts.cpu_cores,
        disks: facts.disks.as_ref().map(|list| list.iter().map(disk).collect()),
        interfaces: facts.interfaces.as_ref().map(|list| list.iter().map(interface).collect()),
    };
    serde_json::to_string(&told)
        .map_err(|error| Error::new(Kind::Internal, format!("facts as JSON: {error}")))
}

/// The facts in a row that has all their columns, lists as text. A list that a person wrote in
/// another form is not known.
pub(crate) fn facts_of(row: &Row) -> Result<HostFacts, Error> {
    let booted: Option<Time> = row.try_get("booted_at")?;
    let disk = |disk: Disk| DiskFacts {
        name: disk.name,
        model: disk.model,
        size_kib: disk.size_kib,
        rotational: disk.rotational,
    };
    let interface = |interface: Interface| InterfaceFacts {
        name: interface.name,
        mac: interface.mac,
        driver: interface.driver,
    };
    let disks: Option<&str> = row.try_get("disks")?;
    let disks: Option<Vec<Disk>> = disks.and_then(|text| serde_json::from_str(text).ok());
    let interfaces: Option<&str> = row.try_get("interfaces")?;
    let interfaces: Option<Vec<Interface>> =
        interfaces.and_then(|text| serde_json::from_str(text).ok());
    Ok(HostFacts {
        cpu_number: row.try_get("cpu_number")?,
        cpu_architecture: row.try_get("cpu_architecture")?,
        cpu_model: row.try_get("cpu_model")?,
        cpu_mhz: row.try_get("cpu_mhz")?,
        l2_cache_kib: row.try_get("l2_cache")?,
        total_mem_kib: row.try_get("total_mem")?,
        os: row.try_get("os")?,
        kernel: row.try_get("kernel")?,
        kernel_host_name: row.try_get("kernel_host_name")?,
        booted: booted.map(|time| time.0),
        boot_id: row.try_get("boot_id")?,
        virtualization: row.try_get("virtualization")?,
        board: row.try_get("board")?,
        firmware: row.try_get("firmware")?,
        memory_mhz: row.try_get("memory_mhz")?,
        cpu_sockets: row.try_get("cpu_sockets")?,
        cpu_cores: row.try_get("cpu_cores")?,
        disks: disks.map(|list| list.into_iter().map(disk).collect()),
        interfaces: interfaces.map(|list| list.into_iter().map(interface).collect()),
    })
}
