//! Lists of hardware.

use super::{clean_text, clean_text_within, number};
use crate::proto::v1 as pb;
use crate::record::{DiskFacts, InterfaceFacts};

/// Most disks, and most interfaces, that are kept of a host's facts.
const MAX_LISTED: usize = 256;

/// Longest name of a device, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// Checks a list of disks: those without a name are left out.
pub(super) fn disks(list: pb::DiskList) -> Vec<DiskFacts> {
    let disk = |disk: pb::DiskFacts| {
        Some(DiskFacts {
            name: clean_text_within(&disk.name, MAX_NAME_BYTES)?,
            model: disk.model.as_deref().and_then(clean_text),
            size_kib: disk.size_kib.and_then(number),
            rotational: disk.rotational,
        })
    };
    list.disks.into_iter().filter_map(disk).take(MAX_LISTED).collect()
}

/// The same for interfaces.
pub(super) fn interfaces(list: pb::InterfaceList) -> Vec<InterfaceFacts> {
    let interface = |interface: pb::InterfaceFacts| {
        Some(InterfaceFacts {
            name: clean_text_within(&interface.name, MAX_NAME_BYTES)?,
            mac: interface.mac.as_deref().and_then(clean_text),
            driver: interface.driver.as_deref().and_then(clean_text),
        })
    };
    list.interfaces.into_iter().filter_map(interface).take(MAX_LISTED).collect()
}

/// As they go on the wire.
pub(super) fn disks_to_wire(disks: &[DiskFacts]) -> pb::DiskList {
    let disk = |disk: &DiskFacts| pb::DiskFacts {
        name: disk.name.clone(),
        model: disk.model.clone(),
        size_kib: disk.size_kib.and_then(|kib| u64::try_from(kib).ok()),
        rotational: disk.rotational,
    };
    pb::DiskList { disks: disks.iter().map(disk).collect() }
}

/// As they go on the wire.
pub(super) fn interfaces_to_wire(interfaces: &[InterfaceFacts]) -> pb::InterfaceList {
    let interface = |interface: &InterfaceFacts| pb::InterfaceFacts {
        name: interface.name.clone(),
        mac: interface.mac.clone(),
        driver: interface.driver.clone(),
    };
    pb::InterfaceList { interfaces: interfaces.iter().map(interface).collect() }
}
