//! Maker and model of the machine, and its firmware: from DMI, else from the device tree.

use std::path::Path;

use rowcall_core::convert::clean_text_within;

use super::text;

/// Longest of each, in bytes.
const MAX_BYTES: usize = 256;

/// What makers leave in the fields that they should have filled.
const FILLERS: [&str; 13] = [
    "to be filled by o.e.m.",
    "system manufacturer",
    "system product name",
    "system name",
    "default string",
    "not specified",
    "not applicable",
    "unknown",
    "none",
    "n/a",
    "o.e.m",
    "oem",
    "empty",
];

/// Maker and model: of the machine, else of its board.
pub(super) fn board(root: &Path) -> Option<String> {
    let dmi = |name| field(root, name);
    let of = |maker: Option<String>, model: Option<String>| joined([maker, Some(model?)]);
    of(dmi("sys_vendor"), dmi("product_name"))
        .or_else(|| of(dmi("board_vendor"), dmi("board_name")))
        .or_else(|| device_tree_model(root))
}

/// Maker, version and date.
pub(super) fn firmware(root: &Path) -> Option<String> {
    joined(["bios_vendor", "bios_version", "bios_date"].map(|name| field(root, name)))
}

/// A field of DMI that says something.
pub(super) fn field(root: &Path, name: &str) -> Option<String> {
    let text = text(&root.join("sys/class/dmi/id").join(name))?;
    (!FILLERS.contains(&text.to_ascii_lowercase().as_str())).then_some(text)
}

/// "Raspberry Pi 4 Model B Rev 1.5".
fn device_tree_model(root: &Path) -> Option<String> {
    let model = ["sys/firmware/devicetree/base/model", "proc/device-tree/model"];
    joined([model.iter().find_map(|path| text(&root.join(path)))])
}

/// With spaces between; nothing where there is nothing.
fn joined<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    clean_text_within(&parts.join(" "), MAX_BYTES)
}
