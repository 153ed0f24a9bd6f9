//! Memory, through sysinfo.

use sysinfo::{MemoryRefreshKind, System};

use super::kib;

/// Reads memory again and again.
#[derive(Debug)]
pub(super) struct Reader(Option<System>);

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
    pub(super) fn new() -> Self {
        Self(System::new().ok())
    }

    pub(super) fn read(&mut self) -> Memory {
        let Some(system) = &mut self.0 else { return Memory::default() };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if system.total_memory() == 0 {
            return Memory::default();
        }
        Memory {
            total_kib: kib(system.total_memory()),
            free_kib: kib(system.free_memory()),
            available_kib: kib(system.available_memory()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let memory = Reader::new().read();
        let (total, free) = (memory.total_kib.unwrap(), memory.free_kib.unwrap());
        assert!(total > 64 * 1024, "{total} KiB");
        assert!((1..total).contains(&free), "{free} of {total} KiB");
        assert!(memory.available_kib.unwrap() <= total);
    }
}
