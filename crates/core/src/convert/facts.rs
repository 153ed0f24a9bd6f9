//! Lists of hardware.

use super::{clean_text_within, number};
use crate::proto::v1 as pb;
use crate::record::{DiskFacts, InterfaceFacts};

/// Most disks, and most interfaces, that are kept of a host's facts: the first ones.
const MAX_LISTED: usize = 256;

/// Most text of a list, in bytes: 160 disks with the longest names and models that are in use. Each
/// change of a host is a row that holds both lists.
const MAX_LIST_TEXT_BYTES: usize = 8_192;

/// Longest name of a device in these lists, address of an interface and name of its driver, in bytes.
const MAX_LISTED_NAME_BYTES: usize = 64;

/// Longest model of a disk, in bytes.
const MAX_MODEL_BYTES: usize = 128;

/// Longest name of a thing that was read, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// Checks a list of disks: those without a name are left out, and the list ends at its bounds.
pub(super) fn disks(list: pb::DiskList) -> Vec<DiskFacts> {
    let disk = |disk: pb::DiskFacts| {
        Some(DiskFacts {
            name: clean_text_within(&disk.name, MAX_LISTED_NAME_BYTES)?,
            model: within(disk.model, MAX_MODEL_BYTES),
            size_kib: disk.size_kib.and_then(number),
            rotational: disk.rotational,
        })
    };
    bounded(list.disks.into_iter().filter_map(disk), |disk| {
        disk.name.len() + disk.model.as_ref().map_or(0, String::len)
    })
}

/// The same for interfaces.
pub(super) fn interfaces(list: pb::InterfaceList) -> Vec<InterfaceFacts> {
    let interface = |interface: pb::InterfaceFacts| {
        Some(InterfaceFacts {
            name: clean_text_within(&interface.name, MAX_LISTED_NAME_BYTES)?,
            mac: within(interface.mac, MAX_LISTED_NAME_BYTES),
            driver: within(interface.driver, MAX_LISTED_NAME_BYTES),
        })
    };
    bounded(list.interfaces.into_iter().filter_map(interface), |interface| {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        interface.name.len() + length(&interface.mac) + length(&interface.driver)
    })
}

fn within(text: Option<String>, most: usize) -> Option<String> {
    text.and_then(|text| clean_text_within(&text, most))
}

/// The beginning of a list that fits.
fn bounded<T>(list: impl Iterator<Item = T>, text_bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = MAX_LIST_TEXT_BYTES;
    let fits = |entry: &T| match left.checked_sub(text_bytes(entry)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    list.take(MAX_LISTED).take_while(fits).collect()
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

#[cfg(test)]
mod tests {
    use super::super::{facts_to_wire, host_facts};
    use super::*;
    use crate::id::UnixMicros;
    use crate::record::HostFacts;

    fn disk(name: String, model: &str) -> pb::DiskFacts {
        pb::DiskFacts { name, model: Some(model.to_owned()), size_kib: Some(1), rotational: None }
    }

    #[test]
    fn a_server_with_many_disks_keeps_them_all() {
        // 40 bytes are the longest model that NVMe has.
        let model = "x".repeat(40);
        let told: Vec<_> = (0..160).map(|n| disk(format!("nvme{n:03}n1"), &model)).collect();
        assert_eq!(disks(pb::DiskList { disks: told }).len(), 160);
        let told = (0..300).map(|n| disk(format!("sd{n}"), "SAMSUNG MZILT3T8HBLS")).collect();
        assert_eq!(disks(pb::DiskList { disks: told }).len(), MAX_LISTED);
    }

    #[test]
    fn lists_end_where_their_text_is_long() {
        let long = "n".repeat(1_000);
        let told = (0..300).map(|n| disk(format!("{n}{long}"), &long)).collect();
        let kept = disks(pb::DiskList { disks: told });
        let text = |disk: &DiskFacts| disk.name.len() + disk.model.as_ref().map_or(0, String::len);
        assert_eq!(kept.len(), MAX_LIST_TEXT_BYTES / (64 + 128));
        assert!(kept.iter().all(|disk| text(disk) == 64 + 128));
        assert!(kept[7].name.starts_with("7n"), "the first ones, in their order");

        let told = (0..300).map(|n| pb::InterfaceFacts {
            name: format!("{n}{long}"),
            mac: Some(long.clone()),
            driver: Some(long.clone()),
        });
        let kept = interfaces(pb::InterfaceList { interfaces: told.collect() });
        assert_eq!(kept.len(), MAX_LIST_TEXT_BYTES / (3 * 64));
    }

    /// Each field with another value: none is lost, and none takes another's place.
    #[test]
    fn what_a_host_is_survives_the_wire() {
        let text = |text: &str| Some(text.to_owned());
        let facts = HostFacts {
            cpu_number: Some(1),
            cpu_architecture: text("x86_64"),
            cpu_model: text("model"),
            cpu_mhz: Some(2.5),
            l2_cache_kib: Some(3),
            total_mem_kib: Some(4),
            os: text("os"),
            kernel: text("kernel"),
            kernel_host_name: text("node"),
            booted: Some(UnixMicros(-5)),
            boot_id: text("boot"),
            virtualization: text("kvm"),
            board: text("board"),
            firmware: text("firmware"),
            memory_mhz: Some(6.5),
            cpu_sockets: Some(7),
            cpu_cores: Some(8),
            disks: Some(vec![
                DiskFacts {
                    name: "sda".into(),
                    model: text("disk"),
                    size_kib: Some(9),
                    rotational: Some(true),
                },
                DiskFacts { name: "sdb".into(), rotational: Some(false), ..DiskFacts::default() },
                DiskFacts { name: "sdc".into(), ..DiskFacts::default() },
            ]),
            interfaces: Some(vec![
                InterfaceFacts { name: "eth0".into(), mac: text("mac"), driver: text("driver") },
                InterfaceFacts { name: "eth1".into(), ..InterfaceFacts::default() },
            ]),
        };
        assert_eq!(host_facts(facts_to_wire(&facts)), facts);
        let unknown = HostFacts::default();
        assert_eq!(host_facts(facts_to_wire(&unknown)), unknown);
        let none = HostFacts { disks: Some(vec![]), interfaces: Some(vec![]), ..unknown };
        assert_eq!(host_facts(facts_to_wire(&none)), none, "no disks are not unknown ones");
    }
}
