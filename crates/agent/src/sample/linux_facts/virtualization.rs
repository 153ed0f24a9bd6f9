//! What the host runs in, by the names that systemd gives: a container before the virtual machine
//! around it, "none" on bare metal.
//!
//! Read are, in this order: for a container `/proc/vz` and `/proc/bc`, the kernel's release (WSL),
//! `/run/systemd/container`, `/run/host/container-manager`, `container=` in `/proc/1/environ` (root's
//! alone), `/run/.containerenv`, `/.dockerenv` and `/proc/1/cgroup`; for a virtual machine DMI's
//! names of makers and products, `/sys/hypervisor/type` with `/proc/xen/capabilities`, the clock
//! sources that hypervisors offer, the device tree's `hypervisor`, and whether `/proc/cpuinfo` has
//! the flag `hypervisor`. The CPU is not asked.

use std::path::Path;

use rowcall_core::convert::clean_text_within;

use super::{board, raw, text, values};

/// Longest name, in bytes.
const MAX_BYTES: usize = 64;

/// DMI's beginnings of names, and what they stand for.
const DMI: [(&str, &str); 18] = [
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
    ("Virtual Machine", "microsoft"),
];

/// Where they stand.
const DMI_FIELDS: [&str; 5] =
    ["product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version"];

/// Container managers by what the cgroup of the first process is called.
const CGROUPS: [(&str, &str); 6] = [
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("lxc", "lxc"),
    ("machine.slice", "systemd-nspawn"),
    ("garden", "garden"),
];

/// The name of what the host runs in.
pub(super) fn virtualization(root: &Path, cpuinfo: &str) -> Option<String> {
    if let Some(container) = container(root) {
        return Some(container);
    }
    let flags = ["flags", "Features"].iter().find_map(|key| values(cpuinfo, key).next());
    let is_x86 = values(cpuinfo, "flags").next().is_some();
    let has_flag = flags.is_some_and(|flags| flags.split_whitespace().any(|f| f == "hypervisor"));
    // The cloud's bare metal has the maker of its virtual machines.
    if is_x86 && !has_flag && !is_xen(root) {
        return Some("none".into());
    }
    let machine = machine(root).or_else(|| has_flag.then_some("vm-other"));
    match machine {
        Some(machine) => Some(machine.into()),
        // Nothing was there to be read.
        None if cpuinfo.is_empty() => None,
        None => Some("none".into()),
    }
}

fn container(root: &Path) -> Option<String> {
    let is_there = |path: &str| root.join(path).symlink_metadata().is_ok();
    if is_there("proc/vz") && !is_there("proc/bc") {
        return Some("openvz".into());
    }
    let release = text(&root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    if release.contains("Microsoft") || release.contains("WSL") {
        return Some("wsl".into());
    }
    let told = ["run/systemd/container", "run/host/container-manager"]
        .iter()
        .find_map(|path| name(&raw(&root.join(path))?))
        .or_else(|| environment(root));
    // "oci" says no more than that it is one.
    let told_more = told.clone().filter(|name| name != "oci");
    told_more
        .or_else(|| is_there("run/.containerenv").then(|| "podman".to_owned()))
        .or_else(|| is_there(".dockerenv").then(|| "docker".to_owned()))
        .or_else(|| cgroup(root))
        .or(told)
}

/// `container=` among the variables of the first process.
fn environment(root: &Path) -> Option<String> {
    let environment = raw(&root.join("proc/1/environ"))?;
    environment.split('\0').find_map(|variable| name(variable.strip_prefix("container=")?))
}

fn cgroup(root: &Path) -> Option<String> {
    let groups = raw(&root.join("proc/1/cgroup"))?;
    let is_in = |part: &str| groups.lines().any(|line| line.contains(part));
    CGROUPS.iter().find(|(part, _)| is_in(part)).map(|(_, name)| (*name).to_owned())
}

/// One word.
fn name(text: &str) -> Option<String> {
    clean_text_within(text.split_whitespace().next()?, MAX_BYTES)
}

fn is_xen(root: &Path) -> bool {
    text(&root.join("sys/hypervisor/type")).is_some_and(|kind| kind == "xen")
}

fn machine(root: &Path) -> Option<&'static str> {
    let dmi = dmi(root);
    // Names of clouds and products that say more than the hypervisor does.
    if let Some("oracle" | "xen" | "amazon" | "parallels" | "google") = dmi {
        return dmi;
    }
    if is_xen(root) {
        let capabilities = text(&root.join("proc/xen/capabilities")).unwrap_or_default();
        // The first domain has the machine to itself.
        return Some(if capabilities.contains("control_d") { "none" } else { "xen" });
    }
    clock_source(root).or(dmi).or_else(|| device_tree(root))
}

fn dmi(root: &Path) -> Option<&'static str> {
    DMI_FIELDS.iter().find_map(|field| {
        let value = board::field(root, field)?;
        DMI.iter().find(|(begin, _)| value.starts_with(begin)).map(|(_, name)| *name)
    })
}

/// Guests have a clock that only their hypervisor offers.
fn clock_source(root: &Path) -> Option<&'static str> {
    let path = "sys/devices/system/clocksource/clocksource0/available_clocksource";
    let sources = text(&root.join(path))?;
    sources.split_whitespace().find_map(|source| match source {
        "kvm-clock" => Some("kvm"),
        source if source.starts_with("hyperv_clocksource") => Some("microsoft"),
        _ => None,
    })
}

fn device_tree(root: &Path) -> Option<&'static str> {
    let base = root.join("proc/device-tree");
    let compatible = text(&base.join("hypervisor/compatible"));
    match compatible.as_deref() {
        Some("linux,kvm") => Some("kvm"),
        Some(name) if name.contains("xen") => Some("xen"),
        Some(name) if name.contains("vmware") => Some("vmware"),
        Some(_) => Some("vm-other"),
        None => base.join("ibm,partition-name").exists().then_some("powervm"),
    }
}
