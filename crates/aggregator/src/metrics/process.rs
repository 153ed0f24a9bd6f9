//! What this process takes of the machine.

use std::path::Path;

/// Resident memory, in bytes. None where `/proc` cannot be read.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Open file descriptors. None where `/proc` cannot be read.
pub(super) fn open_files() -> Option<u64> {
    let entries = std::fs::read_dir(Path::new("/proc/self/fd")).ok()?;
    // One of them is the folder's own.
    u64::try_from(entries.count().saturating_sub(1)).ok()
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    5512 kB\nThreads:\t3\n"), Some(5512 * 1024));
        for odd in ["", "VmRSS:\t x kB\n", "VmRSS: 5\n", "VmRSS: 18446744073709551615 kB\n"] {
            assert_eq!(resident_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn this_process_has_memory_and_files() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(open_files().is_some_and(|files| files >= 3));
    }
}
