//! Memory and swap: from /proc/meminfo, elsewhere through sysinfo.
//!
//! By hand: of some 50 lines a dozen are needed, and procfs makes two strings of each, which takes
//! longer than the kernel takes to write them.
//!
//! Kernels before 3.14 don't tell what is available. Administrators then added free memory, buffers
//! and caches up, which counts what can't be taken back: a guess we don't make.

use rowcall_core::vitals::Vitals;

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// What the kernel manages (MemTotal).
    pub(super) total_kib: Option<i64>,
    /// What nothing uses at all (MemFree).
    pub(super) free_kib: Option<i64>,
    /// What programs can get without swapping (MemAvailable).
    pub(super) available_kib: Option<i64>,
    buffers_kib: Option<i64>,
    cached_kib: Option<i64>,
    dirty_kib: Option<i64>,
    slab_kib: Option<i64>,
    swap_total_kib: Option<i64>,
    swap_free_kib: Option<i64>,
    huge_page_kib: Option<i64>,
    huge_pages: Option<i64>,
    huge_pages_free: Option<i64>,
}

impl Memory {
    /// What is not available any more.
    pub(super) fn used_kib(&self) -> Option<i64> {
        difference(self.total_kib?, self.available_kib?)
    }

    /// Writes down all but the classic columns and the peak.
    pub(super) fn tell(&self, vitals: &mut Vitals) {
        vitals.memory_buffers_kib = self.buffers_kib;
        vitals.memory_cached_kib = self.cached_kib;
        vitals.memory_dirty_kib = self.dirty_kib;
        vitals.memory_slab_kib = self.slab_kib;
        let of_pages = |pages: Option<i64>| pages?.checked_mul(self.huge_page_kib?);
        vitals.huge_pages_kib = of_pages(self.huge_pages);
        vitals.huge_pages_free_kib = of_pages(self.huge_pages_free);
        vitals.swap_used_kib = self
            .swap_total_kib
            .zip(self.swap_free_kib)
            .and_then(|(total, free)| difference(total, free));
    }
}

/// Neither is negative.
fn difference(total: i64, rest: i64) -> Option<i64> {
    (rest <= total).then_some(total - rest)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::path::Path;

    use super::super::count;
    use super::super::proc_file::{Buffer, ProcFile};
    use super::super::text::{lines, number, words};
    use super::Memory;

    /// Reads memory now and then, with a file and a buffer of its own.
    #[derive(Debug)]
    pub(in super::super) struct Reader(ProcFile);

    impl Reader {
        /// Reads `<root>/proc/meminfo`.
        pub(in super::super) fn new(root: &Path) -> Self {
            Self(ProcFile::new(root.join("proc/meminfo")))
        }

        pub(in super::super) fn read(&mut self) -> Memory {
            self.0.read(&mut Buffer::default()).map(Memory::parse).unwrap_or_default()
        }
    }

    impl Memory {
        /// Understands the text of /proc/meminfo.
        pub(in super::super) fn parse(text: &[u8]) -> Self {
            let mut memory = Self::default();
            for line in lines(text) {
                let mut words = words(line);
                let field = match words.next() {
                    Some(b"MemTotal:") => &mut memory.total_kib,
                    Some(b"MemFree:") => &mut memory.free_kib,
                    Some(b"MemAvailable:") => &mut memory.available_kib,
                    Some(b"Buffers:") => &mut memory.buffers_kib,
                    Some(b"Cached:") => &mut memory.cached_kib,
                    Some(b"Dirty:") => &mut memory.dirty_kib,
                    Some(b"Slab:") => &mut memory.slab_kib,
                    Some(b"SwapTotal:") => &mut memory.swap_total_kib,
                    Some(b"SwapFree:") => &mut memory.swap_free_kib,
                    Some(b"Hugepagesize:") => &mut memory.huge_page_kib,
                    Some(b"HugePages_Total:") => &mut memory.huge_pages,
                    Some(b"HugePages_Free:") => &mut memory.huge_pages_free,
                    _ => continue,
                };
                *field = words.next().and_then(number).and_then(count);
            }
            memory
        }
    }
}

