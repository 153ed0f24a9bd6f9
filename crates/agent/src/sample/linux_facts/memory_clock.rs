//! The clock of the memory, from SMBIOS' table of memory devices, which only root may read.

use std::path::Path;

use super::bytes;

/// A table is larger than this on no machine.
const MAX_TABLE_BYTES: u64 = 256 * 1024;

/// SMBIOS' number of a memory device.
const MEMORY_DEVICE: u8 = 17;

/// The end of the table.
const END: u8 = 127;

/// What is in a field that only says that another one has the value.
const SEE_EXTENDED: u32 = 0xffff;

/// The clock that the modules run at, as the firmware and `dmidecode` tell it (in millions of
/// transfers a second; they call it MHz): of the slowest, which all of them wait for.
pub(super) fn memory_mhz(root: &Path) -> Option<f64> {
    let table = bytes(&root.join("sys/firmware/dmi/tables/DMI"), MAX_TABLE_BYTES)?;
    let devices = Structures(&table).filter(|structure| structure.first() == Some(&MEMORY_DEVICE));
    devices.filter_map(speed).min().map(f64::from)
}

/// Of one place for a module: nothing where it is empty or unknown.
fn speed(device: &[u8]) -> Option<u32> {
    let word = |at: usize| {
        let bytes = device.get(at..at + 2)?;
        Some(u32::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    };
    let long = |at: usize| {
        let bytes = device.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    // Its size: 0 where no module is.
    word(0x0c).filter(|size| *size > 0)?;
    let known = |at: usize, extended: usize| match word(at)? {
        0 => None,
        SEE_EXTENDED => long(extended).map(|speed| speed & 0x7fff_ffff).filter(|speed| *speed > 0),
        speed => Some(speed),
    };
    // As configured, else as it could be.
    known(0x20, 0x58).or_else(|| known(0x15, 0x54))
}

/// The structures of a table, each without the texts that follow it.
struct Structures<'a>(&'a [u8]);

impl<'a> Iterator for Structures<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (kind, length) = (*self.0.first()?, usize::from(*self.0.get(1)?));
        // Its head takes four bytes.
        if kind == END || length < 4 {
            return None;
        }
        let structure = self.0.get(..length)?;
        let texts = self.0.get(length..)?;
        let end = texts.windows(2).position(|pair| pair == [0, 0]);
        self.0 = end.and_then(|end| texts.get(end + 2..)).unwrap_or_default();
        Some(structure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(size: u16, speed: u16, configured: u16, extended: u32) -> Vec<u8> {
        let mut device = vec![MEMORY_DEVICE, 0x5c, 1, 0];
        device.resize(0x5c, 0);
        device[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        device[0x15..0x17].copy_from_slice(&speed.to_le_bytes());
        device[0x20..0x22].copy_from_slice(&configured.to_le_bytes());
        device[0x58..0x5c].copy_from_slice(&extended.to_le_bytes());
        device.extend(b"DIMM A\0Samsung\0\0");
        device
    }

    fn mhz(table: &[u8]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/firmware/dmi/tables");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("DMI"), table).unwrap();
        memory_mhz(root.path())
    }

    #[test]
    fn the_clock_is_that_of_the_slowest_module_as_it_is_configured() {
        let other = [0, 26, 0, 0].into_iter().chain([1; 22]).chain(*b"BIOS\0\0").collect();
        let end = vec![END, 4, 9, 9, 0, 0];
        let after_end = device(1, 1, 1, 0);
        let table = |devices: &[Vec<u8>]| {
            [std::slice::from_ref(&other), devices, &[end.clone(), after_end.clone()]]
                .concat()
                .concat()
        };
        let empty = device(0, 1600, 1600, 0);
        let modules = [empty, device(16384, 3200, 2933, 0), device(16384, 3200, 3200, 0)];
        assert_eq!(mhz(&table(&modules)), Some(2933.0));
        assert_eq!(mhz(&table(&[device(1, 3200, 0, 0)])), Some(3200.0), "not configured");
        assert_eq!(mhz(&table(&[device(1, 0xffff, 0xffff, 70_000)])), Some(70_000.0));
        assert_eq!(mhz(&table(&[device(1, 0, 0, 0)])), None);
        assert_eq!(mhz(&table(&[])), None);
    }

    #[test]
    fn a_table_that_makes_no_sense_ends_it() {
        let whole = device(1, 3200, 3200, 0);
        for cut in 0..whole.len() {
            mhz(&whole[..cut]);
        }
        let mut short = vec![MEMORY_DEVICE, 0x10, 0, 0];
        short.extend([1; 12]);
        short.extend([0, 0]);
        assert_eq!(mhz(&short), None, "an old one without a clock");
        assert_eq!(mhz(&[MEMORY_DEVICE, 0, 0, 0, 0, 0]), None, "of no length");
        assert_eq!(mhz(&[MEMORY_DEVICE; 100_000]), None);
        assert_eq!(mhz(&[]), None);
    }
}
