//! What a host is, as words: in one list, and what differs between two.

use rowcall_proto::v1;

use crate::text;

/// Characters that a fact's name takes; a device's may be longer, and moves its words.
pub(super) const NAME: usize = 17;

/// A fact's name, and how it is shown; none: unknown.
type Fact = (&'static str, Option<String>);

/// Devices' names, and what is known of each.
type Devices = Vec<(String, String)>;

/// Every fact that takes one line, but for the boot's, which are none of what a host is.
pub(super) fn of(info: &v1::HostInfo) -> Vec<Fact> {
    let words =
        |text: &Option<String>| text.as_deref().map(text::clean).filter(|text| !text.is_empty());
    let mhz = |mhz: Option<f64>| mhz.map(|mhz| format!("{} MHz", text::decimal(mhz, 0)));
    vec![
        ("CPUs", cpus(info)),
        ("architecture", words(&info.cpu_architecture)),
        ("CPU model", words(&info.cpu_model)),
        ("CPU clock", mhz(info.cpu_mhz)),
        ("L2 cache", info.l2_cache_kib.map(text::kib)),
        ("memory", info.total_mem_kib.map(text::kib)),
        ("memory clock", mhz(info.memory_mhz)),
        ("system", words(&info.os)),
        ("kernel", words(&info.kernel)),
        ("kernel host name", words(&info.kernel_host_name)),
        ("virtualization", words(&info.virtualization).map(machine)),
        ("board", words(&info.board)),
        ("firmware", words(&info.firmware)),
    ]
}

fn cpus(info: &v1::HostInfo) -> Option<String> {
    let number = text::count(info.cpu_number?.into());
    let parts: Vec<String> = [(info.cpu_sockets, "socket"), (info.cpu_cores, "core")]
        .into_iter()
        .filter_map(|(number, noun)| Some(text::plural(number?.into(), noun)))
        .collect();
    Some(if parts.is_empty() { number } else { format!("{number} ({})", parts.join(", ")) })
}

/// `none` is systemd's word for a real machine.
fn machine(word: String) -> String {
    if word == "none" { "bare metal".to_owned() } else { word }
}

/// Its disks, by name; none: they could not be listed.
pub(super) fn disks(info: &v1::HostInfo) -> Option<Devices> {
    let disk = |disk: &v1::DiskFacts| {
        let spins = disk.rotational.map(|spins| if spins { "spins" } else { "solid state" });
        let model = disk.model.as_deref().map(text::clean);
        let parts = [disk.size_kib.map(text::kib), spins.map(ToOwned::to_owned), model];
        (text::clean(&disk.name), joined(parts))
    };
    Some(info.disks.as_ref()?.disks.iter().map(disk).collect())
}

/// Its interfaces, in the same way.
pub(super) fn interfaces(info: &v1::HostInfo) -> Option<Devices> {
    let interface = |interface: &v1::InterfaceFacts| {
        let parts = [interface.mac.as_deref(), interface.driver.as_deref()];
        (text::clean(&interface.name), joined(parts.map(|part| part.map(text::clean))))
    };
    Some(info.interfaces.as_ref()?.interfaces.iter().map(interface).collect())
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// What changed: each fact's name, and from what to what.
pub(super) fn changes(before: &v1::HostInfo, after: &v1::HostInfo) -> Vec<(String, String)> {
    let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    let mut changes: Vec<(String, String)> = of(before)
        .into_iter()
        .zip(of(after))
        .filter(|((_, before), (_, after))| before != after)
        .map(|((name, before), (_, after))| {
            (name.to_owned(), format!("{} -> {}", known(before), known(after)))
        })
        .collect();
    let lists: [fn(&v1::HostInfo) -> Option<Devices>; 2] = [disks, interfaces];
    for (noun, list) in ["disk", "interface"].into_iter().zip(lists) {
        let (Some(before), Some(after)) = (list(before), list(after)) else { continue };
        let find = |list: &[(String, String)], name: &str| {
            list.iter().find(|(known, _)| known == name).map(|(_, words)| words.clone())
        };
        for (name, words) in &before {
            let change = match find(&after, name) {
                None => format!("{}gone", prefix(words)),
                Some(now) if now != *words => format!("{words} -> {now}"),
                Some(_) => continue,
            };
            changes.push((format!("{noun} {name}"), change));
        }
        for (name, words) in after.iter().filter(|(name, _)| find(&before, name).is_none()) {
            changes.push((format!("{noun} {name}"), format!("new{}", suffix(words))));
        }
    }
    changes
}

fn prefix(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("{words} -> ") }
}

fn suffix(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, gib: u64) -> v1::DiskFacts {
        v1::DiskFacts { name: name.to_owned(), size_kib: Some(gib << 20), ..Default::default() }
    }

    fn with_disks(disks: Vec<v1::DiskFacts>) -> v1::HostInfo {
        v1::HostInfo { disks: Some(v1::DiskList { disks }), ..Default::default() }
    }

    #[test]
    fn a_change_says_from_what_to_what() {
        let before = v1::HostInfo {
            cpu_number: Some(4),
            total_mem_kib: Some(8 << 20),
            kernel: Some("6.1".to_owned()),
            booted_unix_us: Some(1),
            ..Default::default()
        };
        let after = v1::HostInfo {
            cpu_number: Some(8),
            cpu_sockets: Some(2),
            kernel: None,
            booted_unix_us: Some(2),
            ..before.clone()
        };
        let said = changes(&before, &after);
        let said: Vec<_> =
            said.iter().map(|(name, words)| (name.as_str(), words.as_str())).collect();
        assert_eq!(said, [("CPUs", "4 -> 8 (2 sockets)"), ("kernel", "6.1 -> unknown")]);
    }

    #[test]
    fn each_fact_has_its_own_words() {
        let text = |text: &str| Some(text.to_owned());
        let info = v1::HostInfo {
            cpu_number: Some(8),
            cpu_sockets: Some(1),
            cpu_cores: Some(4),
            cpu_architecture: text("riscv64"),
            cpu_model: text("Model"),
            cpu_mhz: Some(1_000.0),
            l2_cache_kib: Some(512),
            total_mem_kib: Some(1 << 20),
            memory_mhz: Some(3_200.5),
            os: text("Debian"),
            kernel: text("6.1"),
            kernel_host_name: text("k"),
            virtualization: text("kvm"),
            board: text("Board"),
            firmware: text("Firmware"),
            ..Default::default()
        };
        let said: Vec<_> = of(&info).into_iter().map(|(_, words)| words.unwrap()).collect();
        assert_eq!(
            said,
            [
                "8 (1 socket, 4 cores)",
                "riscv64",
                "Model",
                "1000 MHz",
                "512 KiB",
                "1.0 GiB",
                "3200 MHz",
                "Debian",
                "6.1",
                "k",
                "kvm",
                "Board",
                "Firmware",
            ]
        );
        assert!(of(&v1::HostInfo::default()).iter().all(|(_, words)| words.is_none()));
    }

    #[test]
    fn disks_come_go_and_grow_by_their_names() {
        let before = with_disks(vec![disk("sda", 10), disk("sdb", 10), disk("sdc", 10)]);
        let after = with_disks(vec![disk("sda", 10), disk("sdb", 20), disk("sdd", 5)]);
        let said = changes(&before, &after);
        let said: Vec<_> =
            said.iter().map(|(name, words)| (name.as_str(), words.as_str())).collect();
        assert_eq!(
            said,
            [
                ("disk sdb", "10.0 GiB -> 20.0 GiB"),
                ("disk sdc", "10.0 GiB -> gone"),
                ("disk sdd", "new: 5.0 GiB"),
            ]
        );
        assert!(changes(&before, &v1::HostInfo::default()).is_empty(), "not listed is not gone");
    }
}
