//! What the host is.

use std::path::{Path, PathBuf};

use rowcall_core::convert::clean_text;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::{DiskFacts, HostFacts, InterfaceFacts};
use sysinfo::System;

#[cfg(target_os = "linux")]
use super::linux_facts as platform;
use super::memory;

/// What tells this machine and this boot from others. Empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineIds {
    /// /etc/machine-id.
    pub machine_id: String,
    /// The kernel's random id of this boot.
    pub boot_id: String,
}

impl MachineIds {
    /// Reads them below `root`.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        Self {
            machine_id: platform::text(&root.join("etc/machine-id")).unwrap_or_default(),
            boot_id: platform::text(&root.join("proc/sys/kernel/random/boot_id"))
                .unwrap_or_default(),
        }
    }
}

/// Reads the facts of a host again and again.
#[derive(Debug)]
pub struct FactsReader {
    root: PathBuf,
    memory: memory::Reader,
    first_mhz: Option<f64>,
}

impl FactsReader {
    /// Reads below `root`; memory, architecture and what no file tells are always this machine's.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let memory = memory::Reader::new(&root);
        Self { root, memory, first_mhz: None }
    }

    /// The facts now.
    pub fn read(&mut self) -> HostFacts {
        let platform = platform::read(&self.root);
        // Without a known maximum the clock moves from reading to reading: keep the first.
        if self.first_mhz.is_none() {
            self.first_mhz = platform.current_mhz;
        }
        HostFacts {
            cpu_number: platform.cpu_number,
            cpu_architecture: clean_text(&System::cpu_arch()),
            cpu_model: platform.cpu_model,
            cpu_mhz: platform.maximum_mhz.or(self.first_mhz),
            l2_cache_kib: platform.l2_cache_kib,
            total_mem_kib: self.memory.read().total_kib,
            os: platform.os,
            kernel: platform.kernel,
            kernel_host_name: platform.kernel_host_name,
            booted: platform.booted,
            boot_id: platform.boot_id,
            virtualization: platform.virtualization,
            board: platform.board,
            firmware: platform.firmware,
            memory_mhz: platform.memory_mhz,
            cpu_sockets: platform.cpu_sockets,
            cpu_cores: platform.cpu_cores,
            disks: platform.disks,
            interfaces: platform.interfaces,
        }
    }
}

/// What the platform's own module finds out.
#[derive(Debug, Default)]
pub(super) struct Platform {
    pub(super) cpu_number: Option<i32>,
    pub(super) cpu_model: Option<String>,
    pub(super) maximum_mhz: Option<f64>,
    pub(super) current_mhz: Option<f64>,
    pub(super) l2_cache_kib: Option<i64>,
    pub(super) os: Option<String>,
    pub(super) kernel: Option<String>,
    pub(super) kernel_host_name: Option<String>,
    pub(super) booted: Option<UnixMicros>,
    pub(super) boot_id: Option<String>,
    pub(super) virtualization: Option<String>,
    pub(super) board: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) memory_mhz: Option<f64>,
    pub(super) cpu_sockets: Option<i32>,
    pub(super) cpu_cores: Option<i32>,
    pub(super) disks: Option<Vec<DiskFacts>>,
    pub(super) interfaces: Option<Vec<InterfaceFacts>>,
}

/// Everywhere but on Linux: what sysinfo knows, the rest unknown.
#[cfg(not(target_os = "linux"))]
mod platform {
    use super::{Path, Platform, System, clean_text};

    pub(super) fn text(_path: &Path) -> Option<String> {
        None
    }

    pub(super) fn read(_root: &Path) -> Platform {
        let text = |text: Result<String, _>| text.ok().as_deref().and_then(clean_text);
        Platform {
            os: text(System::long_os_version()),
            kernel: text(System::kernel_version()),
            kernel_host_name: text(System::host_name()),
            ..Platform::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let facts = FactsReader::new("/").read();
        assert!(facts.cpu_architecture.is_some());
        assert!(facts.total_mem_kib.is_some_and(|kib| kib > 64 * 1024));
        assert!(facts.kernel.is_some());
    }
}