#[cfg(any(not(target_os = "linux"), test))]
pub(super) mod by_sysinfo {
    use std::path::Path;

    use sysinfo::{MemoryRefreshKind, System};

    use super::super::kib;
    use super::Memory;

    /// Reads memory through sysinfo.
    #[derive(Debug)]
    pub(in super::super) struct Reader(Option<System>);

    impl Reader {
        /// Always this machine's.
        pub(in super::super) fn new(_root: &Path) -> Self {
            Self(System::new().ok())
        }

        pub(in super::super) fn read(&mut self) -> Memory {
            let Some(system) = &mut self.0 else { return Memory::default() };
            system.refresh_memory_specifics(MemoryRefreshKind::everything());
            if system.total_memory() == 0 {
                return Memory::default();
            }
            Memory {
                total_kib: kib(system.total_memory()),
                free_kib: kib(system.free_memory()),
                available_kib: kib(system.available_memory()),
                swap_total_kib: kib(system.total_swap()),
                swap_free_kib: kib(system.free_swap()),
                ..Memory::default()
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use by_sysinfo::Reader;
#[cfg(target_os = "linux")]
pub(super) use platform::Reader;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::path::Path;

    const OLD: &str = "MemTotal:        1882232 kB\nMemFree:         1500000 kB\nBuffers:             948 kB\nCached:           200009 kB\nSwapCached:            7 kB\nDirty:                12 kB\nSlab:              70100 kB\nSwapTotal:       2097148 kB\nSwapFree:        2000000 kB\nHugePages_Total:      10\nHugePages_Free:        4\nHugepagesize:       2048 kB\n";

    #[test]
    fn where_the_kernel_does_not_tell_what_is_available_it_is_unknown() {
        let memory = Memory::parse(OLD.as_bytes());
        assert_eq!(memory.available_kib, None, "Linux 3.10 as it was released");
        assert_eq!((memory.used_kib(), memory.free_kib), (None, Some(1_500_000)));
        let newer = Memory::parse(format!("{OLD}MemAvailable: 1600000 kB\n").as_bytes());
        assert_eq!((newer.available_kib, newer.used_kib()), (Some(1_600_000), Some(282_232)));
    }

    #[test]
    fn caches_swap_and_huge_pages_are_told_in_kib() {
        let mut vitals = Vitals::default();
        Memory::parse(OLD.as_bytes()).tell(&mut vitals);
        assert_eq!(
            (vitals.memory_buffers_kib, vitals.memory_cached_kib),
            (Some(948), Some(200_009))
        );
        assert_eq!((vitals.memory_dirty_kib, vitals.memory_slab_kib), (Some(12), Some(70_100)));
        assert_eq!((vitals.huge_pages_kib, vitals.huge_pages_free_kib), (Some(20_480), Some(8192)));
        assert_eq!(vitals.swap_used_kib, Some(97_148));
    }

    #[test]
    fn numbers_that_make_no_sense_are_unknown() {
        let text = b"MemTotal: 10 kB\nMemFree: many kB\nMemAvailable: 11 kB\nSwapTotal: 0 kB\nSwapFree: 5 kB\nHugepagesize: 9000000000000 kB\nHugePages_Total: 9000000000000\nSlab: 99999999999999999999 kB\nDirty: 12";
        let memory = Memory::parse(text);
        assert_eq!((memory.free_kib, memory.used_kib()), (None, None));
        let mut vitals = Vitals::default();
        memory.tell(&mut vitals);
        assert_eq!(vitals, Vitals::default());
    }

    #[test]
    fn this_machine_has_memory_and_sysinfo_sees_the_same() {
        let memory = Reader::new(Path::new("/")).read();
        let (total, free) = (memory.total_kib.unwrap(), memory.free_kib.unwrap());
        assert!(total > 64 * 1024, "{total} KiB");
        assert!((1..total).contains(&free), "{free} of {total} KiB");
        assert!(memory.available_kib.unwrap() <= total);
        let other = by_sysinfo::Reader::new(Path::new("/")).read();
        assert_eq!((other.total_kib, other.swap_total_kib), (Some(total), memory.swap_total_kib));
        assert!(other.used_kib().is_some() && other.free_kib.is_some());
    }
}
