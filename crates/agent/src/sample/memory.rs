//! Memory, through sysinfo.
//!
//! Kernels before 3.14 don't tell what is available. sysinfo then adds free memory, buffers and
//! caches up, as administrators did in their heads, which counts what can't be taken back: a guess
//! we don't pass on.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sysinfo::{MemoryRefreshKind, System};

use super::kib;

/// Reads memory again and again.
#[derive(Debug)]
pub(super) struct Reader {
    system: Option<System>,
    tells_available: bool,
}

/// Much more than any /proc/meminfo has.
const MAX_MEMINFO_BYTES: u64 = 32 * 1024;

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// What the kernel manages (MemTotal).
    pub(super) total_kib: Option<i64>,
    /// What nothing uses at all (MemFree).
    pub(super) free_kib: Option<i64>,
    /// What programs can get without swapping (MemAvailable).
    pub(super) available_kib: Option<i64>,
}

impl Reader {
    /// This machine's memory; `root` only answers whether its kernel tells what is available.
    pub(super) fn new(root: &Path) -> Self {
        Self { system: System::new().ok(), tells_available: tells_available(root) }
    }

    pub(super) fn read(&mut self) -> Memory {
        let Some(system) = &mut self.system else { return Memory::default() };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if system.total_memory() == 0 {
            return Memory::default();
        }
        Memory {
            total_kib: kib(system.total_memory()),
            free_kib: kib(system.free_memory()),
            available_kib: kib(system.available_memory()).filter(|_| self.tells_available),
        }
    }
}

/// Where there is no such file, the system tells in another way.
fn tells_available(root: &Path) -> bool {
    let mut meminfo = Vec::new();
    let read = File::open(root.join("proc/meminfo"))
        .and_then(|file| file.take(MAX_MEMINFO_BYTES).read_to_end(&mut meminfo));
    read.is_err() || meminfo.split(|byte| *byte == b'\n').any(|l| l.starts_with(b"MemAvailable:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_kernel_does_not_tell_what_is_available_it_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        let old = "MemTotal: 1882232 kB\nMemFree: 1500000 kB\nBuffers: 948 kB\nCached: 9 kB\n";
        let available = |meminfo: &str| {
            std::fs::write(root.path().join("proc/meminfo"), meminfo).unwrap();
            Reader::new(root.path()).read().available_kib
        };
        assert_eq!(available(old), None, "Linux 3.10 as it was released");
        assert!(available(&format!("{old}MemAvailable: 5 kB\n")).is_some());
        assert!(Reader::new(root.path()).read().free_kib.is_some());
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = Reader::new(Path::new("/")).read();
        let (total, free) = (memory.total_kib.unwrap(), memory.free_kib.unwrap());
        assert!(total > 64 * 1024, "{total} KiB");
        assert!((1..total).contains(&free), "{free} of {total} KiB");
        assert!(memory.available_kib.unwrap() <= total);
    }
}
