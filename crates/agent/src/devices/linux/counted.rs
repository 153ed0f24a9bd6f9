//! Since when a counter counts, as a number.

use std::path::Path;

use super::files;

/// Tells what resets counters: the boot, and then the device itself. Equal numbers mean that a
/// counter went on; they last over a restart of the agent. It is FNV-1a, 32 bits: of two devices of
/// one name, one in 4 billion is taken for the other, and then by a counter that fell.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountedSince(u32);

impl CountedSince {
    /// Counted since this boot.
    pub(super) fn read(root: &Path) -> Self {
        let boot_id = files::text(&root.join("proc/sys/kernel/random/boot_id"));
        Self(0x811c_9dc5).and(boot_id.unwrap_or_default().as_bytes())
    }

    /// And since there is what is known by this.
    pub(super) fn and(self, id: &[u8]) -> Self {
        // The end is a byte that no id has, so that "ab", "c" is not "a", "bc".
        let bytes = id.iter().chain(&[0xff]);
        Self(bytes.fold(self.0, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)))
    }

    /// And since there is what has this number.
    pub(super) fn and_number(self, id: u64) -> Self {
        self.and(&id.to_le_bytes())
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_boot_or_device_gives_another_number_and_the_same_the_same() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("proc/sys/kernel/random");
        std::fs::create_dir_all(&path).unwrap();
        let boot = |id: &str| {
            std::fs::write(path.join("boot_id"), id).unwrap();
            CountedSince::read(root.path())
        };
        let (first, second) = (boot("aaa\n"), boot("bbb\n"));
        assert_ne!(first.number(), second.number());
        assert_eq!(first.and(b"sda").number(), boot("aaa\n").and(b"sda").number());
        assert_ne!(first.and(b"ab").and(b"c").number(), first.and(b"a").and(b"bc").number());
        assert_ne!(first.and_number(1).number(), first.and_number(2).number());
    }
}
