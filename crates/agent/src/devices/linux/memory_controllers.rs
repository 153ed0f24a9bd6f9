//! Memory controllers that count errors (EDAC), from /sys/devices/system/edac.

use std::sync::Arc;

use rowcall_core::devices::{MAX_MEMORY_CONTROLLERS, MemoryController};

use super::{Context, files};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// Reads memory controllers. What their counters are reset by, but for a boot, nobody can tell:
/// whoever writes to `reset_counters` makes them fall.
#[derive(Debug)]
pub(super) struct MemoryControllers(pub(super) Arc<Context>);

impl Source for MemoryControllers {
    fn read(&mut self, found: &mut Found) {
        let folder = self.0.path("sys/devices/system/edac/mc");
        let is_controller = |name: &String| {
            name.strip_prefix("mc").is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let mut controllers = Vec::new();
        for name in files::names(&folder).into_iter().filter(is_controller) {
            let count = |of: &str| {
                files::number(&folder.join(&name).join(of)).filter(|count: &i64| *count >= 0)
            };
            let (Some(corrected_errors), Some(uncorrected_errors)) =
                (count("ce_count"), count("ue_count"))
            else {
                found.unreadable(Collector::MemoryControllers, Some(&name));
                continue;
            };
            controllers.push(MemoryController {
                counted_since: self.0.counted_since().and(name.as_bytes()).number(),
                name,
                corrected_errors,
                uncorrected_errors,
            });
        }
        found.devices.memory_controllers = keep_unique(
            Collector::MemoryControllers,
            controllers,
            MAX_MEMORY_CONTROLLERS,
            |it| &it.name,
            found,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::linux::tests::{Tree, read, skipped};

    #[test]
    fn each_controller_has_its_errors() {
        let tree = Tree::new();
        for (file, value) in [
            ("mc0/ce_count", "12\n"),
            ("mc0/ue_count", "0\n"),
            ("mc1/ce_count", "0\n"),
            ("mc1/ue_count", "3\n"),
            ("mc10/ce_count", "x\n"),
            ("mc2/ce_count", "18446744073709551615\n"),
            ("mc2/ue_count", "1\n"),
            ("mc3/ce_count", "1\n"),
            ("mc3/ue_count", "-1\n"),
            ("mc/power/x", ""),
            ("uevent", ""),
        ] {
            tree.add(&format!("sys/devices/system/edac/mc/{file}"), value);
        }
        let devices = read(&tree, Collector::MemoryControllers);
        let told: Vec<_> = devices
            .memory_controllers
            .iter()
            .map(|it| (it.name.as_str(), it.corrected_errors, it.uncorrected_errors))
            .collect();
        assert_eq!(told, [("mc0", 12, 0), ("mc1", 0, 3)]);
        assert_eq!(
            skipped(&devices),
            ["mc2", "mc3", "mc10"].map(|it| format!("memory_controllers {it} unreadable 1"))
        );
        let since: Vec<_> = devices.memory_controllers.iter().map(|it| it.counted_since).collect();
        tree.add("proc/sys/kernel/random/boot_id", "other\n");
        let later = read(&tree, Collector::MemoryControllers).memory_controllers;
        assert_ne!(since[0], since[1]);
        assert_ne!(since[0], later[0].counted_since);
        assert!(read(&Tree::new(), Collector::MemoryControllers).skipped.is_empty());
    }
}
