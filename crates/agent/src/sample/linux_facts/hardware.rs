//! Whole disks, and interfaces with a device behind them.

use std::path::Path;

use rowcall_core::convert::clean_text_within;
use rowcall_core::record::{DiskFacts, InterfaceFacts};

use super::text;

/// Longest text of one, in bytes.
const MAX_BYTES: usize = 64;

/// Bytes that all disks, or all interfaces, may take together in a record, so that it fits with
/// everything else into one of the spool: some 80 of each, and the first ones by name.
const MAX_LIST_BYTES: usize = 5 * 1024;

/// What one takes beside its texts.
const OVERHEAD_BYTES: usize = 24;

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Whole disks, by name. One without a medium is not there.
pub(super) fn disks(root: &Path) -> Option<Vec<DiskFacts>> {
    let folder = root.join("sys/block");
    let disk = |name: String| {
        let block = folder.join(&name);
        let sectors = text(&block.join("size")).and_then(|size| size.parse::<i64>().ok());
        let is_hidden = text(&block.join("hidden")).is_some_and(|hidden| hidden == "1");
        // An optical drive's size is that of the disc that is in it.
        let is_optical = name.starts_with("sr");
        if is_hidden || is_optical || sectors == Some(0) {
            return None;
        }
        Some(DiskFacts {
            model: ["model", "name"]
                .iter()
                .find_map(|file| short(&block.join("device").join(file))),
            // Sectors of 512 bytes, whatever the disk's own are.
            size_kib: sectors.filter(|sectors| *sectors > 0).map(|sectors| sectors / 2),
            rotational: match text(&block.join("queue/rotational")).as_deref() {
                Some("0") => Some(false),
                Some("1") => Some(true),
                _ => None,
            },
            name,
        })
    };
    let disks = with_device(&folder)?.into_iter().filter_map(disk);
    Some(fitting(disks, |disk| disk.name.len() + disk.model.as_deref().map_or(0, str::len)))
}

/// Interfaces, by name.
pub(super) fn interfaces(root: &Path) -> Option<Vec<InterfaceFacts>> {
    let folder = root.join("sys/class/net");
    let interface = |name: String| {
        let net = folder.join(&name);
        let driver = std::fs::read_link(net.join("device/driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name);
        InterfaceFacts {
            mac: own_address(&net),
            driver: driver
                .and_then(|driver| clean_text_within(&driver.to_string_lossy(), MAX_BYTES)),
            name,
        }
    };
    let interfaces = with_device(&folder)?.into_iter().map(interface);
    Some(fitting(interfaces, |interface| {
        let texts = [interface.mac.as_deref(), interface.driver.as_deref()];
        interface.name.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    }))
}

/// The address that the device came with: not one that was made up, which is another at each boot
/// or each connection, nor that of the bond that it is in.
fn own_address(net: &Path) -> Option<String> {
    let of_slave = short(&net.join("bonding_slave/perm_hwaddr"));
    of_slave
        .or_else(|| {
            let kind = text(&net.join("addr_assign_type"));
            let is_own = kind.is_none_or(|kind| kind == "0");
            is_own.then(|| short(&net.join("address"))).flatten()
        })
        .filter(|address| address.bytes().any(|byte| byte != b'0' && byte != b':'))
}

/// Names of the entries that a device stands behind, in order.
fn with_device(folder: &Path) -> Option<Vec<String>> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().take(MAX_ENTRIES);
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let is_clean = clean_text_within(&name, MAX_BYTES).is_some_and(|clean| clean == name);
        (is_clean && entry.path().join("device").symlink_metadata().is_ok()).then_some(name)
    };
    let mut names: Vec<_> = entries.filter_map(name).collect();
    names.sort_unstable();
    Some(names)
}

/// Those that fit into a record.
fn fitting<T>(list: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let mut total = 0;
    list.take_while(|item| {
        total += bytes(item) + OVERHEAD_BYTES;
        total <= MAX_LIST_BYTES
    })
    .collect()
}

fn short(path: &Path) -> Option<String> {
    clean_text_within(&text(path)?, MAX_BYTES)
}
