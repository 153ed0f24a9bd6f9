//! Control groups of version 1: a tree for each controller, and a group in each of them.

use std::collections::BTreeSet;
use std::path::Path;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::Cgroup;

use super::Context;
use super::cgroups::{OWN, children, counted_since};
use super::files::{self, MAX_NAME_BYTES};

/// Controllers whose groups are read. systemd mounts the first two together, under both names.
const CONTROLLERS: [&str; 5] = ["cpuacct", "cpu", "memory", "blkio", "pids"];

/// The groups of the top level of all trees. Where there are none, the top itself is told: all of
/// a container, or of a machine without groups.
pub(super) fn read(context: &Context, root: &Path) -> Vec<Cgroup> {
    let trees: Vec<_> =
        CONTROLLERS.iter().filter(|it| root.join(it).is_dir()).map(|it| root.join(it)).collect();
    if trees.is_empty() {
        return Vec::new();
    }
    let names: BTreeSet<_> = trees.iter().flat_map(|tree| children(tree)).collect();
    if names.is_empty() {
        return group(context, root, "", OWN).into_iter().collect();
    }
    names.iter().filter_map(|name| group(context, root, name, name)).collect()
}

fn group(context: &Context, root: &Path, below: &str, name: &str) -> Option<Cgroup> {
    let file = |controller: &str, file: &str| root.join(controller).join(below).join(file);
    let number = |path: &Path| files::number(path).filter(|n: &i64| *n >= 0);
    let folder = CONTROLLERS.iter().map(|it| root.join(it).join(below)).find(|it| it.is_dir())?;
    let bytes = |operation: &str| {
        let recursive = file("blkio", "blkio.throttle.io_service_bytes_recursive");
        let flat = file("blkio", "blkio.throttle.io_service_bytes");
        io_bytes(&recursive, operation).or_else(|| io_bytes(&flat, operation))
    };
    let throttled_ns: Option<i64> = files::keyed(&file("cpu", "cpu.stat"), "throttled_time");
    let oom_kills = files::keyed(&file("memory", "memory.oom_control"), "oom_kill");
    Some(Cgroup {
        name: clean_text_within(name, MAX_NAME_BYTES)?,
        counted_since: counted_since(context, &folder).ok()?,
        cpu_us: number(&file("cpuacct", "cpuacct.usage")).map(|ns| ns / 1000),
        throttled_us: throttled_ns.filter(|ns| *ns >= 0).map(|ns| ns / 1000),
        memory_kib: number(&file("memory", "memory.usage_in_bytes")).map(|bytes| bytes / 1024),
        read_bytes: bytes("Read"),
        written_bytes: bytes("Write"),
        processes: number(&file("pids", "pids.current")),
        oom_kills: oom_kills.filter(|n: &i64| *n >= 0),
    })
}

/// Bytes of one kind of operation on all devices: "8:0 Read 1".
fn io_bytes(path: &Path, operation: &str) -> Option<i64> {
    files::with_value(path, |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        let values = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            (words.next()? == operation).then(|| words.next()?.parse::<i64>().ok()).flatten()
        });
        values.filter(|n| *n >= 0).try_fold(0_i64, i64::checked_add)
    })
}
